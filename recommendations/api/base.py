"""The base of the API's views."""

from __future__ import annotations

from typing import Any, TypeVar

from rest_framework.serializers import Serializer
from rest_framework.views import APIView

Input = TypeVar("Input", bound=Serializer)


class ApiView(APIView):
    # No docstring: views without one would inherit it as their description in the API's documentation.
    # A view parses its input, calls a service and answers. Inputs and outputs stand in
    # `*_serializers.py`, examples in `openapi_examples.py`.

    def valid(self, kind: type[Input], data: Any) -> Input:
        """The input, checked. Raises ValidationError."""
        given = kind(data=data)
        given.is_valid(raise_exception=True)
        return given
