"""`manage.py import_catalog`: what is loaded, what is refused, and that nothing is ever half-loaded."""

from __future__ import annotations

import csv
import gzip
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone

from catalog.factories import AnimeFactory, SongFactory
from catalog.models import Anime, Song

#: The columns of the karaoke catalog that the developers use, in its order.
COLUMNS = [
    "song_key",
    "tj_number",
    "ky_number",
    "joysound_number",
    "title_jp",
    "title_kr",
    "title_kr_source",
    "title_yomi_kr",
    "artist",
    "artist_kr",
    "category",
    "anime_kr",
    "media_context_jp",
    "media_context_kr",
    "title_tj_raw",
    "tj_publish_date",
    "sources",
]
GURENGE = {
    "song_key": "tj68047",
    "tj_number": "68047",
    "ky_number": "44419",
    "title_jp": "紅蓮華",
    "title_kr": "홍련화",
    "title_kr_source": "fan-pairs",
    "artist": "LiSA",
    "artist_kr": "리사",
    "category": "anime",
    "anime_kr": "귀멸의 칼날",
    "media_context_jp": "鬼滅の刃 OP",
    "tj_publish_date": "2019-06-14",
}
YORUNI = {
    "tj_number": "",
    "ky_number": "",
    "title_jp": "夜に駆ける",
    "artist": "YOASOBI",
    "category": "jpop",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def songbook(tmp_path: Path) -> Any:
    """Write rows (and columns beyond the usual ones) to a CSV file."""

    def write(*rows: dict[str, str], name: str = "songs.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        extra = [column for row in rows for column in row if column not in COLUMNS]
        out = StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(COLUMNS + extra)), restval="")
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(out.getvalue().encode(encoding))
        return path

    return write


def run(path: Path, **options: bool) -> str:
    """What the command printed, errors included."""
    out = StringIO()
    call_command("import_catalog", path, stdout=out, stderr=out, **options)
    return out.getvalue()


def refusal(path: Path, **options: bool) -> tuple[str, str]:
    """The closing sentence and what was printed before it; and nothing was loaded."""
    before = set(Song.objects.values_list("pk", "title_jp", "title_kr", "genre"))
    out = StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("import_catalog", path, stdout=out, stderr=out, **options)
    assert set(Song.objects.values_list("pk", "title_jp", "title_kr", "genre")) == before
    return str(refused.value), out.getvalue()


# --- Loading --------------------------------------------------------------------------------------
def test_a_row_becomes_a_song(songbook: Any) -> None:
    said = run(songbook(GURENGE))
    song = Song.objects.get()
    assert "1 new" in said
    assert (song.tj_number, song.ky_number) == (68047, 44419)
    assert (song.title_jp, song.title_kr, song.artist, song.artist_kr) == (
        "紅蓮華",
        "홍련화",
        "LiSA",
        "리사",
    )
    assert song.anime is not None
    assert (song.anime.title, song.anime_type) == ("귀멸의 칼날", "OP")
    assert (song.genre, song.lang, song.mood) == ("애니송", "ja", "")
    assert timezone.localtime(song.created_at).date().isoformat() == "2019-06-14"


def test_a_gzipped_file_is_read_too(songbook: Any, tmp_path: Path) -> None:
    packed = tmp_path / "songs.csv.gz"
    packed.write_bytes(gzip.compress(songbook(GURENGE).read_bytes()))
    run(packed)
    assert Song.objects.get().title_jp == "紅蓮華"


def test_a_byte_order_mark_is_no_part_of_the_first_column(songbook: Any) -> None:
    run(songbook(GURENGE, encoding="utf-8-sig"))
    assert Song.objects.get().tj_number == 68047


def test_four_byte_characters_quotes_commas_and_line_breaks_survive(songbook: Any) -> None:
    run(songbook({**GURENGE, "title_jp": '𠮷田 "🎵", 髙﨑'}))
    assert Song.objects.get().title_jp == '𠮷田 "🎵", 髙﨑'


def test_songs_of_one_anime_share_its_row(songbook: Any) -> None:
    AnimeFactory(title="귀멸의 칼날")
    run(
        songbook(GURENGE, {**GURENGE, "tj_number": "68312", "ky_number": "44601", "title_jp": "炎"})
    )
    assert Anime.objects.count() == 1
    assert Song.objects.filter(anime__title="귀멸의 칼날").count() == 2


@pytest.mark.parametrize(
    ("note", "kind"),
    [
        ("鬼滅の刃 ED", "ED"),
        ("名探偵コナン 11th OP", "OP"),
        ("劇場版 ドラえもん 主題歌", "OST"),
        ("マクロスF 挿入歌", "INSERT"),
        ("", ""),
    ],
)
def test_the_work_note_says_how_the_song_is_used(songbook: Any, note: str, kind: str) -> None:
    run(songbook({**GURENGE, "media_context_jp": note}))
    assert Song.objects.get().anime_type == kind


