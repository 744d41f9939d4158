"""The errors of prompts and models, one class for each reaction of the caller."""

from __future__ import annotations

import inspect


class PromptError(Exception):
    """Something went wrong with a prompt that the caller can act on."""

    code = "PROMPT_ERROR"
    retryable = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or inspect.getdoc(self))


class MissingVariables(PromptError):
    """A prompt was rendered without all of its variables."""

    code = "MISSING_VARIABLES"

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"Missing variables: {', '.join(names)}.")


class UnknownContract(PromptError):
    """No contract of this name is registered. Contracts are code: prompts/versions/contracts.py."""

    code = "UNKNOWN_CONTRACT"


class TemplatePaused(PromptError):
    """Staff switched this prompt off; answer locally."""

    code = "PROMPT_PAUSED"


class VersionIsFrozen(PromptError):
    """A submitted version never changes. Make a new draft from it."""

    code = "VERSION_IS_FROZEN"


class OnlyPublishingMoves(PromptError):
    """What members get is changed only through prompts.versions (releases, review, rollout_moves)."""

    code = "ONLY_PUBLISHING_MOVES"


class StaleEdit(PromptError):
    """Someone else changed this in the meantime. Reload the page and look at the difference."""

    code = "STALE_EDIT"


class NotAllowed(PromptError):
    """This account may not do that."""

    code = "NOT_ALLOWED"


class GuardFailed(PromptError):
    """The change is refused until what the message names is put right."""

    code = "GUARD_FAILED"


#: Value of a run's `degraded` by outcome of the call. Never the word "timeout": the backend's
#: client takes any body holding it for a reason to send the job again.
DEGRADED = {
    "timeout": "deadline",
    "budget_denied": "budget",
    "cancelled": "model_error",
    "invalid_json": "invalid_answer",
    "schema_mismatch": "invalid_answer",
    "http_4xx": "model_error",
    "http_5xx": "model_error",
}


class ModelUnavailable(PromptError):
    """The language model gave no usable answer; answer locally."""

    code = "MODEL_UNAVAILABLE"
    retryable = True

    def __init__(self, outcome: str, detail: str = "", *, call: str = "", reason: str = "") -> None:
        """outcome: a `prompts.models.CallOutcome`; call: uuid of the ModelCall row, "" if none was written."""
        super().__init__(detail or f"The language model gave no usable answer: {outcome}.")
        self.outcome = str(outcome)
        self.call = call
        #: The word for the run's `degraded` field.
        self.reason = reason or DEGRADED.get(self.outcome, self.outcome)
