"""The API's calls about members and songs: feedback, blocks, similar songs, search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from catalog.keys import BIGINT_MAX
from catalog.snapshot import CatalogUnavailable
from engine.types import Locale
from profiles import services as profiles
from profiles.models import FeedbackType

from .. import services
from ..serving import song_lookup
from . import openapi_examples
from .base import ApiView
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

#: Members whose answer is recomputed before a feedback call returns; others' when next asked for.
RECOMPUTED_AT_ONCE = 3
#: After these the stored answer may hold a song that the member does not want.
_UNWANTED = {FeedbackType.DISLIKE, FeedbackType.LIKE}


class FeedbackView(ApiView):
    """Plays, skips, ratings and the like; they count from the next request on."""

    @extend_schema(
        operation_id="send_feedback",
        tags=["members"],
        request=FeedbackInputSchema,
        responses={202: FeedbackOutput},
        examples=openapi_examples.FEEDBACK,
    )
    def post(self, http: HttpRequest) -> Response:
        events = self.valid(FeedbackInput, http.data).validated_data["events"]
        verdicts = _record_events(events)
        counted = Counter(verdict["verdict"] for verdict in verdicts)
        counts = {verdict.value: counted[verdict.value] for verdict in profiles.FeedbackVerdict}
        return Response({**counts, "verdicts": verdicts}, status=status.HTTP_202_ACCEPTED)


def _record_events(events: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Judge each event by itself and store the good ones; verdicts in the order sent."""
    inputs = [FeedbackEventInput(data=event) for event in events]
    valid = [event.feedback() for event in inputs if event.is_valid()]
    judged = iter(profiles.record_feedback(valid, now=timezone.now()))
    _recompute(event.member_key for event in valid if event.type in _UNWANTED)
    verdicts = []
    for raw, event in zip(events, inputs, strict=True):
        if event.is_valid():
            verdicts.append(_verdict(event.validated_data["event_id"], *next(judged)))
            continue
        # In one line: "song_id: A valid integer is required."
        errors = " ".join(
            f"{name}: {' '.join(map(str, problems))}" for name, problems in event.errors.items()
        )
        event_id = str(raw.get("event_id", ""))[:64]
        verdicts.append(_verdict(event_id, profiles.FeedbackVerdict.REJECTED, errors))
    return verdicts


def _verdict(event_id: str, verdict: profiles.FeedbackVerdict, detail: str) -> dict[str, str]:
    return {"event_id": event_id, "verdict": verdict.value, "detail": detail}


def _recompute(member_keys: Iterable[str]) -> None:
    """Recompute the stored local answer, so that cached reads show no unwanted song either."""
    for member_key in list(dict.fromkeys(member_keys))[:RECOMPUTED_AT_ONCE]:
        try:
            services.favorites_updated(member_key, action="add")
        except CatalogUnavailable:
            return  # nothing is served before the first catalog


class BlocksView(ApiView):
    """What a member does not want to be shown: songs, artists, genres, for good or until a date."""

    @extend_schema(operation_id="list_blocks", tags=["members"], responses={200: BlocksOutput})
    def get(self, http: HttpRequest, member_id: str) -> Response:
        key = _member_key(member_id)
        blocks = profiles.blocks_of(key, now=timezone.now())
        return Response({"member_id": key, "blocks": BlockOutput(blocks, many=True).data})

    @extend_schema(
        operation_id="add_block",
        tags=["members"],
        request=BlockInput,
        responses={200: BlockOutput},
        examples=[openapi_examples.BLOCK],
    )
    def post(self, http: HttpRequest, member_id: str) -> Response:
        """Block something; the same block again only moves its end."""
        key, given = _member_key(member_id), self.valid(BlockInput, http.data)
        until = given.validated_data.get("until")
        block = profiles.block(key, **given.target(), until=until, now=timezone.now())
        _recompute([key])
        return Response(BlockOutput(block).data)

    @extend_schema(
        operation_id="remove_block",
        tags=["members"],
        parameters=[BlockTargetInput],
        responses={200: UnblockedOutput},
    )
    def delete(self, http: HttpRequest, member_id: str) -> Response:
        """Lift a block named as it was made, in the query: `?kind=artist&name=YOASOBI`."""
        key, given = _member_key(member_id), self.valid(BlockTargetInput, http.query_params)
        removed = profiles.unblock(key, **given.target())
        _recompute([key])
        return Response({"member_id": key, "removed": removed})


class SearchView(ApiView):
    """Finds songs by what people type: Korean, Japanese, English, readings, 초성, slips, karaoke numbers."""

    @extend_schema(
        operation_id="search_songs",
        tags=["songs"],
        parameters=[SearchInput],
        responses={200: SearchOutput},
        examples=[openapi_examples.SEARCH],
    )
    def get(self, http: HttpRequest) -> Response:
        given = self.valid(SearchInput, http.query_params).validated_data
        songs = song_lookup.search(given["q"], limit=given["limit"])
        return Response({"query": given["q"], "songs": songs})


class SimilarView(ApiView):
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
    def get(self, http: HttpRequest, song_id: int) -> Response:
        given = self.valid(SimilarInput, http.query_params).validated_data
        answer = _similar([min(song_id, BIGINT_MAX)], given)
        if answer["unresolved"]:
            raise NotFound("No such song in the catalog.")
        return Response(answer)


class SimilarToView(ApiView):
    """Songs like several songs together."""

    @extend_schema(
        operation_id="similar_to_songs",
        tags=["songs"],
        request=SimilarToInput,
        responses={200: SimilarOutput},
        examples=[openapi_examples.SIMILAR_TO],
    )
    def post(self, http: HttpRequest) -> Response:
        given = self.valid(SimilarToInput, http.data).validated_data
        return Response(_similar(list(dict.fromkeys(given["song_ids"])), given))


def _similar(song_ids: list[int], given: dict[str, Any]) -> dict[str, Any]:
    return song_lookup.similar_to(
        song_ids, limit=given["count"], locale=Locale(given["locale"]), now=timezone.now()
    )


def _member_key(raw: str) -> str:
    return MemberKeyInput().run_validation(raw)
