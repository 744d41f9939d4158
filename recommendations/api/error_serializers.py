"""Defines the shape of every error of the API."""

from __future__ import annotations

from rest_framework import serializers


class FieldErrorOutput(serializers.Serializer):
    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class ProblemOutput(serializers.Serializer):
    """What every error looks like."""

    code = serializers.CharField()
    detail = serializers.CharField()
    errors = FieldErrorOutput(many=True)  # type: ignore[assignment]
