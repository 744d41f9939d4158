"""Twenty worker processes that spend as fast as they can; started by test_budget.

    python -m tests.prompts.budget_race SECONDS     (at most; it ends when the money has)

Uses the database and Redis of the environment, like any process of the product. Prints what it was granted.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from uuid import uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
django.setup()

from django.utils import timezone  # noqa: E402 – models need the setup above

from prompts.llm import budget  # noqa: E402
from prompts.models import LedgerScope, ModelCall  # noqa: E402

WORKERS = 20
#: So many of them are killed during their first call.
DYING = 2
#: After so many denials a worker believes that the money is gone.
ENOUGH = 5


def main(seconds: float) -> None:
    """Fork the workers, so that twenty processes cost one start, and print what they tell."""
    reading, writing = os.pipe()
    children = [_forked(seconds, writing, dies=number < DYING) for number in range(WORKERS)]
    os.close(writing)
    with os.fdopen(reading) as told:
        tallies = [json.loads(line) for line in told]
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(ends) <= {0, -signal.SIGKILL}, ends
    found = {name: sum(tally[name] for tally in tallies) for name in ("granted", "denied")}
    highest = max(tally["highest"] for tally in tallies)
    sys.stdout.write(
        json.dumps(found | {"highest": highest, "killed": ends.count(-signal.SIGKILL)})
    )


def _forked(seconds: float, writing: int, *, dies: bool) -> int:
    child = os.fork()
    if child:
        return child
    tally = spend(seconds, dies=dies)
    os.write(writing, f"{json.dumps(tally)}\n".encode())  # short enough to arrive in one piece
    os._exit(0)


def spend(seconds: float, *, dies: bool) -> dict[str, int]:
    """Reserve, "call", settle: some calls cost little, some all that was set aside.

    dies: be killed on the spot between reserving and settling.
    """
    rng = random.Random(os.getpid())
    tally = {"granted": 0, "denied": 0, "highest": 0}
    until, denied = time.monotonic() + seconds, 0
    while denied < ENOUGH and time.monotonic() < until:
        claim = budget.BudgetClaim(uuid=uuid4(), micro_usd=rng.randint(3_000, 5_000), seconds=5)
        granted = budget.reserve([claim], now=timezone.now())[0]
        row = LedgerScope.objects.get(key__startswith="day:")
        tally["granted" if granted else "denied"] += 1
        tally["highest"] = max(tally["highest"], row.spent_micro_usd + row.reserved_micro_usd)
        denied += not granted
        if not granted:
            continue
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        cost = claim.micro_usd if rng.random() < 0.2 else rng.randint(0, claim.micro_usd)
        call = ModelCall(
            uuid=claim.uuid,
            purpose="race",
            version_label="race",
            api="chat",
            model_asked="race",
            outcome="ok",
            reserved_micro_usd=claim.micro_usd,
            cost_micro_usd=cost,
        )
        budget.settle([call])
    return tally


if __name__ == "__main__":
    main(float(sys.argv[1]))
