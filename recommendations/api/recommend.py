"""The API of contract §1: parse, call a service, answer."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
)

from .. import services
from ..jobs import queue
from ..jobs.kinds import JobKind
from ..models.jobs import JobSource
from ..serving.request import Answer
from . import cached_reads, openapi_examples, serializers

log = logging.getLogger(__name__)


# --- Recommend ------------------------------------------------------------------------------------
class RecommendView(APIView):
    @extend_schema(
        operation_id="recommend",
        summary="Recommend songs to a member",
        description=openapi_examples.RECOMMEND_TEXT,
        request=serializers.RecommendInput,
        responses={
            200: OpenApiResponse(serializers.RecommendOutput, examples=[openapi_examples.ANSWER]),
        },
        examples=openapi_examples.RECOMMEND,
        tags=["recommend"],
    )
    def post(self, http: HttpRequest) -> Response:
        given = _valid(serializers.RecommendInput, http.data)
        request, reported = given.request()
        answer = services.recommend(request)
        if answer.wants_refresh:
            _queue_refresh(request.member_key)
        body = answer.to_wire()
        body["unresolved"] = [*reported, *body["unresolved"]]
        return Response(body, headers={"X-Run-Id": answer.run_id})


class _CachedReads(APIView):
    """What `hotpath` answers before Django, for callers whose request it passed on."""

    def cached(
        self, http: HttpRequest, member_key: str, *, if_none_match: str = ""
    ) -> HttpResponse:
        self.headers = {}  # no Allow: the answer is the hot path's, header by header
        status, headers, body = cached_reads.reply_for(
            services.cached(member_key),
            accept_encoding=http.META.get("HTTP_ACCEPT_ENCODING", ""),
            if_none_match=if_none_match,
        )
        return HttpResponse(
            body, status=int(status[:3]), headers=dict(headers), content_type="application/json"
        )


class CachedView(_CachedReads):
    @extend_schema(
        operation_id="recommend_cached",
        summary="The stored recommendation",
        description="The stored answer as it is, without computing anything. Always 200 or 404.",
        request=serializers.CachedInput,
        responses={
            200: OpenApiResponse(serializers.CachedOutput, examples=[openapi_examples.CACHED]),
            404: OpenApiResponse(serializers.ProblemOutput, description="Nothing is cached."),
        },
        examples=openapi_examples.MEMBER,
        tags=["recommend"],
    )
    def post(self, http: HttpRequest) -> HttpResponse:
        given = _valid(serializers.CachedInput, http.data)
        return self.cached(http, given.validated_data["member_key"])


_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of an earlier answer."
)


class CachedMemberView(_CachedReads):
    @extend_schema(
        operation_id="recommend_cached_get",
        summary="The stored recommendation, with 304",
        description="The same bytes as POST /recommend/cached; 304 where If-None-Match names their ETag.",
        parameters=[_IF_NONE_MATCH],
        responses={
            200: OpenApiResponse(serializers.CachedOutput, examples=[openapi_examples.CACHED]),
            404: OpenApiResponse(serializers.ProblemOutput, description="Nothing is cached."),
            304: OpenApiResponse(description="Unchanged."),
        },
        tags=["recommend"],
    )
    def get(self, http: HttpRequest, member_id: str) -> HttpResponse:
        member_key = serializers.member_key_of(member_id)
        return self.cached(http, member_key, if_none_match=http.META.get("HTTP_IF_NONE_MATCH", ""))


class WhyView(APIView):
    @extend_schema(
        operation_id="recommend_why",
        summary="Why a song is in an answer, or why it is not",
        parameters=[OpenApiParameter("song_id", int, required=True)],
        responses={200: dict},
        tags=["recommend"],
    )
    def get(self, http: HttpRequest, run_id: UUID) -> Response:
        given = _valid(serializers.WhyInput, http.query_params)
        return Response(services.why(run_id, given.validated_data["song_id"]))


# --- Changes, warming -----------------------------------------------------------------------------
class FavoritesUpdatedView(APIView):
    @extend_schema(
        operation_id="favorites_updated",
        summary="A member's favourites changed",
        description=openapi_examples.FAVORITES_TEXT,
        request=serializers.FavoritesUpdatedInput,
        responses={
            200: OpenApiResponse(
                serializers.FavoritesUpdatedOutput, examples=[openapi_examples.QUEUED]
            ),
        },
        examples=openapi_examples.FAVORITES,
        tags=["favourites"],
    )
    def post(self, http: HttpRequest) -> Response:
        given = _valid(serializers.FavoritesUpdatedInput, http.data)
        action, song_ids, songs, reported = given.change()
        member_key = given.validated_data["member_key"]
        answer = services.favorites_updated(
            member_key, action=action, song_ids=song_ids, songs=songs
        )
        task_id = _queue_refresh(member_key) if answer.wants_refresh else None
        return Response(_update_noted(answer, task_id, reported))


def _update_noted(answer: Answer, task_id: str | None, reported: Any) -> dict[str, Any]:
    return {
        "status": "queued",
        "message": "The change counts from now on.",
        "task_id": task_id,
        "run_id": answer.run_id,
        "source": answer.source,
        "degraded": answer.degraded or None,
        "generated_date": answer.generated_date,
        "favorite_song_ids": answer.favorite_song_ids,
        "unresolved": [*reported, *answer.unresolved],
    }


class WarmActiveView(APIView):
    @extend_schema(
        operation_id="warm_active",
        summary="Prepare answers for the members most recently active",
        parameters=[serializers.WarmInput],
        request=None,
        responses={
            200: OpenApiResponse(serializers.WarmOutput, examples=[openapi_examples.WARMED]),
        },
        tags=["operations"],
    )
    def post(self, http: HttpRequest) -> Response:
        given = _valid(serializers.WarmInput, http.query_params)
        limit = given.validated_data["limit"]
        with guard():
            job = queue.enqueue(
                JobKind.WARM_ACTIVE,
                f"warm_active:{limit}",
                row={"source": JobSource.API},
                limit=limit,
            )
        return Response({"task_id": str(job.pk), "status": "queued"})


# --- Steps of the views ---------------------------------------------------------------------------
def _valid(kind: type[Any], data: Any) -> Any:
    given = kind(data=data)
    given.is_valid(raise_exception=True)
    return given


def _queue_refresh(member_key: str) -> str | None:
    """Ask for the model's version; None when not even the row could be written. The answer stands either way."""
    try:
        with guard():
            job = queue.enqueue(
                JobKind.REFRESH_MEMBER,
                f"refresh_member:{member_key}",
                row={"source": JobSource.API, "member_key": member_key},
                member_key=member_key,
            )
    except DATABASE_FAULTS as error:
        log.warning("A refresh could not be queued: %s", type(error).__name__)
        return None
    return str(job.pk)
