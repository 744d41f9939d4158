"""The rows of everything said to a language model: who may change it, what it said, what it cost."""

from prompts.models.audit import AppendOnly, AuditEvent
from prompts.models.calls import (
    STAFF_TRIGGERS,
    Api,
    Budget,
    CallTrigger,
    LedgerScope,
    ModelCall,
    ModelPrice,
    ModelProfile,
    Outcome,
    Reservation,
)
from prompts.models.evaluation import EvalCase, EvalResult, EvalRun, EvalSet, Verdict
from prompts.models.releases import PromptEpoch, Release, ReleaseKind
from prompts.models.rollouts import Rollout, RolloutState
from prompts.models.templates import PromptTemplate
from prompts.models.versions import PromptVersion, State

__all__ = [
    "STAFF_TRIGGERS",
    "Api",
    "AppendOnly",
    "AuditEvent",
    "Budget",
    "CallTrigger",
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
