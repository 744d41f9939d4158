"""Answers about members and songs beside recommendations: feedback, blocks, similar songs, search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from catalog.keys import BIGINT_MAX
from catalog.snapshot import CatalogUnavailable
from catalog.song_payloads import group_song
from engine.catalog.search.query import find_songs
from engine.scoring.similar import similar
from engine.types import Candidate, Locale, SongView
from profiles import services as profiles
from profiles.models import FeedbackType

from .. import services
from ..serving import active_engine
from .member_serializers import (
    BlockInput,
    BlockOutput,
    BlocksOutput,
    BlockTargetInput,
    FeedbackEventInput,
    FeedbackInput,
    FeedbackInputSchema,
    FeedbackOutput,
    MemberKeyInput,
    SearchInput,
    SearchOutput,
    SimilarInput,
    SimilarOutput,
    SimilarToInput,
    UnblockedOutput,
)

#: Members whose answer is renewed before a feedback call returns; others are renewed when next asked for.
RENEWED_AT_ONCE = 3
#: After these the answer in force may hold a song the member does not want to see.
_UNWANTED = {FeedbackType.DISLIKE, FeedbackType.LIKE}

FEEDBACK_EXAMPLE = {
    "events": [
        {
            "event_id": "0d1f6a1e-1",
            "memberId": "42",
            "song_id": 65,
            "type": "skip",
            "occurred_at": "2026-05-01T21:04:00+09:00",
        },
        {"event_id": "0d1f6a1e-2", "memberId": "42", "song_id": 30, "type": "rating", "value": 5},
    ]
}
VERDICTS_EXAMPLE = {
    "accepted": 1,
    "duplicate": 1,
    "rejected": 0,
    "verdicts": [
        {"event_id": "0d1f6a1e-1", "verdict": "accepted", "detail": ""},
        {
            "event_id": "0d1f6a1e-2",
            "verdict": "duplicate",
            "detail": "This event id was reported before.",
        },
    ],
}
BLOCK_EXAMPLE = {"kind": "artist", "name": "YOASOBI", "until": "2026-06-01T00:00:00+09:00"}
SONG_EXAMPLE = {
    "song_id": 65,
    "title_jp": "夜に駆ける",
    "title_kr": "밤을 달리다",
    "title_en": "Racing into the Night",
    "title_yomi": "よるにかける",
    "artist": "YOASOBI",
    "artist_kr": "요아소비",
    "tj_number": 68058,
    "ky_number": 44594,
    "genre": "J-pop",
    "mood": "에너지",
    "score": 0.98,
}


class FeedbackView(APIView):
    """Plays, skips, ratings and the like; they count from the next request on."""

    @extend_schema(
        operation_id="send_feedback",
        tags=["members"],
        request=FeedbackInputSchema,
        responses={202: FeedbackOutput},
        examples=[
            OpenApiExample("two events", FEEDBACK_EXAMPLE, request_only=True),
            OpenApiExample("verdicts", VERDICTS_EXAMPLE, response_only=True, status_codes=["202"]),
        ],
    )
    def post(self, request: Request) -> Response:
        sent = _valid(FeedbackInput(data=request.data))["events"]
        told = _record(sent)
        counted = Counter(verdict["verdict"] for verdict in told)
        counts = {verdict.value: counted[verdict.value] for verdict in profiles.FeedbackVerdict}
        return Response({**counts, "verdicts": told}, status=status.HTTP_202_ACCEPTED)


def _record(sent: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Judge each event by itself and store the good ones; verdicts in the order sent."""
    read = [FeedbackEventInput(data=event) for event in sent]
    good = [event.feedback() for event in read if event.is_valid()]
    judged = iter(profiles.record_feedback(good, now=timezone.now()))
    _renew(event.member_key for event in good if event.type in _UNWANTED)
    return [
        _verdict(event.validated_data["event_id"], *next(judged))
        if event.is_valid()
        else _verdict(
            str(raw.get("event_id", ""))[:64], profiles.FeedbackVerdict.REJECTED, _said(event)
        )
        for raw, event in zip(sent, read, strict=True)
    ]


def _verdict(event_id: str, verdict: profiles.FeedbackVerdict, detail: str) -> dict[str, str]:
    return {"event_id": event_id, "verdict": verdict.value, "detail": detail}


def _said(event: FeedbackEventInput) -> str:
    """The errors of one event in one line: "song_id: A valid integer is required."."""
    return " ".join(
        f"{name}: {' '.join(map(str, problems))}" for name, problems in event.errors.items()
    )


def _renew(member_keys: Iterable[str]) -> None:
    """Make the stored local answer anew, so that cached reads show no unwanted song either."""
    for member_key in list(dict.fromkeys(member_keys))[:RENEWED_AT_ONCE]:
        try:
            services.favorites_updated(member_key, action="add")
        except CatalogUnavailable:
            return  # nothing is served from a catalog that was never seen


