"""The admin pages of runs, jobs, dead letters, schedules and the engine, and tiles of the home page."""

from recommendations.admin import dead_letters, engine, home, jobs, runs, schedules

__all__ = ["dead_letters", "engine", "home", "jobs", "runs", "schedules"]
