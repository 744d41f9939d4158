"""How a worker handles a task that failed outside its own code: the message goes back to the queue after a pause."""

from __future__ import annotations

import logging
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop

from infrastructure import outages

log = logging.getLogger(__name__)
#: Long enough that a fault that stays does not make the same message run in a loop.
REQUEUE_AFTER_S = 5.0
#: Outcomes that Celery has rules for.
_HANDLED = (
    *(Ignore, Reject, Retry, WorkerLostError, TimeLimitExceeded),
    *(Terminated, MemoryError, SystemExit, KeyboardInterrupt),
)


class _RequeueingRequest(Request):
    """Our tasks store their own outcomes. Whatever else fails (Celery, a signal, the pool) leaves none,
    so that acknowledging or rejecting the message would lose the job."""

    def on_failure(
        self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = exc_info.exception
        error = getattr(error, "exc", error)  # billiard wraps what it could not pickle
        if isinstance(error, _HANDLED):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        state.task_ready(self)
        outages.log_fault(
            log, error, "A task failed before its work; its message is delivered again"
        )
        loop = get_event_loop()
        if loop is None:
            return self.reject(requeue=True)
        return loop.call_later(REQUEUE_AFTER_S, self.reject, (True,))


class RequeuedOnFault(Task):  # type: ignore[misc]  # untyped upstream
    """A task whose message is delivered again when it failed outside its own code."""

    abstract = True
    Request = _RequeueingRequest
