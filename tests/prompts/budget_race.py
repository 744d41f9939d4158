"""Ten workers that spend as fast as they can; started twice at once by test_ledger.

    python -m tests.prompts.budget_race SECONDS     (at most; it ends when the money has)

Uses the database and Redis of the environment, like any process of the product. Prints what it was granted.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from uuid import uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
django.setup()

from django.db import connection  # noqa: E402 – models need the setup above
from django.utils import timezone  # noqa: E402

from prompts import ledger  # noqa: E402
from prompts.models import LedgerScope, ModelCall  # noqa: E402

#: After so many denials a worker believes that the money is gone.
ENOUGH = 5


def main(seconds: float) -> None:
    tally = {"granted": 0, "denied": 0, "highest": 0}
    lock = threading.Lock()
    workers = [
        threading.Thread(target=spend, args=(seconds, number, tally, lock)) for number in range(10)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.stdout.write(json.dumps(tally))


def spend(seconds: float, number: int, tally: dict[str, int], lock: threading.Lock) -> None:
    """Reserve, "call", settle: some calls cost little, some all that was set aside, some never end."""
    rng = random.Random(os.getpid() * 100 + number)
    until, denied = time.monotonic() + seconds, 0
    while denied < ENOUGH and time.monotonic() < until:
        claim = ledger.Claim(uuid=uuid4(), micro_usd=rng.randint(3_000, 5_000), seconds=5)
        granted = ledger.reserve([claim], now=timezone.now())[0]
        row = LedgerScope.objects.get(key__startswith="day:")
        with lock:
            tally["granted" if granted else "denied"] += 1
            tally["highest"] = max(tally["highest"], row.spent_micro_usd + row.reserved_micro_usd)
        denied += not granted
        if not granted or rng.random() < 0.05:  # 5 % die with their reservation open
            continue
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
        ledger.settle([call])
    connection.close()


if __name__ == "__main__":
    main(float(sys.argv[1]))
