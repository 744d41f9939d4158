"""Songs and groups as JSON of contract §1: absent text is "", a karaoke number positive or null."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from engine.types import Candidate, SongView


class GroupSong(TypedDict):
    song_id: int
    title_jp: str
    title_kr: str
    title_en: str
    title_yomi: str
    artist: str
    artist_kr: str
    tj_number: int | None
    ky_number: int | None


class CandidateSong(GroupSong):
    genre: str
    mood: str
    recommendation_type: str
    matched_criteria: list[str]
    match_score: float
    reason: str


class WireGroup(TypedDict):
    label: str
    tagline: str
    songs: list[GroupSong]


def wire_song(view: SongView) -> SongView:
    """The song as the app must get it: it shows `title_jp || title_en`, never `title_kr`."""
    if view.title_jp or view.title_en:
        return view
    return replace(view, title_en=view.title_kr or view.title_yomi or view.title_yomi_kr)


def group_song(view: SongView) -> GroupSong:
    song = wire_song(view)
    return GroupSong(
        song_id=song.song_id,
        title_jp=song.title_jp,
        title_kr=song.title_kr,
        title_en=song.title_en,
        title_yomi=song.title_yomi,
        artist=song.artist,
        artist_kr=song.artist_kr,
        tj_number=song.tj_number,
        ky_number=song.ky_number,
    )


def candidate_song(candidate: Candidate) -> CandidateSong:
    return CandidateSong(
        **group_song(candidate.song),
        genre=candidate.song.genre,
        mood=candidate.song.mood,
        recommendation_type=candidate.recommendation_type,
        matched_criteria=list(candidate.matched_criteria),
        match_score=round(float(candidate.match_score), 4),
        reason=candidate.reason,
    )
