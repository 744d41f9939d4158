"""What every page of the studio shares: who acts, how a refused move is told, and lists that never count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property

from prompts import dashboard
from prompts.errors import NotAllowed, PromptError
from prompts.versions.releases import By


class UncountedPaginator(Paginator):
    """Pages a large table without counting all of it."""

    #: Who looks for an older row filters or searches.
    MOST_ROWS = 5_000

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[: self.MOST_ROWS].count()  # type: ignore[attr-defined]


def among(
    field: str, label: Any, values: Callable[[], Iterable[str]]
) -> type[admin.SimpleListFilter]:
    """A filter over known values of a column; the stock one reads the whole table to learn them."""

    class Known(admin.SimpleListFilter):
        title = label
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in values()]

        def queryset(self, request: HttpRequest, queryset: Any) -> Any:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return Known


def by(request: HttpRequest, reason: str = "") -> By:
    """Who acts in this request, and why."""
    return By(
        actor=request.user,
        reason=reason.strip(),
        request_id=request_id(request),
        ip=request.META.get("REMOTE_ADDR"),
    )


def request_id(request: HttpRequest) -> str:
    """The id that logs carry; made here where no proxy or middleware gave one."""
    known = getattr(request, "request_id", "") or request.headers.get("X-Request-Id", "")
    return str(known or uuid4().hex)[:64]


def attempt(request: HttpRequest, move: Callable[[], Any], success: str) -> bool:
    """Try a move of publishing.py and tell the outcome; False when it was refused. 403 for who may not."""
    try:
        move()
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except PromptError as error:
        messages.error(request, str(error))
        return False
    dashboard.forget()  # banners show the move at once
    messages.success(request, success)
    return True


class StudioAdmin(admin.ModelAdmin):
    """Rows that are looked at here and moved through services; nothing is deleted."""

    #: Where the templates of its own pages are.
    folder = "admin/prompts"
    show_full_result_count = False
    paginator = UncountedPaginator
    list_per_page = 50

    class Media:
        css = {"all": ("prompts/studio.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list under its own name: stock Korean titles read badly ("보기위한 1프롬프트 를(을) 선택")."""
        named = {"title": self.opts.verbose_name_plural} | (extra_context or {})
        return super().changelist_view(request, named)

    def page(
        self,
        request: HttpRequest,
        name: str,
        *,
        title: Any,
        obj: models.Model | None = None,
        **context: Any,
    ) -> HttpResponse:
        """One of our own pages in the frame of the admin."""
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": obj,
            "media": self.media,
        }
        return TemplateResponse(request, f"{self.folder}/{name}", frame | context)

    def seen(self, request: HttpRequest, key: Any) -> Any:
        """The row of a page, for those who may see it: 404 and 403 otherwise."""
        obj = self.get_object(request, str(key))
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj
