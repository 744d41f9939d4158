"""Base classes and renderers shared by all admin pages: read-only rows, uncounted lists, JSON, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from infrastructure.time import SEOUL

#: Problems of one action that are shown to staff; one cause often makes hundreds.
MAX_PROBLEMS = 10


class UncountedPaginator(Paginator):
    """Pages a large table without counting all of it."""

    #: Older rows are found by filters and search.
    MAX_ROWS = 10_000

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[: self.MAX_ROWS].count()  # type: ignore[attr-defined]


def known_values_filter(
    field: str,
    label: Any,
    values: Callable[[], Iterable[str]],
    *,
    labels: Mapping[str, Any] | None = None,
) -> type[admin.SimpleListFilter]:
    """A filter over known values of a column; the stock one reads the whole table to find them.

    labels: what staff read in place of a value.
    """
    shown = labels or {}

    class KnownValuesFilter(admin.SimpleListFilter):
        title = label
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
            return [(value, shown.get(value, value)) for value in values()]

        def queryset(self, request: HttpRequest, queryset: Any) -> Any:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return KnownValuesFilter


def request_id(request: HttpRequest) -> str:
    """The id that log lines carry; a new one when no proxy or middleware set it."""
    known = getattr(request, "request_id", "") or request.headers.get("X-Request-Id", "")
    return str(known or uuid4().hex)[:64]


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that staff can read but not edit here: they are changed through services, and never deleted."""

    #: Templates of the class's own pages; `page` needs it.
    folder: str
    show_full_result_count = False
    paginator = UncountedPaginator
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Use the model's name as title: stock Korean titles read badly ("보기위한 1프롬프트 를(을) 선택")."""
        context = {"title": self.opts.verbose_name_plural} | (extra_context or {})
        return super().changelist_view(request, context)

    def page(
        self,
        request: HttpRequest,
        name: str,
        *,
        title: Any,
        obj: models.Model | None = None,
        **context: Any,
    ) -> HttpResponse:
        """Render a template of `folder` inside the layout of the admin."""
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": obj,
            "media": self.media,
        }
        return TemplateResponse(request, f"{self.folder}/{name}", frame | context)

    def viewable(self, request: HttpRequest, key: Any) -> Any:
        """Return a row; 404 when there is none, 403 without permission to view it."""
        obj = self.get_object(request, str(key))
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj

    seen = viewable


def report_results(request: HttpRequest, done: int, problems: list[str]) -> None:
    """Show how many rows an action processed, and its first problems."""
    if done:
        messages.success(request, gettext("%(count)d건을 처리했습니다.") % {"count": done})
    for problem in problems[:MAX_PROBLEMS]:
        messages.error(request, problem)
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        messages.error(request, gettext("외 %(count)d건") % {"count": more})


def pretty_json(value: Any) -> str:
    """Indented JSON as a block of text; "–" for None."""
    if value is None:
        return "–"
    return preformatted(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def preformatted(text: str) -> SafeString:
    """Text in its own line breaks; long lines wrap."""
    return format_html('<pre style="white-space:pre-wrap;max-width:70em">{}</pre>', text or "–")


def preformatted_bytes(body: bytes) -> str:
    """A message's body exactly as it came: parsed and printed again, its numbers would be others."""
    return preformatted(body.decode("utf-8", "backslashreplace"))


def table(head: tuple[Any, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    """A small HTML table; "–" without rows."""
    if not rows:
        return "–"
    cells = format_html_join("", "<th>{}</th>", ((name,) for name in head))
    lines = format_html_join(
        "",
        "<tr>{}</tr>",
        ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows),
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", cells, lines)


def seoul_time(moment: datetime | None) -> str:
    """Date and time of day in Seoul, to the second; "–" for None."""
    return f"{moment.astimezone(SEOUL):%Y-%m-%d %H:%M:%S}" if moment else "–"