def test_columns_of_the_demo_file_are_understood(songbook: Any) -> None:
    run(
        songbook(
            {
                **YORUNI,
                "genre": "일렉트로 팝, 팝",
                "mood": "에너지",
                "title_en": "Racing into the Night",
            }
        )
    )
    song = Song.objects.get()
    assert (song.genre, song.mood, song.title_en) == (
        "일렉트로 팝, 팝",
        "에너지",
        "Racing into the Night",
    )


def test_progress_is_visible(songbook: Any) -> None:
    rows = [{**GURENGE, "tj_number": str(n), "ky_number": ""} for n in range(1, 1201)]
    said = run(songbook(*rows))
    assert "1,000 rows checked" in said
    assert "500 / 1,200 written" in said
    assert "1,200 / 1,200 written" in said


# --- Loading again --------------------------------------------------------------------------------
def test_the_same_file_again_changes_nothing(songbook: Any) -> None:
    path = songbook(GURENGE, YORUNI)
    run(path)
    assert "0 new, 0 changed, 2 unchanged" in run(path)
    assert Song.objects.count() == 2


@pytest.mark.parametrize("shared", ["tj_number", "ky_number"])
def test_a_song_is_found_by_either_number(songbook: Any, shared: str) -> None:
    numbers = {"tj_number": 68047, "ky_number": 44419}
    song = (
        SongFactory(tj_number=None, title_jp="旧題")
        if shared == "ky_number"
        else SongFactory(title_jp="旧題")
    )
    Song.objects.filter(pk=song.pk).update(**{shared: numbers[shared]})
    assert "0 new, 1 changed" in run(songbook(GURENGE))
    song.refresh_from_db()
    assert (song.title_jp, song.tj_number, song.ky_number) == ("紅蓮華", 68047, 44419)


def test_an_empty_cell_never_erases(songbook: Any) -> None:
    SongFactory(tj_number=68047, title_en="Gurenge", mood="강렬")
    run(songbook({**GURENGE, "title_kr": ""}))
    song = Song.objects.get()
    assert (song.title_en, song.mood) == ("Gurenge", "강렬")
    assert song.title_kr  # the factory's, not erased


def test_a_genre_set_by_hand_is_kept_but_a_genre_column_wins(songbook: Any) -> None:
    SongFactory(tj_number=68047, genre="애니송, 록")
    run(songbook(GURENGE))
    assert Song.objects.get().genre == "애니송, 록"
    run(songbook({**GURENGE, "genre": "록"}))
    assert Song.objects.get().genre == "록"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("llm-high", "밤을 달리다"), ("manual", "밤을 헤매다"), ("fan-pairs", "밤을 헤매다")],
)
def test_a_machine_translation_fills_a_gap_but_replaces_nothing(
    songbook: Any, source: str, expected: str
) -> None:
    SongFactory(tj_number=11111, title_kr="밤을 달리다")
    row = {**YORUNI, "tj_number": "11111", "title_kr": "밤을 헤매다", "title_kr_source": source}
    new = {**row, "tj_number": "22222"}
    run(songbook(row, new))
    assert Song.objects.get(tj_number=11111).title_kr == expected
    assert Song.objects.get(tj_number=22222).title_kr == "밤을 헤매다"


def test_two_numbers_that_belong_to_two_songs_are_an_error(songbook: Any) -> None:
    SongFactory(tj_number=68047, ky_number=None)
    SongFactory(tj_number=None, ky_number=44419)
    _, printed = refusal(songbook(GURENGE))
    assert "line 2, ky_number: belongs to song" in printed


