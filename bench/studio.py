"""Measures the prompt studio with 100 000 runs and their calls: pages, resolving, publishing. `python bench/studio.py`.

Makes a database of its own (SQLite, and MariaDB with Redis where their programs are), seeds it with copies of runs that the
product made, and measures the server time of each page beside the stock admin's 100-row list in the same rounds; resolving
and rendering a prompt; and how long a published version takes to be served in four processes. Machines are noisy: read the
ratios. Results go to bench/results/studio.json; a figure that misses its bound ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "studio.json"
#: What is promised.
MOST_RATIO, MOST_QUERIES = 2.5, 10
MOST_EFFECTIVE_S, MOST_RESOLVE_MS = 2.0, 1.0
PROCESSES = 4
#: Runs that the product itself makes; the rest are copies with other ids, members and dates.
ORIGINALS = 12
BATCH = 1_000
OUR_PAGES = ("edit", "compare", "publish", "run")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- Databases ------------------------------------------------------------------------------------
@contextmanager
def sqlite() -> Iterator[dict[str, str]]:
    """The embedded default: no service at all."""
    folder = tempfile.mkdtemp(prefix="songs-ai-studio-")
    try:
        yield os.environ | _settings(folder, DATABASE_URL="", REDIS_URL="")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mariadb() -> Iterator[dict[str, str]]:
    """MariaDB and Redis of this bench's own."""
    from bench.installation import Installation, listens, wait_until  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="songs-ai-studio-"))
    made = Installation(folder)
    try:
        made.start_mariadb()
        made.start_redis()
        wait_until(lambda: listens(made.mysql_port), "MariaDB")
        with made.mysql(database=None) as cursor:
            cursor.execute("CREATE DATABASE songs CHARACTER SET utf8mb4")
        kept = {name: made.environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
        yield os.environ | _settings(str(folder / "data"), **kept)
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _settings(folder: str, **urls: str) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "songs_ai.settings",
        "DATA_DIR": folder,
        "SECRET_KEY": "for this bench",
        "CATALOG_OWNED": "1",
        "RABBITMQ_URL": "",
        "LOG_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
        **urls,
    }


# --- The world ------------------------------------------------------------------------------------
def seed(runs: int) -> dict[str, Any]:
    """Runs with calls, versions, a rollout under way; returns the rows whose pages are measured."""
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from prompts.models import ModelCall, PromptTemplate  # noqa: PLC0415
    from prompts.versions import drafts, releases, rollout_moves  # noqa: PLC0415
    from prompts.versions.actor import Actor  # noqa: PLC0415
    from recommendations.models import Run  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    call_command("load_demo", stdout=sys.stderr)
    boss = User.objects.create_superuser("boss", password=None)
    User.objects.bulk_create(User(username=f"staff{at}", email=f"{at}@x.kr") for at in range(100))
    actor = Actor(user=boss, reason="재기")
    template = PromptTemplate.objects.get(slug="curation")
    versions = [_version(template, actor, at) for at in range(10)]
    for version in versions[:-2]:
        template.refresh_from_db()
        releases.publish(version, seen_lock=template.lock_version, actor=actor)
    template.refresh_from_db()
    live, candidate = versions[-3], versions[-2]
    rollout = rollout_moves.start_rollout(candidate, seen_lock=template.lock_version, actor=actor)
    draft = drafts.fork(candidate, actor=actor)
    run_ids = _real_runs()
    say(f"copying {len(run_ids)} runs {runs:,} times …")
    began = time.perf_counter()
    labels = [live.label, live.label, live.label, candidate.label]
    _copy(Run, ModelCall, runs, labels=labels)
    say(
        f"  {time.perf_counter() - began:.0f} s, {Run.objects.count():,} runs, {ModelCall.objects.count():,} calls"
    )
    return {"boss": boss, "draft": draft, "candidate": candidate, "rollout": rollout, "run": run_ids[0],
            "next": versions[-1], "template": template}  # fmt: skip


def _version(template: Any, actor: Any, at: int) -> Any:
    from prompts.versions import drafts, review  # noqa: PLC0415

    live = template.live_version
    body = drafts.Body(
        system_text=f"{live.system_text}\n{at}번째로 밝은 곡을 먼저.",
        user_text=live.user_text,
        params=live.params,
        note=f"{at}번째",
    )
    version = drafts.create_draft(template, body, actor=actor, parent=live)
    review.submit(version, actor=actor)
    return version


