"""Trains the recommendation model now and puts it in force if it is no worse."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommendations.learning import training
from recommendations.models import ModelArtifact


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, default=0, help="Same data, same seed: same model.")

    def handle(self, *args: Any, **options: Any) -> None:
        def report(stage: str, done: float) -> None:
            self.stdout.write(f"{done:4.0%} {stage}")
            self.stdout.flush()

        try:
            row = training.train(by="manage.py", seed=options["seed"], report=report)
        except training.TrainingInProgress as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{row.version}: {row.get_state_display()}, {row.seconds} s, {row.size_bytes / 1e6:.1f} MB"
        )
        for name, values in row.figures.get("models", {}).items():
            self.stdout.write(
                f"  {name:12} NDCG@10 {values['ndcg@10']:.4f}  recall@20 {values['recall@20']:.4f}"
            )
        if row.note:
            self.stdout.write(row.note)
        if row.state == ModelArtifact.State.REFUSED:
            raise CommandError("The model was refused; the one in use stays.")