class BlocksView(APIView):
    """What a member does not want to be shown: songs, artists, genres, for good or until a date."""

    @extend_schema(operation_id="list_blocks", tags=["members"], responses={200: BlocksOutput})
    def get(self, request: Request, member_id: str) -> Response:
        key = _member_key(member_id)
        blocks = profiles.blocks_of(key, now=timezone.now())
        return Response({"member_id": key, "blocks": BlockOutput(blocks, many=True).data})

    @extend_schema(
        operation_id="add_block",
        tags=["members"],
        request=BlockInput,
        responses={200: BlockOutput},
        examples=[OpenApiExample("an artist until June", BLOCK_EXAMPLE, request_only=True)],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Block something; the same block again only moves its end."""
        key, wanted = _member_key(member_id), BlockInput(data=request.data)
        until = _valid(wanted).get("until")
        block = profiles.block(key, **wanted.target(), until=until, now=timezone.now())
        _renew([key])
        return Response(BlockOutput(block).data)

    @extend_schema(
        operation_id="remove_block",
        tags=["members"],
        parameters=[BlockTargetInput],
        responses={200: UnblockedOutput},
    )
    def delete(self, request: Request, member_id: str) -> Response:
        """Lift a block named as it was made, in the query: `?kind=artist&name=YOASOBI`."""
        key, wanted = _member_key(member_id), BlockTargetInput(data=request.query_params)
        _valid(wanted)
        removed = profiles.unblock(key, **wanted.target())
        _renew([key])
        return Response({"member_id": key, "removed": removed})


class SearchView(APIView):
    """Finds songs by what people type: Korean, Japanese, English, readings, 초성, slips, karaoke numbers."""

    @extend_schema(
        operation_id="search_songs",
        tags=["songs"],
        parameters=[SearchInput],
        responses={200: SearchOutput},
        examples=[
            OpenApiExample(
                "ㅂㅇㄷㄹㄷ",
                {"query": "ㅂㅇㄷㄹㄷ", "songs": [SONG_EXAMPLE]},
                response_only=True,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        asked = _valid(SearchInput(data=request.query_params))
        snapshot = active_engine.current().snapshot
        found = find_songs(snapshot.search, asked["q"], asked["limit"])
        songs = [_song(snapshot.catalog.view(row), score) for row, score in found]
        return Response({"query": asked["q"], "songs": songs})


class SimilarView(APIView):
    """Songs like one song."""

    @extend_schema(
        operation_id="similar_songs",
        tags=["songs"],
        parameters=[
            SimilarInput,
            OpenApiParameter(
                "song_id", int, OpenApiParameter.PATH, examples=[OpenApiExample("65", 65)]
            ),
        ],
        responses={200: SimilarOutput},
    )
    def get(self, request: Request, song_id: int) -> Response:
        asked = _valid(SimilarInput(data=request.query_params))
        answer = _similar([min(song_id, BIGINT_MAX)], asked)
        if answer["unresolved"]:
            raise NotFound("No such song in the catalog.")
        return Response(answer)


class SimilarToView(APIView):
    """Songs like several songs together."""

    @extend_schema(
        operation_id="similar_to_songs",
        tags=["songs"],
        request=SimilarToInput,
        responses={200: SimilarOutput},
        examples=[
            OpenApiExample("like these two", {"song_ids": [65, 30], "count": 10}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        asked = _valid(SimilarToInput(data=request.data))
        return Response(_similar(list(dict.fromkeys(asked["song_ids"])), asked))


def _similar(song_ids: list[int], asked: dict[str, Any]) -> dict[str, Any]:
    state = active_engine.current()
    catalog = state.snapshot.catalog
    rows = catalog.rows_of(song_ids).tolist()
    found = similar(
        song_ids,
        catalog=catalog,
        model=state.model,
        settings=state.settings,
        limit=asked["count"],
        locale=Locale(asked["locale"]),
        now=timezone.now(),
    )
    return {
        "song_ids": song_ids,
        "unresolved": [song_id for song_id, row in zip(song_ids, rows, strict=True) if row < 0],
        "songs": [_similar_song(candidate) for candidate in found],
    }


def _similar_song(candidate: Candidate) -> dict[str, Any]:
    return {**_song(candidate.song, candidate.match_score), "reason": candidate.reason}


def _song(view: SongView, score: float) -> dict[str, Any]:
    return {
        **group_song(view),
        "genre": view.genre,
        "mood": view.mood,
        "score": round(float(score), 4),
    }


def _valid(data: serializers.Serializer) -> Any:
    data.is_valid(raise_exception=True)
    return data.validated_data


def _member_key(raw: str) -> str:
    return MemberKeyInput().run_validation(raw)


def _both(route: str, view: Any, name: str) -> list[Any]:
    """A trailing slash is not expected and answered all the same."""
    return [path(route, view, name=name), path(f"{route}/", view)]


urlpatterns = [
    *_both("feedback", FeedbackView.as_view(), "feedback"),
    *_both("members/<str:member_id>/blocks", BlocksView.as_view(), "member-blocks"),
    *_both("songs/search", SearchView.as_view(), "songs-search"),
    *_both("songs/similar", SimilarToView.as_view(), "songs-similar-to"),
    *_both("songs/<int:song_id>/similar", SimilarView.as_view(), "songs-similar"),
]
