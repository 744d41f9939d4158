"""Prepares the page of one run: the funnel, the candidates with their ranks, the groups, the calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.models import Song
from engine.ranking.notes import Note
from prompts.evaluation.call_stats import STAFF_TRIGGERS
from prompts.models import ModelCall, PromptVersion

from ..models import Degraded, Run
from ..models.runs import STRATEGY_LABELS
from . import legacy_notes, trace_labels

#: The parts of `timings` in staff's words.
TIMINGS = {
    "resolve": _("곡 찾기"),
    "database": _("데이터베이스"),
    "engine": _("엔진"),
    "model": _("언어 모델"),
    "store": _("저장"),
    "record": _("기록"),
}


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def context(run: Run, user: AbstractBaseUser | AnonymousUser) -> dict[str, Any]:
    """Everything the template shows; four queries besides the run."""
    snapshot = run.snapshot or {}
    shown_ids = [item["song_id"] for item in snapshot.get("candidates", [])]
    favorites = (run.query or {}).get("favorite_ids", [])[:30]
    grouped_ids = [song_id for group in run.groups or [] for song_id in group["song_ids"]]
    songs = _songs({*shown_ids, *favorites, *grouped_ids})
    calls = _calls(run)
    may_see_member = user.has_perm("recommendations.view_member_data")  # type: ignore[union-attr]
    return {
        "run": run,
        "strategy": STRATEGY_LABELS.get(run.strategy, run.strategy),
        "degraded": Degraded.label_of(run.degraded),
        "funnel": _funnel(run.trace),
        "timings": _timings(run.timings),
        "candidates": _candidates(snapshot, songs),
        "groups": _groups(run, songs),
        "favorites": [songs.get(song_id, _unknown(song_id)) for song_id in favorites],
        "favorites_more": max(0, run.favorites - len(favorites)),
        "calls": [call for call in calls if not call["by_staff"]],
        "staff_calls": [call for call in calls if call["by_staff"]],
        "prompts": _prompts(run),
        "may_replay": user.has_perm("recommendations.replay_run") and may_see_member,  # type: ignore[union-attr]
        "may_see_member": may_see_member,
    }


def _calls(run: Run) -> list[dict[str, Any]]:
    calls = ModelCall.objects.filter(run_uuid=run.uuid).defer("input_zlib", "output_zlib")
    return [
        {
            "row": call,
            "cost": f"{call.cost_micro_usd / 1_000_000:.6f}",
            "by_staff": call.trigger in STAFF_TRIGGERS,
        }
        for call in calls
    ]


def _prompts(run: Run) -> list[dict[str, Any]]:
    """The versions that were asked, with their pages; the repository's own texts have none."""
    told = (run.snapshot or {}).get("told", {})
    numbers = {slug: label.partition("@")[2] for slug, label in run.prompt_versions.items()}
    wanted = Q(pk=None)
    for slug, number in numbers.items():
        if number.isdigit():
            wanted |= Q(template__slug=slug, number=int(number))
    rows = PromptVersion.objects.filter(wanted).values_list("template__slug", "pk")
    pages = dict(rows)
    return [
        {"label": label, "version_id": pages.get(slug), "replayable": slug in told}
        for slug, label in run.prompt_versions.items()
    ]


def _songs(song_ids: set[int]) -> dict[int, Song]:
    return Song.objects.only(
        "song_id", "title_jp", "title_kr", "title_en", "artist", "artist_kr", "genre", "mood"
    ).in_bulk(song_ids)


def _unknown(song_id: int) -> Song:
    return Song(
        song_id=song_id, title_jp=f"#{song_id}", title_kr="", title_en="", artist="", artist_kr=""
    )


def _funnel(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows left after each step, with a bar on a logarithmic scale of width 0–100."""
    most = max((step["left"] for step in trace), default=1) or 1
    return [
        step
        | {
            "bar": round(100 * (max(step["left"], 0) + 1).bit_length() / (most + 1).bit_length()),
            "label": trace_labels.STEPS.get(step["name"], step["name"]),
            "notes_text": "; ".join(_notes(step)),
        }
        for step in trace
    ]


def _notes(step: dict[str, Any]) -> list[str]:
    """What the step noted, in the reader's language."""
    stored = step.get("notes")
    notes: list[Note | str] = (
        legacy_notes.notes_of(step["note"]) if stored is None else [_note(note) for note in stored]
    )
    return [note if isinstance(note, str) else trace_labels.render_note(note) for note in notes]


def _note(stored: dict[str, Any]) -> Note | str:
    """A stored note; one that a newer release wrote is shown by its code."""
    try:
        return Note.from_json(stored)
    except (TypeError, ValueError):
        return str(stored.get("code", stored))


def _timings(timings: dict[str, float]) -> list[dict[str, Any]]:
    total = timings.get("total") or 1
    parts = {name: ms for name, ms in timings.items() if name != "total"}
    return [
        {"name": TIMINGS.get(name, name), "ms": ms, "share": round(100 * ms / total)}
        for name, ms in parts.items()
    ]


def _candidates(snapshot: dict[str, Any], songs: dict[int, Song]) -> list[dict[str, Any]]:
    """Each candidate with its place in the order shown to the model, the model's and the final order."""
    ranks = {
        name: {song_id: rank for rank, song_id in enumerate(snapshot.get(name, []), 1)}
        for name in ("shown", "picks", "final")
    }
    rows = []
    for baseline, item in enumerate(snapshot.get("candidates", []), 1):
        song_id = item["song_id"]
        final = ranks["final"].get(song_id)
        rows.append(
            item
            | {
                "song": songs.get(song_id, _unknown(song_id)),
                "baseline": baseline,
                "shown": ranks["shown"].get(song_id),
                "picked": ranks["picks"].get(song_id),
                "final": final,
                "moved": baseline - final if final else 0,
                "kind_label": trace_labels.CANDIDATE_KINDS.get(item.get("type"), item.get("type")),
                "score_list": [
                    (trace_labels.SCORE_PARTS.get(part, part), value)
                    for part, value in sorted(
                        item.get("scores", {}).items(), key=lambda pair: -abs(pair[1])
                    )
                ],
            }
        )
    return sorted(rows, key=lambda row: row["final"] or 10_000)


def _groups(run: Run, songs: dict[int, Song]) -> list[dict[str, Any]]:
    return [
        group
        | {
            "songs": [songs.get(song_id, _unknown(song_id)) for song_id in group["song_ids"]],
            "kind_label": trace_labels.GROUP_KINDS.get(group["kind"], group["kind"]),
        }
        for group in run.groups or []
    ]


def as_json(run: Run) -> dict[str, Any]:
    """The whole run as plain values."""
    names = [field.name for field in Run._meta.concrete_fields]
    values = {name: getattr(run, name) for name in names}
    return {
        name: value if isinstance(value, dict | list | int | float | None) else str(value)
        for name, value in values.items()
    }
