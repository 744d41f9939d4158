"""Jobs: what was asked for, each attempt at it, and its answer."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _

from infrastructure.database import upsert

from .job_states import ENDED, Claim, Failure, JobSource, State

#: A worker extends its hold on a job four times within this; without that the job is anybody's again.
LEASE_S = 20.0
#: What `Job.take` writes; the rest of a row (the backend's message among it) stays as it is.
TAKING = (
    "state",
    "waiting_key",
    "attempt",
    "worker",
    "fence",
    "losses",
    "started_at",
    "lease_until",
    "progress",
)
#: A job during which this many workers died is not given to another one: it may be what kills them.
MOST_LOSSES = 5


class JobQuerySet(models.QuerySet["Job"]):
    def open(self) -> Self:
        return self.filter(state__in=(State.QUEUED, State.RUNNING))

    def ended(self) -> Self:
        return self.filter(state__in=ENDED)

    def to_publish(self, *, now: datetime, lost_after: timedelta) -> Self:
        """Queued jobs that are due and were never sent, or sent so long ago that the message must be lost."""
        due = models.Q(not_before__isnull=True) | models.Q(not_before__lte=now)
        unsent = models.Q(published_at__isnull=True) | models.Q(published_at__lt=now - lost_after)
        return self.filter(due, unsent, state=State.QUEUED)

    def abandoned(self, *, now: datetime) -> Self:
        return self.filter(state=State.RUNNING, lease_until__lt=now)


class Job(models.Model):
    """One piece of work that was asked for. The row is the truth; brokers and Redis are told from it."""

    uuid = models.UUIDField(_("작업 ID"), primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("작업"), max_length=64)
    #: Names the work. While a job with this key waits, asking again adds none.
    key = models.CharField(_("키"), max_length=190, blank=True)
    #: The key while the job waits, else NULL: unique among the waiting.
    waiting_key = models.CharField(max_length=190, null=True, unique=True, editable=False)  # noqa: DJ001
    arguments = models.JSONField(_("인자"), default=dict, blank=True)
    queue = models.CharField(_("대기열"), max_length=64)
    state = models.CharField(_("상태"), max_length=10, choices=State.choices, default=State.QUEUED)
    source = models.CharField(
        _("출처"), max_length=10, choices=JobSource.choices, default=JobSource.INTERNAL
    )
    member_key = models.CharField(_("회원"), max_length=64, blank=True)
    trace_id = models.CharField(_("추적 ID"), max_length=64, blank=True)
    idempotency_key = models.CharField(
        _("멱등 키"), max_length=200, null=True, blank=True, unique=True
    )
    #: The attempt that runs or is expected next, from 0.
    attempt = models.PositiveSmallIntegerField(_("시도"), default=0)
    #: Rises when staff ask again for a job that had ended.
    round = models.PositiveSmallIntegerField(_("회차"), default=0)
    losses = models.PositiveSmallIntegerField(_("유실된 작업자"), default=0)
    progress = models.PositiveSmallIntegerField(_("진행률"), default=0)
    error_code = models.CharField(_("오류 코드"), max_length=40, blank=True)
    error_message = models.CharField(_("오류"), max_length=500, blank=True)
    note = models.CharField(_("비고"), max_length=300, blank=True)
    result = models.JSONField(_("결과"), null=True, blank=True)
    #: The backend's message as received; empty for jobs of our own.
    message = models.BinaryField(_("받은 메시지"), default=b"", blank=True)
    headers = models.JSONField(_("헤더"), default=dict, blank=True)
    #: Who works on it, until when, and which claim that is: a worker that lost its claim can't end the job.
    worker = models.CharField(_("작업자"), max_length=120, blank=True)
    lease_until = models.DateTimeField(_("점유 만료"), null=True, blank=True)
    fence = models.PositiveIntegerField(default=0, editable=False)
    cancel_requested = models.BooleanField(_("취소 요청"), default=False)
    not_before = models.DateTimeField(_("다음 시도"), null=True, blank=True)
    published_at = models.DateTimeField(_("발행"), null=True, blank=True)
    #: Its keys could not be written to Redis: to be sent when Redis returns.
    redis_pending = models.BooleanField(_("Redis 대기"), default=False)
    schedule_run = models.ForeignKey(
        "ScheduleRun",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="jobs",
        verbose_name=_("예약 실행"),
    )
    submitted_at = models.DateTimeField(_("접수"))
    started_at = models.DateTimeField(_("시작"), null=True, blank=True)
    finished_at = models.DateTimeField(_("종료"), null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("작업")
        verbose_name_plural = _("작업")
        ordering = ("-submitted_at",)
        indexes = (
            models.Index(fields=("state", "published_at"), name="job_state_published"),
            models.Index(fields=("state", "lease_until"), name="job_state_lease"),
            models.Index(fields=("member_key", "-submitted_at"), name="job_member_newest"),
            models.Index(fields=("-submitted_at",), name="job_newest"),
            models.Index(fields=("finished_at",), name="job_finished"),
            models.Index(fields=("redis_pending",), name="job_redis_pending"),
        )
        permissions = (
            ("retry_job", _("작업을 다시 실행할 수 있음")),
            ("cancel_job", _("작업을 취소할 수 있음")),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.uuid}"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    # --- Taking it --------------------------------------------------------------------------------
    def decide(self, *, attempt: int, now: datetime, holder_is_dead: bool) -> Claim:
        """What may be done with a delivery of `attempt`; changes nothing."""
        if self.ended:
            return Claim.ENDED
        if attempt < self.attempt:
            return Claim.STALE
        if self.state == State.QUEUED:
            return Claim.TAKEN
        held = self.lease_until is not None and self.lease_until > now
        if held and not holder_is_dead:
            return Claim.BUSY
        return Claim.DEADLY if self.losses >= MOST_LOSSES else Claim.TAKEN

    def take(self, *, attempt: int, worker: str, now: datetime) -> None:
        """Hold the job for `worker`; the caller has locked the row and decided that it may."""
        if self.state == State.RUNNING:
            self.losses += 1
        self.state = State.RUNNING
        self.waiting_key = None
        self.attempt = attempt
        self.worker = worker
        self.fence += 1
        self.started_at = now
        self.lease_until = now + timedelta(seconds=LEASE_S)
        self.progress = 0
        self.save(update_fields=TAKING)
        run = JobRun(job=self, round=self.round, attempt=attempt, started_at=now, worker=worker)
        upsert(run, key=("job", "round", "attempt"))

    def hold(self, *, now: datetime) -> bool:
        """Extend the lease; False when the job was taken by somebody else or ended."""
        until = now + timedelta(seconds=LEASE_S)
        return self._mine().update(lease_until=until) == 1

    def _mine(self) -> JobQuerySet:
        return Job.objects.filter(pk=self.pk, state=State.RUNNING, fence=self.fence)

    # --- Ending it --------------------------------------------------------------------------------
    def succeed(
        self,
        *,
        now: datetime,
        result: Mapping[str, Any] | None = None,
        answer: bytes | None = None,
        redis_pending: bool = False,
    ) -> bool:
        """Store the outcome; False when the job is no longer ours, and nothing was stored."""
        with transaction.atomic(savepoint=False):
            mine = self._end(
                State.SUCCEEDED,
                now=now,
                progress=100,
                result=result,
                error_code="",
                error_message="",
                redis_pending=redis_pending,
            )
            if mine and answer is not None:
                kept = JobAnswer(
                    job=self,
                    member_key=self.member_key,
                    body=zlib.compress(answer, 6),
                    created_at=now,
                )
                upsert(kept, key=("job",))
        return mine

    def fail(self, failure: Failure, *, now: datetime, redis_pending: bool = False) -> bool:
        return self._end(
            State.FAILED,
            now=now,
            error_code=failure.code[:40],
            error_message=(failure.message or failure.code)[:500],
            redis_pending=redis_pending,
        )

    def end_canceled(self, *, now: datetime) -> bool:
        return self._end(State.CANCELED, now=now)

    @transaction.atomic(savepoint=False)
    def _end(self, state: State, *, now: datetime, **values: Any) -> bool:
        values |= {"state": state, "finished_at": now, "lease_until": None}
        if self._mine().update(**values) != 1:
            return False
        self._adopt(values)
        self._close_run(state, now=now)
        return True

    def _close_run(self, outcome: str, *, now: datetime) -> None:
        self.runs.filter(round=self.round, attempt=self.attempt).update(
            finished_at=now,
            outcome=outcome,
            error_code=self.error_code,
            error_message=self.error_message,
        )

    def _adopt(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    # --- Once more --------------------------------------------------------------------------------
    @transaction.atomic
    def wait_for_retry(
        self, failure: Failure, *, now: datetime, delay_s: float, published: bool
    ) -> bool:
        """Give the job back for its next attempt.

        published: the next attempt's message is in the broker already; else the sweep sends it.
        """
        values = {
            "state": State.QUEUED,
            "lease_until": None,
            "error_code": failure.code[:40],
            "error_message": failure.message[:500],
            "not_before": now + timedelta(seconds=delay_s),
            "published_at": now if published else None,
        }
        if self._mine().update(**values, attempt=self.attempt + 1) != 1:
            return False
        self._adopt(values)
        self._close_run("retried", now=now)
        self.attempt += 1
        return True

    def give_back(self) -> bool:
        """Return the job untouched: same attempt, anybody may take it at once."""
        # The backend's broker delivers its message again; for our own jobs the sweep does.
        values = {} if self.source == JobSource.QUEUE else {"published_at": None}
        return self._mine().update(state=State.QUEUED, lease_until=None, **values) == 1

    def release_abandoned(self, *, now: datetime) -> bool:
        """Make a job whose worker died available again; False when it moved meanwhile."""
        values = {"state": State.QUEUED, "lease_until": None, "published_at": None}
        freed = self._mine().filter(lease_until__lt=now)
        return freed.update(**values, losses=models.F("losses") + 1) == 1

    @transaction.atomic
    def reopen(self, *, now: datetime) -> bool:
        """Ask again for a job that had ended; False when it had not."""
        values = {
            "state": State.QUEUED,
            "waiting_key": None,
            "attempt": 0,
            "losses": 0,
            "progress": 0,
            "error_code": "",
            "error_message": "",
            "cancel_requested": False,
            "not_before": None,
            "published_at": None,
            "finished_at": None,
        }
        again = Job.objects.filter(pk=self.pk).ended()
        if again.update(**values, round=models.F("round") + 1) != 1:
            return False
        self.refresh_from_db()
        return True

    def cancel(self, *, now: datetime) -> bool:
        """Cancel a waiting job at once, a running one at its next step; False when it had ended."""
        values = {"state": State.CANCELED, "finished_at": now, "waiting_key": None}
        if Job.objects.filter(pk=self.pk, state=State.QUEUED).update(**values):
            self.refresh_from_db()
            return True
        running = Job.objects.filter(pk=self.pk, state=State.RUNNING)
        return running.update(cancel_requested=True) == 1

    @classmethod
    def ask(cls, **values: Any) -> tuple[Job, bool]:
        """Add a job, or find the one that waits under the same key. Returns (job, whether it is new)."""
        key = values.get("key") or None
        found = cls.objects.filter(waiting_key=key).first() if key else None
        if found is not None:
            return found, False
        try:
            with transaction.atomic():
                return cls.objects.create(waiting_key=key, **values), True
        except IntegrityError:
            # Somebody was faster; if a worker took that one already, ours is a new wish.
            found = cls.objects.filter(waiting_key=key).first()
            return (found, False) if found else (cls.objects.create(**values), True)


class JobRun(models.Model):
    """One attempt at a job."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="runs", verbose_name=_("작업"))
    round = models.PositiveSmallIntegerField(_("회차"), default=0)
    attempt = models.PositiveSmallIntegerField(_("시도"))
    worker = models.CharField(_("작업자"), max_length=120, blank=True)
    #: A state of the job, "retried", or "" while it runs.
    outcome = models.CharField(_("결과"), max_length=10, blank=True)
    error_code = models.CharField(_("오류 코드"), max_length=40, blank=True)
    error_message = models.CharField(_("오류"), max_length=500, blank=True)
    started_at = models.DateTimeField(_("시작"))
    finished_at = models.DateTimeField(_("종료"), null=True, blank=True)

    class Meta:
        verbose_name = _("작업 시도")
        verbose_name_plural = _("작업 시도")
        ordering = ("-started_at",)
        constraints = (
            models.UniqueConstraint(fields=("job", "round", "attempt"), name="job_attempt_once"),
        )

    def __str__(self) -> str:
        return f"{self.job_id} #{self.attempt}"


class JobAnswer(models.Model):
    """The answer of a job: what `job:result` and `latest:recommendation` are rebuilt from."""

    job = models.OneToOneField(Job, models.CASCADE, primary_key=True, related_name="answer")
    member_key = models.CharField(_("회원"), max_length=64)
    body = models.BinaryField()
    created_at = models.DateTimeField(_("생성"), db_index=True)

    class Meta:
        verbose_name = _("작업 답")
        verbose_name_plural = _("작업 답")

    def __str__(self) -> str:
        return str(self.job_id)

    @property
    def json(self) -> bytes:
        return zlib.decompress(bytes(self.body))
