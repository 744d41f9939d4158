"""bench/equal_answers.py finds differences, and takes names of runs for no difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.equal_answers import compared, rows_differ
from bench.equal_questions import Questions, Song

RUN, OTHER = "2aeeb215-32cc-4f50-85b1-870021ca79af", "0d1f6a1e-7d0b-4b7e-9a53-51a3b0f7f0aa"
QUESTIONS = [{"method": "POST", "path": "/recommend"}, {"method": "GET", "path": "/why"}]


def answers(file: Path, *bodies: str) -> Path:
    lines = [json.dumps({"status": "200 OK", "headers": [], "body": body}) for body in bodies]
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.mark.parametrize(
    ("after", "different"),
    [
        ((f'{{"run_id":"{OTHER}","score":0.5}}', f'{{"run_id":"{OTHER}"}}'), 0),
        ((f'{{"run_id":"{OTHER}","score":0.5}}', f'{{"run_id":"{RUN}"}}'), 1),
        ((f'{{"run_id":"{OTHER}","score":0.50}}', f'{{"run_id":"{OTHER}"}}'), 1),
        ((f'{{"score":0.5,"run_id":"{OTHER}"}}', f'{{"run_id":"{OTHER}"}}'), 1),
    ],
)
def test_answers_are_compared_byte_for_byte_but_for_uuids(
    tmp_path: Path, after: tuple[str, str], different: int
) -> None:
    before = (f'{{"run_id":"{RUN}","score":0.5}}', f'{{"run_id":"{RUN}"}}')
    found = compared(
        answers(tmp_path / "before", *before), answers(tmp_path / "after", *after), QUESTIONS
    )
    assert (found.compared, found.different) == (2, different)
    assert bool(found.first) == bool(different)


def test_only_tables_of_both_are_compared() -> None:
    found = rows_differ({"runs": 3, "jobs": 1, "gone": 1}, {"runs": 2, "jobs": 1, "new": 9})
    assert found == ["table runs: 3 rows in base, 2 in present"]


def test_the_questions_are_the_same_every_time() -> None:
    songs = [
        Song(number, f"曲{number}", f"곡{number}", "歌手", "가수", "록", "신나는")
        for number in range(1, 20)
    ]
    asked = [Questions(songs, briefly=False).of_members(130) for _ in range(2)]
    assert asked[0] == asked[1]
    assert {question["path"].split("?")[0] for question in asked[0]} > {
        "/recommend",
        "/recommend/cached",
        "/recommend/{run}/why",
        "/songs/search",
        "/favorites/updated",
        "/feedback",
    }
