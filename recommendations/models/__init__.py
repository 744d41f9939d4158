"""Rows of the serving side: runs and answers, jobs, trained models."""

from .artifacts import (
    EngineSettingsVersion,
    LearnedSituations,
    ModelArtifact,
    ModelArtifactChunk,
)
from .jobs import DeadLetter, Job, JobAnswer, JobRun, LikeChunk, ScheduleRun
from .runs import Degraded, Lease, Run, Source, StoredAnswer, Trigger

__all__ = [
    "DeadLetter",
    "Degraded",
    "EngineSettingsVersion",
    "Job",
    "JobAnswer",
    "JobRun",
    "LearnedSituations",
    "Lease",
    "LikeChunk",
    "ModelArtifact",
    "ModelArtifactChunk",
    "Run",
    "ScheduleRun",
    "Source",
    "StoredAnswer",
    "Trigger",
]
