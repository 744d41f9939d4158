"""Rows of the serving side: runs and answers, jobs, trained models."""

from .artifacts import EngineSettingsVersion, ModelArtifact, ModelArtifactChunk
from .runs import Lease, Run, Source, StoredAnswer, Trigger

__all__ = [
    "EngineSettingsVersion",
    "Lease",
    "ModelArtifact",
    "ModelArtifactChunk",
    "Run",
    "Source",
    "StoredAnswer",
    "Trigger",
]
