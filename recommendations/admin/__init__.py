"""The admin pages of runs, jobs, schedules and the engine."""

from recommendations.admin import engine, jobs, runs

__all__ = ["engine", "jobs", "runs"]
