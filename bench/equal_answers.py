"""Compares the answers of two checkouts byte for byte: `python bench/equal_answers.py [--base REV|DIR]`.

Both train on and answer from copies of one demo database, with the same clock, SECRET_KEY and model. 200 members (those
of the demo, and users of callers' own with songs named by text) ask for recommendations in several situations, languages
and strategies, read them from the cache, ask why, look for similar songs, search, and report changes and feedback; once
without a language model on SQLite alone, once with the model of the tests and, where redis-server is installed, a Redis
of their own. Only UUIDs (names of runs and jobs) are replaced, by the order in which they appear. Also compared: the
version of the trained model, and how many rows each table holds in the end.

Prints counts and the first difference; ends with 1 when there is one. About three minutes on two cores, half of it when
the answers of the base are known: those of a revision are kept in the folder for temporary files and used again as long
as the questions, the model of the tests and the dependencies stay the same.
  --base REV|DIR   what the present tree is compared with; default: version 0.2.0
  --members N      fewer members, for a quick look
  --only plain|model   one of the two passes
  --base-model     answer with the base's model instead of training one in the present tree
  --fresh          ask the base again
  --keep DIR       leave databases, logs and answers there
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.equal_questions import Questions, read_songs  # noqa: E402
from bench.fake_model import FakeModel, Seen, good_answer  # noqa: E402

VERSION_0_2_0 = "c9927ea"
PASSES = ("plain", "model")
#: 2026-05-01, 21:00 in Seoul.
CLOCK = 1_777_636_800
DATABASE = "songs_ai.sqlite3"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Characters of both answers that are shown around the first difference.
SHOWN = 160
SETTINGS = {
    "SECRET_KEY": "the same for both",
    "SONGS_AI_ADMIN_PASSWORD": "the same for both",
    "LOG_LEVEL": "WARNING",
    # A busy machine must make neither the model nor Redis late.
    "REDIS_TIMEOUT_S": "5",
    # Looked up at every use: not sooner or later, as threads happen to run.
    "PROMPTS_POLL_S": "0",
    "LLM_DEADLINE_S": "60",
    "LLM_DEADLINE_DEEP_S": "60",
    # Sums of floating-point numbers depend on how many threads share the work.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


def say(text: str) -> None:
    print(text, flush=True)


# --- Checkouts and their processes ----------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one checkout made of the questions."""

    #: Version of the model it trained: a digest of the content.
    model: str
    #: Rows of each table in the end, by pass.
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A tree of Songs AI and the folder where its answers are kept."""

    name: str
    tree: Path
    folder: Path

    def answers(self, name: str) -> Path:
        """The answers of a pass, a line each."""
        return self.folder / f"{name}.jsonl"

    def prepare(self) -> Path:
        """Write the demo database; returns its folder."""
        self._run("manage.py", "prepare", data=self.folder / "demo")
        return self.folder / "demo"

    def ask_everything(self, demo: Path, questions: Mapping[str, Path], *, train: bool) -> Outcome:
        """Train on a copy of the demo, then ask the questions of each pass on a copy of its own."""
        trained, passes = self.folder / "trained", list(questions)
        shutil.copytree(demo, trained)
        if train:
            self._run("manage.py", "train_model", "--seed", "7", data=trained)
        model = _trained_version(trained)
        with ThreadPoolExecutor(len(passes)) as pool:
            rows = pool.map(lambda name: self._pass(name, trained, questions[name]), passes)
            return Outcome(model=model, rows=dict(zip(passes, rows, strict=True)))

    def _pass(self, name: str, trained: Path, questions: Path) -> dict[str, int]:
        data = self.folder / name
        shutil.copytree(trained, data)
        script = str(ROOT / "bench" / "tree_answers.py")
        with settings_of(name, self.folder) as settings:
            self._run(script, str(questions), str(self.answers(name)), data=data, **settings)
        return _row_counts(data)

    def _run(self, *command: str, data: Path, **settings: str) -> None:
        """Run Python in the tree at the fixed clock. Raises SystemExit with the end of its output."""
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **SETTINGS,
            "DATA_DIR": str(data),
            "FIXED_CLOCK": str(CLOCK),
            "PYTHONPATH": str(ROOT / "bench" / "fixed_clock"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
        }
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log = self.folder / f"{Path(command[0]).stem}-{data.name}.log"
        log.write_text(done.stdout, "utf-8")
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)} failed\n{done.stdout[-4000:]}")


def _trained_version(data: Path) -> str:
    with closing(sqlite3.connect(data / DATABASE)) as database:
        rows = database.execute("SELECT version FROM recommendations_modelartifact").fetchall()
    return ", ".join(version for (version,) in rows)


def _row_counts(data: Path) -> dict[str, int]:
    with closing(sqlite3.connect(data / DATABASE)) as database:
        tables = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        return {
            table: database.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0]
            for (table,) in tables
            if not table.startswith(("django_migrations", "django_content_type", "auth_"))
        }


# --- The base -------------------------------------------------------------------------------------
def base_of(given: argparse.Namespace, folder: Path) -> tuple[Checkout, Outcome | None]:
    """The checkout to compare with, and its outcome where the same was asked of the same revision before."""
    if _is_folder(given):
        return Checkout(name="base", tree=Path(given.base).resolve(), folder=folder / "base"), None
    kept = _kept(given)
    if given.fresh:
        shutil.rmtree(kept, ignore_errors=True)
    if (kept / "outcome.json").is_file():
        outcome = Outcome(**json.loads((kept / "outcome.json").read_text("utf-8")))
        return Checkout(name="base", tree=kept, folder=kept), outcome
    packed = _git("archive", given.base)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder / "tree", filter="data")
    return Checkout(name="base", tree=folder / "tree", folder=folder / "base"), None


def keep_outcome(given: argparse.Namespace, base: Checkout, outcome: Outcome) -> None:
    """Keep what the next run can use; nothing where the base is a folder, which may change."""
    if _is_folder(given) or (kept := _kept(given)).exists():
        return
    draft = Path(tempfile.mkdtemp(dir=kept.parent, prefix=f"{kept.name}-"))
    for name in ("demo", "trained"):
        shutil.copytree(base.folder / name, draft / name)
    for name in outcome.rows:
        shutil.copy(base.answers(name), draft)
    (draft / "outcome.json").write_text(json.dumps(vars(outcome)), "utf-8")
    draft.rename(kept)


def _is_folder(given: argparse.Namespace) -> bool:
    return (Path(given.base) / "manage.py").is_file()


def _kept(given: argparse.Namespace) -> Path:
    """Where the base's answers are kept, named by everything that they depend on."""
    files = (
        *(
            "bench/equal_answers.py",
            "bench/equal_questions.py",
            "bench/tree_answers.py",
            "bench/fixed_clock/sitecustomize.py",
        ),
        *("bench/fake_model.py", "constraints.txt"),
    )
    digest = hashlib.blake2b(_git("rev-parse", f"{given.base}^{{commit}}"), digest_size=8)
    digest.update(
        f"{given.members} {given.only} {sys.version} {shutil.which('redis-server')}".encode()
    )
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return Path(tempfile.gettempdir()) / f"songs-ai-equal-{digest.hexdigest()}"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


