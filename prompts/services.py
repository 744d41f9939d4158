"""The one door of this app."""

from prompts.asking import (
    Answer,
    Ask,
    ask,
    ask_many,
    model_configured,
    warm_up,
)
from prompts.errors import ModelUnavailable
from prompts.ledger import budget_banner, purge
from prompts.probing import Probed, probe
from prompts.resolution import resolve, versions_in_force

__all__ = [
    "Answer",
    "Ask",
    "ModelUnavailable",
    "Probed",
    "ask",
    "ask_many",
    "budget_banner",
    "model_configured",
    "probe",
    "purge",
    "resolve",
    "versions_in_force",
    "warm_up",
]
