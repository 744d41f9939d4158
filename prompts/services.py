"""The one door of this app."""

from prompts.errors import ModelUnavailable
from prompts.llm.ask import Answer, Ask, ask, ask_many, model_configured, warm_up
from prompts.llm.budget import purge
from prompts.llm.capability_probe import Probed, probe
from prompts.llm.ceilings import budget_banner
from prompts.versions.resolution import resolve, versions_in_force

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
