"""The rows of everything said to a language model."""

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

__all__ = [
    "Api",
    "Budget",
    "LedgerScope",
    "ModelCall",
    "ModelPrice",
    "ModelProfile",
    "Outcome",
    "Reservation",
]