def _real_runs() -> list[Any]:
    """Runs as the product makes them, with a model that answers well."""
    from django.test import override_settings  # noqa: PLC0415

    from bench.fake_model import FakeModel  # noqa: PLC0415
    from recommendations import services  # noqa: PLC0415
    from recommendations.serving.request import Request  # noqa: PLC0415

    with FakeModel() as model, override_settings(OPENAI_BASE_URL=model.url, OPENAI_API_KEY="k"):
        return [
            services.recommend(Request(member_key=str(member + 1))).run_id
            for member in range(ORIGINALS)
        ]


def _copy(run_model: Any, call_model: Any, runs: int, *, labels: Sequence[str]) -> None:
    """Copies over the last 30 days, packed columns as they are."""
    from django.utils import timezone  # noqa: PLC0415

    originals = _rows(run_model)
    calls = _rows(call_model)
    of_run = {
        run["uuid"]: [row for row in calls if row["run_uuid"] == run["uuid"]] for run in originals
    }
    now, rng = timezone.now(), random.Random(7)
    for first in range(0, runs, BATCH):
        new_runs, new_calls = [], []
        for at in range(first, min(runs, first + BATCH)):
            run = originals[at % len(originals)]
            at_time = now - timedelta(days=30) * rng.random()
            fresh = {"uuid": uuid4(), "created_at": at_time, "member_key": str(1 + at % 5_000)}
            new_runs.append(run | fresh)
            for call in of_run[run["uuid"]]:
                label = (
                    call["version_label"] if "tagl" in call["version_label"] else rng.choice(labels)
                )
                named = {"uuid": uuid4(), "run_uuid": fresh["uuid"], "version_label": label}
                spent = {"created_at": at_time, "latency_ms": rng.randint(600, 3_000)}
                new_calls.append(call | named | spent)
        _insert(run_model, new_runs)
        _insert(call_model, [{**row, "id": None} for row in new_calls])


def _rows(model: Any) -> list[dict[str, Any]]:
    """Every row by column, the packed ones as the bytes they are."""
    from django.db import connection  # noqa: PLC0415
    from django.db.models import BinaryField  # noqa: PLC0415

    fields = model._meta.concrete_fields
    packed = [field for field in fields if isinstance(field, BinaryField)]
    rows = {
        row["pk"]: row
        for row in model.objects.values("pk", *[f.attname for f in fields if f not in packed])
    }
    key, table = model._meta.pk.column, model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key}, {', '.join(field.column for field in packed)} FROM {table}")
        for pk, *values in cursor.fetchall():
            row = rows[model._meta.pk.to_python(pk)]
            row |= {field.attname: value for field, value in zip(packed, values, strict=True)}
    return [{name: value for name, value in row.items() if name != "pk"} for row in rows.values()]


def _insert(model: Any, rows: Sequence[dict[str, Any]]) -> None:
    from django.db import connection, transaction  # noqa: PLC0415
    from django.db.models import BinaryField  # noqa: PLC0415

    fields = [field for field in model._meta.concrete_fields if field.column != "id"]

    def stored(field: Any, value: Any) -> Any:
        if isinstance(field, BinaryField):
            return value
        return field.get_db_prep_save(value, connection)

    marks = ", ".join(["%s"] * len(fields))
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({marks})",
            [[stored(field, row[field.attname]) for field in fields] for row in rows],
        )


