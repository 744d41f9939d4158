"""The rows of everything said to a language model: who may change it, what it said, what it cost."""

from prompts.models.audit import AppendOnly, AuditEvent
from prompts.models.calls import (
    Api,
    Budget,
    LedgerScope,
    ModelCall,
    ModelPrice,
    ModelProfile,
    Outcome,
    Reservation,
)
from prompts.models.versions import (
    EvalCase,
    EvalResult,
    EvalRun,
    EvalSet,
    PromptEpoch,
    PromptTemplate,
    PromptVersion,
    Release,
    ReleaseKind,
    Rollout,
    RolloutState,
    State,
    Verdict,
)

__all__ = [
    "Api",
    "AppendOnly",
    "AuditEvent",
    "Budget",
    "EvalCase",
    "EvalResult",
    "EvalRun",
    "EvalSet",
    "LedgerScope",
    "ModelCall",
    "ModelPrice",
    "ModelProfile",
    "Outcome",
    "PromptEpoch",
    "PromptTemplate",
    "PromptVersion",
    "Release",
    "ReleaseKind",
    "Reservation",
    "Rollout",
    "RolloutState",
    "State",
    "Verdict",
]
