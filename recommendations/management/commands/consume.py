"""Runs the worker that takes the backend's jobs from rec.recommendation.q."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Take the backend's jobs from its queue (needs RABBITMQ_URL and SONGS_AI_CONSUME_QUEUE=1). SIGTERM finishes what is at work."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--processes", type=int, default=2, help="jobs worked on at a time")

    def handle(self, *args: Any, processes: int, **options: Any) -> None:
        if not settings.SONGS_AI_CONSUME_QUEUE:
            raise CommandError(
                "Set SONGS_AI_CONSUME_QUEUE=1 (and RABBITMQ_URL) to take the backend's jobs over."
            )
        command = [sys.executable, "-m", "celery", "-A", "songs_ai", "-q", "--skip-checks"]
        command += ["worker", "-n", f"backend-{os.getpid()}@%h", "-Q", settings.CONSUMER_QUEUE]
        command += ["-c", str(processes), "--without-gossip", "--without-mingle"]
        command += ["--loglevel", settings.LOG_LEVEL]
        os.execv(sys.executable, command)  # the same process: signals reach the worker
