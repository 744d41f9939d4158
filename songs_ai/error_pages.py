"""The landing page, and errors outside the views: JSON for callers, a page for staff."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults

from recommendations.errors import problem
from songs_ai.middleware import is_staff_page


def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "landing.html")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_staff_page(request.path_info):
        return defaults.bad_request(request, exception)
    return _told(400, "BAD_REQUEST", "The request can't be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_staff_page(request.path_info):
        return defaults.permission_denied(request, exception)
    return _told(403, "FORBIDDEN", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_staff_page(request.path_info):
        return defaults.page_not_found(request, exception)
    return _told(404, "NOT_FOUND", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    if is_staff_page(request.path_info):
        return defaults.server_error(request)
    return _told(500, "INTERNAL", "Something went wrong here. The log names the request.")


def _told(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(problem(code, detail), status=status)