# --- Pages ----------------------------------------------------------------------------------------
def pages(world: dict[str, Any], *, rounds: int) -> dict[str, dict[str, float]]:
    """Median server time, ratio to the stock list of the same rounds, queries: per page."""
    from django.core.cache import cache  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    client = Client()
    client.force_login(world["boss"])
    addresses = {"stock list": _stock(), **_addresses(world)}
    times: dict[str, list[float]] = {name: [] for name in addresses}
    for name, url in addresses.items():  # warm: templates, catalogs, connections
        for _ in range(2):
            answer = client.get(url)
            assert answer.status_code == 200, (name, url, answer.status_code)
    for _ in range(rounds):
        for name, url in addresses.items():
            began = time.perf_counter()
            client.get(url)
            times[name].append((time.perf_counter() - began) * 1000)
    reference = statistics.median(times["stock list"])
    found = {}

    def queries(url: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            client.get(url)
        return len(asked)

    for name, url in addresses.items():
        middle = statistics.median(times[name])
        cache.clear()  # the banners above every page are kept for 20 s; the first one after that asks for them
        first = queries(url)
        found[name] = {
            "ms": round(middle, 1),
            "ratio": round(middle / reference, 2),
            "queries": queries(url),
            "queries_first": first,
        }
    return found


def _stock() -> str:
    """The stock admin's list of 100 rows on a site of its own, beside ours."""
    from django.contrib import admin  # noqa: PLC0415
    from django.contrib.auth.admin import UserAdmin  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.urls import clear_url_caches, include, path  # noqa: PLC0415

    from songs_ai import urls  # noqa: PLC0415

    stock = admin.AdminSite(name="stock")
    stock.register(User, UserAdmin)
    shown, app_name, namespace = stock.urls
    urls.urlpatterns.insert(0, path("stock/", include((shown, app_name), namespace=namespace)))
    clear_url_caches()
    return "/stock/auth/user/"


def _addresses(world: dict[str, Any]) -> dict[str, str]:
    from django.urls import reverse  # noqa: PLC0415

    def of(name: str, *args: Any) -> str:
        return reverse(f"admin:{name}", args=args)

    return {
        "edit": of("prompts_promptversion_change", world["draft"].pk),
        "compare": of("prompts_promptversion_compare", world["candidate"].pk),
        "publish": of("prompts_promptversion_publish", world["next"].pk),
        "run": of("recommendations_run_change", world["run"]),
        "preview": of("prompts_promptversion_preview", world["draft"].pk),
        "rollout": of("prompts_rollout_change", world["rollout"].pk),
        "prompt": of("prompts_prompttemplate_change", world["template"].pk),
        "prompts": of("prompts_prompttemplate_changelist"),
        "runs": of("recommendations_run_changelist"),
        "calls": of("prompts_modelcall_changelist"),
        "dashboard": of("index"),
    }


# --- Resolving ------------------------------------------------------------------------------------
def resolving(world: dict[str, Any], *, times: int = 5_000) -> dict[str, float]:
    """Milliseconds to choose a member's version and put 60 songs into it, and queries made for that."""
    from django.db import connection  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from prompts.evaluation import input_providers  # noqa: PLC0415
    from prompts.versions.resolution import resolve  # noqa: PLC0415

    songs = "\n".join(
        f"{at} 노래 제목 {at} / 어느 가수 / J-pop 서정 팝 / 감성적" for at in range(1, 61)
    )
    told = input_providers.synthetic("curation").variables | {"candidates": songs}
    resolve("curation", "1").render(told)
    took = []
    with CaptureQueriesContext(connection) as asked:
        for at in range(times):
            began = time.perf_counter()
            resolve("curation", str(at)).render(told)
            took.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": _ranked(took, 0.5), "p99_ms": _ranked(took, 0.99), "queries": len(asked)}


def _ranked(values: Iterable[float], share: float) -> float:
    ranked = sorted(values)
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 4)


# --- Publishing -----------------------------------------------------------------------------------
def listen() -> None:
    """One process that serves: says every version it comes to serve, and when."""
    from prompts.versions.resolution import resolve  # noqa: PLC0415

    served = ""
    while True:
        label = resolve("curation", "1").label
        if label != served:
            served = label
            print(json.dumps([label, time.time()]), flush=True)
        time.sleep(0.005)