# --- The model ------------------------------------------------------------------------------------
def answered(seen: Seen) -> str:
    """A model's words, decided by what it was shown; one answer in eleven is faulty in some way."""
    digest = hashlib.blake2b(seen.text.encode(), digest_size=4).digest()
    number, good = int.from_bytes(digest), good_answer(seen)
    faulty = (
        f"여기 있습니다.\n```json\n{good}\n```\n즐겁게 부르세요!",
        json.dumps({"picks": [0, -3, 9_999_999, 2, 1, 2]}),
        "물론이죠! 좋은 곡을 골라 드릴게요.",
    )
    return faulty[number // 11 % 3] if number % 11 == 0 else good


@contextmanager
def own_redis(folder: Path) -> Iterator[str]:
    """The address of a Redis that ends with the block; "" where redis-server is not installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield ""
        return
    socket = folder / "redis.sock"
    command = [binary, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL) as server:
        try:
            while not socket.exists() and server.poll() is None:
                time.sleep(0.02)
            yield f"unix://{socket}?db=0"
        finally:
            server.terminate()


@contextmanager
def settings_of(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """The settings of one pass; what they name runs as long as the block."""
    if name == "plain":
        yield {}
        return
    with ExitStack() as stack:
        model = stack.enter_context(FakeModel(answer=answered, keep=False))
        redis = stack.enter_context(own_redis(folder))
        yield {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none", "REDIS_URL": redis}


# --- Comparing ------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Found:
    """What comparing two files of answers showed."""

    compared: int
    different: int
    statuses: Counter[str]
    with_songs: int
    first: str = ""


def compared(before: Path, after: Path, questions: list[dict[str, Any]]) -> Found:
    pairs = list(zip(_normalised(before), _normalised(after), strict=True))
    different = [place for place, (old, new) in enumerate(pairs) if old != new]
    first = ""
    if different:
        place = different[0]
        asked = json.dumps(questions[place], ensure_ascii=False)
        first = f"question {place + 1}: {asked}\n{_first_difference(*pairs[place])}"
    answers = [json.loads(old) for old, _ in pairs]
    return Found(
        compared=len(pairs),
        different=len(different),
        statuses=Counter(answer["status"] for answer in answers),
        with_songs=sum('"candidates":[{' in answer["body"] for answer in answers),
        first=first,
    )


def _normalised(file: Path) -> list[str]:
    """The answers with UUIDs numbered by their first appearance."""
    numbers: dict[str, str] = {}
    return [
        UUID.sub(lambda found: numbers.setdefault(found[0], f"<uuid {len(numbers) + 1}>"), line)
        for line in file.read_text("utf-8").splitlines()
    ]


def _first_difference(*lines: str) -> str:
    """The surroundings of the first difference: in the bodies, else in status or headers."""
    old, new = (json.loads(line) for line in lines)
    part = next(name for name in ("body", "status", "headers") if old[name] != new[name])
    texts = str(old[part]), str(new[part])
    pairs = enumerate(zip(*texts, strict=False))
    same = next((at for at, (a, b) in pairs if a != b), min(map(len, texts)))
    window = slice(max(0, same - SHOWN), same + SHOWN)
    return f"  {part}, base    … {texts[0][window]} …\n  {part}, present … {texts[1][window]} …"


def rows_differ(old: dict[str, int], new: dict[str, int]) -> list[str]:
    """Tables that both have, with other numbers of rows."""
    return [
        f"table {table}: {old[table]} rows in base, {new[table]} in present"
        for table in sorted(old.keys() & new.keys())
        if old[table] != new[table]
    ]


# --- The whole ------------------------------------------------------------------------------------
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default=VERSION_0_2_0, metavar="REV|DIR")
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--only", choices=PASSES)
    parser.add_argument("--base-model", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    folder = (
        given.keep.resolve() if given.keep else Path(tempfile.mkdtemp(prefix="songs-ai-equal-"))
    )
    began = time.monotonic()
    try:
        equal = compare_trees(given, folder)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    say(f"{'equal' if equal else 'DIFFERENT'} ({time.monotonic() - began:.0f} s)")
    return 0 if equal else 1


def compare_trees(given: argparse.Namespace, folder: Path) -> bool:
    base, known = base_of(given, folder)
    present = Checkout(name="present", tree=ROOT, folder=folder / "present")
    for checkout in (base, present):
        checkout.folder.mkdir(parents=True, exist_ok=True)
    demo = base.folder / "demo" if known else base.prepare()
    passes = PASSES if given.only is None else (given.only,)
    songs, files = read_songs(demo / DATABASE), {}
    for name in passes:
        questions = Questions(songs, briefly=name == "model").of_members(given.members)
        files[name] = folder / f"questions-{name}.json"
        files[name].write_text(json.dumps(questions, ensure_ascii=False), "utf-8")
    if given.base_model:
        before = known or base.ask_everything(demo, files, train=True)
        after = present.ask_everything(base.folder / "trained", files, train=False)
    else:
        with ThreadPoolExecutor(2) as pool:
            told = pool.submit(present.ask_everything, demo, files, train=True)
            before = known or base.ask_everything(demo, files, train=True)
            after = told.result()
    if not known:
        keep_outcome(given, base, before)
    say(f"trained model: {before.model} in base, {after.model} in present")
    equal = before.model == after.model
    for name in passes:
        asked = json.loads(files[name].read_text("utf-8"))
        found = compared(base.answers(name), present.answers(name), asked)
        rows = rows_differ(before.rows[name], after.rows[name])
        report(name, found, rows)
        equal = equal and not (found.different or rows)
    return equal


def report(name: str, found: Found, rows: list[str]) -> None:
    statuses = ", ".join(f"{count} × {status}" for status, count in found.statuses.most_common())
    say(
        f"{name}: {found.compared} answers compared ({statuses}; {found.with_songs} with songs), "
        f"{found.different} differ"
    )
    for line in filter(None, (found.first, *rows)):
        say(line)


if __name__ == "__main__":
    sys.exit(main())
