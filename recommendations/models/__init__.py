"""Rows of the serving side: runs and answers, jobs, trained models."""

from .artifacts import (
    EngineSettingsVersion,
    LearnedSituations,
    ModelArtifact,
    ModelArtifactChunk,
)
from .dead_letters import DeadLetter
from .jobs import Job, JobAnswer, JobRun
from .like_chunks import LikeChunk
from .runs import Degraded, Lease, Run, Source, StoredAnswer, Trigger
from .schedule_runs import ScheduleRun

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
