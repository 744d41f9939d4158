"""`manage.py evaluate` on files as others write them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from recommendations.learning.evaluation_files import Reader, seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tastes: members 0–29 like a*, members 30–59 like b*; a fifth of the songs left out each."""
    lines = ["member_id,song_id"]
    for member in range(60):
        lines += [
            f"u{member},{'ab'[member // 30]}{song}" for song in range(12) if (member + song) % 5
        ]
    (tmp_path / "interactions.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def run(*args: object, **options: object) -> str:
    out = io.StringIO()
    call_command("evaluate", *map(str, args), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_json_has_the_promised_shape_and_the_lists_give_the_same_figures(folder: Path) -> None:
    figures = json.loads(
        run(
            folder,
            "--json",
            "--k",
            "5,10",
            "--known",
            "1,3",
            "--split-out",
            folder / "split",
            "--rankings-out",
            folder / "rankings.csv",
        )
    )
    assert figures["protocol"] == "random"
    assert {"songs_ai", "ease", "als", "rp3", "item_knn", "popularity"} == set(figures["models"])
    assert set(figures["by_known_items"]) == {"1", "3"}
    ours = figures["models"]["songs_ai"]
    assert {"ndcg@5", "ndcg@10", "recall@10", "hit_rate@10", "coverage@10"} <= set(ours)
    again = _hit_rate(folder / "split" / "test.csv", folder / "rankings.csv", 5)
    assert ours["hit_rate@5"] == pytest.approx(again)


def _hit_rate(test: Path, rankings: Path, k: int) -> float:
    wanted = {(row["member_id"], row["song_id"]) for row in _read(test)}
    hit = {
        row["member_id"]
        for row in _read(rankings)
        if row["model"] == "songs_ai"
        and int(row["rank"]) <= k
        and (row["member_id"], row["song_id"]) in wanted
    }
    return len(hit) / len({member for member, _ in wanted})


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_written_split_can_be_given_again(folder: Path) -> None:
    options = ("--json", "--k", "5", "--known", "")
    first = json.loads(run(folder, *options, "--split-out", folder / "split"))
    train, test = folder / "split" / "train.csv", folder / "split" / "test.csv"
    again = json.loads(run(*options, "--train", train, "--test", test))
    assert again["models"]["ease"]["ndcg@5"] == pytest.approx(first["models"]["ease"]["ndcg@5"])


def test_without_json_a_table_is_printed(folder: Path) -> None:
    printed = run(folder, "--k", "5", "--known", "")
    assert "songs_ai" in printed
    assert "ndcg@5" in printed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("member_id,title\n1,x\n", "song_id"),  # a column is missing
        ("member_id,song_id,timestamp\n1,2,yesterday\n", ":2: timestamp 'yesterday'"),
        ("member_id,song_id,weight\n1,2,much\n", ":2: weight 'much'"),
        ("member_id,song_id\n1,\n", ":2:"),  # an empty id
        ("member_id,song_id,weight\n1,2,nan\n", ":2: weight 'nan'"),
        ("member_id,song_id,timestamp\n1,2,1700000000000\n", ":2: timestamp"),  # milliseconds
        ("member_id,song_id,timestamp\n1,2,0001-01-01\n", ":2: timestamp"),  # no Unix time
        ("member_id,song_id\n\n1,2\n\n1,\n", ":5: member_id"),  # empty lines are lines
        (f"member_id,song_id\n1,2\n1,{'x' * 200_000}\n", ":3: field larger"),
        ("", ":1: the header"),
        ("member_id,song_id\n", "no row below the header"),
        ("member_id,song_id\n1,2\n2,1\n", "no member has rows in both parts"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "interactions.csv").write_text(content, encoding="utf-8")
    with pytest.raises(CommandError, match=told):
        run(tmp_path)


def test_a_songs_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "songs.csv").write_bytes("song_id,title\na1,é\n".encode("latin-1"))
    with pytest.raises(CommandError, match=r"songs\.csv: not UTF-8"):
        run(folder)


def test_files_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF, blanks in the header, quoted commas, columns and cells left out."""
    spoken = "\r\n".join(
        (
            "member_id, song_id ,weight,timestamp",
            '"Kim, Min",夜に駆ける,-1,',
            '"Kim, Min","Lemon, live",,2026-05-15T00:00:00+09:00',
            "007,Lemon,2.5,1778770800.5",
        )
    )
    (tmp_path / "interactions.csv").write_text(spoken, encoding="utf-8-sig", newline="")
    (tmp_path / "songs.csv").write_text(" song_id ,title\r\nLemon\r\n", encoding="utf-8-sig")
    reader = Reader()
    data = reader.interactions(tmp_path / "interactions.csv")
    read = reader.dataset(data, tmp_path / "songs.csv")
    assert read.members == ["Kim, Min", "007"]
    assert read.songs == ["夜に駆ける", "Lemon, live", "Lemon"]
    assert read.about == {"Lemon": {"song_id": "Lemon", "title": ""}}
    assert data.weight.tolist() == [-1, 1, 2.5]
    assert data.at[1:].tolist() == [1_778_770_800.0, 1_778_770_800.5]


def test_a_session_split_needs_a_date(folder: Path) -> None:
    with pytest.raises(CommandError, match="train-until"):
        run(folder, "--protocol", "session")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000.0),
        ("2026-05-15T00:00:00+09:00", 1_778_770_800.0),
        ("2026-05-15", 1_778_770_800.0),  # without an offset: Seoul
        ("2026-05-14T15:00:00Z", 1_778_770_800.0),
    ],
)
def test_times_are_unix_or_iso(text: str, expected: float) -> None:
    assert seconds(text) == expected