def publishing_everywhere(world: dict[str, Any], *, moves: int) -> dict[str, float]:
    """Seconds from pressing the button to the new version being served, over `moves` × PROCESSES."""
    from prompts.versions import releases, rollout_moves  # noqa: PLC0415
    from prompts.versions.actor import Actor  # noqa: PLC0415

    actor, template = Actor(user=world["boss"], reason="재기"), world["template"]
    rollout_moves.end(world["rollout"], promote=False, actor=actor)
    seen: dict[tuple[int, str], float] = {}
    listeners = [
        subprocess.Popen(
            [sys.executable, __file__, "--listen"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(PROCESSES)
    ]
    for number, listener in enumerate(listeners):
        threading.Thread(target=_note, args=(number, listener, seen), daemon=True).start()
    took, rng = [], random.Random(7)
    try:
        template.refresh_from_db()
        _all_serve(template.live_version.label, seen)
        for at in range(moves):
            version = _version(template, actor, 100 + at)
            time.sleep(rng.random())  # at any moment of the processes' own rhythm
            template.refresh_from_db()
            pressed = time.time()
            releases.publish(version, seen_lock=template.lock_version, actor=actor)
            took += [when - pressed for when in _all_serve(version.label, seen)]
    finally:
        for listener in listeners:
            listener.kill()
    return {
        "p50_s": _ranked(took, 0.5),
        "p99_s": _ranked(took, 0.99),
        "most_s": round(max(took), 3),
        "n": len(took),
    }


def _note(number: int, listener: subprocess.Popen[str], seen: dict[tuple[int, str], float]) -> None:
    assert listener.stdout is not None
    for line in listener.stdout:
        label, when = json.loads(line)
        seen[number, label] = when


def _all_serve(label: str, seen: dict[tuple[int, str], float]) -> list[float]:
    deadline = time.monotonic() + 60
    while not all((number, label) in seen for number in range(PROCESSES)):
        assert time.monotonic() < deadline, f"{label} is not served everywhere after a minute"
        time.sleep(0.02)
    return [seen[number, label] for number in range(PROCESSES)]


# --- The whole ------------------------------------------------------------------------------------
def measure(runs: int, rounds: int, moves: int) -> dict[str, Any]:
    world = seed(runs)
    return {
        "runs": runs,
        "pages": pages(world, rounds=rounds),
        "resolve": resolving(world),
        "publish": publishing_everywhere(world, moves=moves),
    }


def missed(found: dict[str, Any]) -> list[str]:
    """What does not hold of the promise."""
    bad = []
    for name in OUR_PAGES:
        page = found["pages"][name]
        if page["ratio"] > MOST_RATIO or page["queries"] > MOST_QUERIES:
            bad.append(f"{name}: {page['ratio']}×, {page['queries']} queries")
    if found["resolve"]["p99_ms"] > MOST_RESOLVE_MS or found["resolve"]["queries"]:
        bad.append(f"resolve and render: {found['resolve']}")
    if found["publish"]["p99_s"] > MOST_EFFECTIVE_S:
        bad.append(f"publish → effective: {found['publish']}")
    return bad


def shown(name: str, found: dict[str, Any]) -> None:
    say(f"\n{name}: {found['runs']:,} runs")
    for page, row in found["pages"].items():
        say(
            f"  {page:<12} {row['ms']:8.1f} ms  {row['ratio']:5.2f}×  {row['queries']:3d} queries, the first {row['queries_first']}"
        )
    resolve, publish = found["resolve"], found["publish"]
    say(
        f"  resolve and render: p50 {resolve['p50_ms']:.3f} ms, p99 {resolve['p99_ms']:.3f} ms, {resolve['queries']} queries"
    )
    say(
        f"  publish → effective in {PROCESSES} processes: p50 {publish['p50_s']:.2f} s, p99 {publish['p99_s']:.2f} s (n={publish['n']})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--publish", type=int, default=30, metavar="N", help="versions published")
    parser.add_argument("--database", choices=("both", "sqlite", "mariadb"), default="both")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--listen", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside or options.listen:
        import django  # noqa: PLC0415

        django.setup()
        if options.listen:
            listen()
        print(json.dumps(measure(options.runs, options.rounds, options.publish)))
        return 0
    databases: dict[str, Callable[[], Any]] = {"sqlite": sqlite, "mariadb": mariadb}
    if options.database != "both":
        databases = {options.database: databases[options.database]}
    elif not shutil.which("mariadbd"):
        say("No MariaDB on this machine: SQLite only.")
        del databases["mariadb"]
    results = {}
    for name, database in databases.items():
        with database() as environment:
            command = [sys.executable, __file__, "--inside", *sys.argv[1:]]
            said = subprocess.run(
                command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
            )
            results[name] = json.loads(said.stdout.splitlines()[-1])
        shown(name, results[name])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    bad = [f"{name}: {line}" for name, found in results.items() for line in missed(found)]
    for line in bad:
        say(f"MISSED {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
