"""The models: prompts and their versions, model calls and their cost, evaluations, the audit log."""

from prompts.models.audit import AppendOnly, AuditEvent
from prompts.models.calls import (
    STAFF_TRIGGERS,
    Api,
    Budget,
    CallOutcome,
    CallTrigger,
    LedgerScope,
    ModelCall,
    ModelPrice,
    ModelProfile,
    Reservation,
)
from prompts.models.evaluation import EvalCase, EvalResult, EvalRun, EvalSet, EvalVerdict
from prompts.models.releases import PromptEpoch, Release, ReleaseKind
from prompts.models.rollouts import Rollout, RolloutState
from prompts.models.templates import PromptTemplate
from prompts.models.versions import PromptVersion, VersionState

__all__ = [
    "STAFF_TRIGGERS",
    "Api",
    "AppendOnly",
    "AuditEvent",
    "Budget",
    "CallOutcome",
    "CallTrigger",
    "EvalCase",
    "EvalResult",
    "EvalRun",
    "EvalSet",
    "EvalVerdict",
    "LedgerScope",
    "ModelCall",
    "ModelPrice",
    "ModelProfile",
    "PromptEpoch",
    "PromptTemplate",
    "PromptVersion",
    "Release",
    "ReleaseKind",
    "Reservation",
    "Rollout",
    "RolloutState",
    "VersionState",
]