# --- Rows that are wrong --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"tj_number": "六八"}, "line 3, tj_number: '六八' is not a karaoke number"),
        ({"tj_number": "１２３"}, "line 3, tj_number: '１２３' is not a karaoke number"),
        ({"tj_number": "12.0"}, "line 3, tj_number: '12.0' is not a karaoke number"),
        ({"ky_number": "0"}, "line 3, ky_number: '0' is not a karaoke number"),
        ({"ky_number": "-4"}, "line 3, ky_number: '-4' is not a karaoke number"),
        ({"tj_number": "99999999999"}, "line 3, tj_number: '99999999999' is not a karaoke number"),
        ({"title_jp": "あ" * 256}, "line 3, title_jp: 256 characters; at most 255 fit"),
        ({"artist": "x" * 300}, "line 3, artist: 300 characters; at most 255 fit"),
        ({"anime_kr": "가" * 201}, "line 3, anime: 201 characters; at most 200 fit"),
        ({"anime_type": "BGM"}, "line 3, anime_type: 'BGM': use OP, ED, INSERT, OST or nothing"),
        ({"title_jp": "", "title_kr": ""}, "line 3, title_jp: a song needs a title"),
        ({"title_jp": "a\x00b"}, "line 3, title_jp: holds a control character"),
        ({"tj_publish_date": "2019-13-01"}, "line 3, tj_publish_date: '2019-13-01' is not a date"),
        ({"tj_number": "1", "ky_number": ""}, "line 3, tj_number: 1 already stands in line 2"),
        ({"tj_number": "", "ky_number": "2"}, "line 3, ky_number: 2 already stands in line 2"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(
    songbook: Any, cell: dict[str, str], message: str
) -> None:
    good = {**YORUNI, "tj_number": "1", "ky_number": "2"}
    said, printed = refusal(songbook(good, {**GURENGE, **cell}))
    assert message in printed
    assert said.startswith("Nothing was loaded: 1 errors.")


def test_songs_without_numbers_are_told_apart_by_title_and_artist(songbook: Any) -> None:
    _, printed = refusal(songbook(YORUNI, {**YORUNI, "title_kr": "밤을 달리다"}))
    assert "line 3, title and artist" in printed
    run(songbook(YORUNI, {**YORUNI, "artist": "あんさんぶる"}))
    assert Song.objects.count() == 2


def test_all_errors_are_listed_up_to_a_cap(songbook: Any) -> None:
    rows = [{**GURENGE, "tj_number": "x", "ky_number": ""} for _ in range(70)]
    said, printed = refusal(songbook(*rows))
    assert "70 errors" in said
    assert printed.count("is not a karaoke number") == 50
    assert "… and 20 more" in printed


def test_line_numbers_count_line_breaks_inside_quotes(songbook: Any) -> None:
    """An editor shows the broken row there, whatever stood before it."""
    _, printed = refusal(songbook({**YORUNI, "sources": "a\nb\nc"}, {**GURENGE, "tj_number": "x"}))
    assert "line 5, tj_number" in printed


def test_rows_with_too_many_or_too_few_cells_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("tj_number,ky_number,title_jp,artist\n1,2,歌,人,余り\n3,4,歌\n", "utf-8")
    _, printed = refusal(path)
    assert "line 2: 1 cells too many" in printed
    assert "line 3: the row ends before column artist" in printed


def test_skip_errors_loads_the_good_rows(songbook: Any) -> None:
    said = run(songbook(GURENGE, {**YORUNI, "tj_number": "x"}), skip_errors=True)
    assert "line 3, tj_number" in said
    assert [song.title_jp for song in Song.objects.all()] == ["紅蓮華"]


def test_a_dry_run_writes_nothing_and_counts(songbook: Any) -> None:
    SongFactory(tj_number=68047)
    said = run(songbook(GURENGE, YORUNI), dry_run=True)
    assert "1 new, 1 changed, 0 unchanged" in said
    assert [song.title_jp for song in Song.objects.all()] != ["紅蓮華"]
    assert Song.objects.count() == 1
    assert Anime.objects.count() == 0


# --- Files that are wrong -------------------------------------------------------------------------
def test_a_file_in_another_encoding_is_refused_with_the_remedy(songbook: Any) -> None:
    path = songbook({**GURENGE, "title_jp": "Lemon", "media_context_jp": ""}, encoding="cp949")
    assert "is not UTF-8" in refusal(path)[0]
    assert "CSV UTF-8" in refusal(path)[0]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("title_jp,singer\n夜に駆ける,YOASOBI\n", "utf-8")
    said, _ = refusal(path)
    assert said == (
        "Missing columns: tj_number, ky_number, artist. The header has: title_jp, singer."
    )


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("tj_number,ky_number,title_jp,artist,artist\n1,2,a,b,c\n", "utf-8")
    assert "twice: artist" in refusal(path)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The file is empty. It needs a header with: tj_number, ky_number, title_jp, artist."),
        ("tj_number,ky_number,title_jp,artist\n", "The file has a header but no rows."),
        ('tj_number,ky_number,title_jp,artist\n1,2,"a,b\n', "Is a quotation mark left open?"),
    ],
)
def test_an_empty_or_broken_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "songs.csv"
    path.write_text(content, "utf-8")
    assert message in refusal(path)[0]


@pytest.mark.parametrize("packed", [b"not gzip at all", gzip.compress(b"tj_number" * 999)[:40]])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "songs.csv.gz"
    path.write_bytes(packed)
    assert "is not a whole gzip file" in refusal(path)[0]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "can't be read" in refusal(tmp_path / "nowhere.csv")[0]


# --- The database ---------------------------------------------------------------------------------
def test_a_shared_database_is_refused(songbook: Any, settings: Any) -> None:
    settings.CATALOG_OWNED = False
    assert "CATALOG_OWNED=0" in refusal(songbook(GURENGE))[0]


def test_a_database_error_half_way_loads_nothing(
    songbook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New songs are written first; the failing update must take them back."""
    SongFactory(tj_number=68047)

    def broken(*_: Any, **__: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(type(Song.objects), "bulk_update", broken)
    said, _ = refusal(songbook(YORUNI, GURENGE))
    assert "Nothing was loaded, the database refused: disk full" in said
    assert Anime.objects.count() == 0
