"""The API of contract §1: recommendations, cached reads, changes of favourites."""

from __future__ import annotations

import logging
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from infrastructure.database import DATABASE_FAULTS, guard

from .. import services
from ..jobs import queue
from ..jobs.kinds import JobKind
from ..models.jobs import JobSource
from . import cached_reads, openapi_examples
from . import recommend_serializers as serializers
from .base import ApiView
from .error_serializers import ProblemOutput
from .fields import member_key_of

log = logging.getLogger(__name__)


# --- Recommend ------------------------------------------------------------------------------------
class RecommendView(ApiView):
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
        request = self.valid(serializers.RecommendInput, http.data).request()
        answer = services.recommend(request)
        if answer.wants_refresh:
            _queue_refresh(request.member_key)
        return Response(answer.to_wire(), headers={"X-Run-Id": answer.run_id})


class CachedReadView(ApiView):
    """Answers as `CachedReadLayer` does before Django, for callers whose request it passed on."""

    def cached(
        self, http: HttpRequest, member_key: str, *, if_none_match: str = ""
    ) -> HttpResponse:
        self.headers = {}  # no Allow: header by header the same answer as before Django
        reply = cached_reads.reply_for(
            services.cached(member_key),
            accept_encoding=http.META.get("HTTP_ACCEPT_ENCODING", ""),
            if_none_match=if_none_match,
        )
        return HttpResponse(
            reply.body,
            status=int(reply.status[:3]),
            headers=dict(reply.headers),
            content_type="application/json",
        )


class CachedView(CachedReadView):
    @extend_schema(
        operation_id="recommend_cached",
        summary="The stored recommendation",
        description="The stored answer as it is, without computing anything. Always 200 or 404.",
        request=serializers.CachedInput,
        responses={
            200: OpenApiResponse(serializers.CachedOutput, examples=[openapi_examples.CACHED]),
            404: OpenApiResponse(ProblemOutput, description="Nothing is cached."),
        },
        examples=openapi_examples.MEMBER,
        tags=["recommend"],
    )
    def post(self, http: HttpRequest) -> HttpResponse:
        given = self.valid(serializers.CachedInput, http.data)
        return self.cached(http, given.validated_data["member_key"])


_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of an earlier answer."
)


class CachedMemberView(CachedReadView):
    @extend_schema(
        operation_id="recommend_cached_get",
        summary="The stored recommendation, with 304",
        description="The same bytes as POST /recommend/cached; 304 where If-None-Match names their ETag.",
        parameters=[_IF_NONE_MATCH],
        responses={
            200: OpenApiResponse(serializers.CachedOutput, examples=[openapi_examples.CACHED]),
            404: OpenApiResponse(ProblemOutput, description="Nothing is cached."),
            304: OpenApiResponse(description="Unchanged."),
        },
        tags=["recommend"],
    )
    def get(self, http: HttpRequest, member_id: str) -> HttpResponse:
        member_key = member_key_of(member_id)
        return self.cached(http, member_key, if_none_match=http.META.get("HTTP_IF_NONE_MATCH", ""))


class WhyView(ApiView):
    @extend_schema(
        operation_id="recommend_why",
        summary="Why a song is in an answer, or why it is not",
        parameters=[OpenApiParameter("song_id", int, required=True)],
        responses={200: dict},
        tags=["recommend"],
    )
    def get(self, http: HttpRequest, run_id: UUID) -> Response:
        given = self.valid(serializers.WhyInput, http.query_params)
        return Response(services.why(run_id, given.validated_data["song_id"]))


# --- Changes, warming -----------------------------------------------------------------------------
class FavoritesUpdatedView(ApiView):
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
        change = self.valid(serializers.FavoritesUpdatedInput, http.data).change()
        answer = services.favorites_updated(
            change.member_key, action=change.action, song_ids=change.song_ids, songs=change.songs
        )
        task_id = _queue_refresh(change.member_key) if answer.wants_refresh else None
        return Response(
            {
                "status": "queued",
                "message": "The change counts from now on.",
                "task_id": task_id,
                "run_id": answer.run_id,
                "source": answer.source,
                "degraded": answer.degraded or None,
                "generated_date": answer.generated_date,
                "favorite_song_ids": answer.favorite_song_ids,
                "unresolved": [
                    *(item.to_wire() for item in change.unresolved),
                    *answer.unresolved,
                ],
            }
        )


class WarmActiveView(ApiView):
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
        given = self.valid(serializers.WarmInput, http.query_params)
        limit = given.validated_data["limit"]
        with guard():
            job = queue.enqueue(
                JobKind.WARM_ACTIVE,
                f"warm_active:{limit}",
                row={"source": JobSource.API},
                limit=limit,
            )
        return Response({"task_id": str(job.pk), "status": "queued"})


def _queue_refresh(member_key: str) -> str | None:
    """Queue a computation that asks the model; None when its row could not be written. The answer stands anyway."""
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
