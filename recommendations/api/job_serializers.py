"""Defines what callers read about jobs."""

from __future__ import annotations

from rest_framework import serializers

from ..models.jobs import State
from .recommend_serializers import RecommendOutput


class JobErrorOutput(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()


class JobOutput(serializers.Serializer):
    """The current state of a job."""

    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=State.choices)
    progress = serializers.IntegerField(min_value=0, max_value=100)
    member_id = serializers.CharField()
    attempt = serializers.IntegerField(min_value=0)
    submitted_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested = serializers.BooleanField()
    note = serializers.CharField(allow_blank=True)
    error = JobErrorOutput(allow_null=True)
    result = RecommendOutput(allow_null=True)
