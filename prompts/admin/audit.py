"""Who did what: a list to search and read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from infrastructure.admin import ReadOnlyAdmin, pretty_json
from infrastructure.audit import verb_label
from prompts.audit_verbs import ALARMING_VERBS
from prompts.models import AuditEvent


@admin.register(AuditEvent)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "actor_name", "what", "object_label", "why", "ip")
    list_display_links = ("created_at",)
    list_filter = ("created_at",)
    search_fields = ("=actor_name",)
    search_help_text = _("사람, 동사(release.publish) 또는 요청 번호로 찾습니다.")
    fields = (
        "created_at",
        "actor_name",
        "verb_shown",
        "object_type",
        "object_id",
        "object_label",
        "before_shown",
        "after_shown",
        "reason",
        "request_id",
        "ip",
    )
    readonly_fields = ("verb_shown", "before_shown", "after_shown")

    @admin.display(description=_("무엇을"), ordering="verb")
    def what(self, event: AuditEvent) -> str:
        tone = "tone-bad" if event.verb in ALARMING_VERBS else ""
        label = verb_label(event.verb)
        return format_html('<span class="{}" title="{}">{}</span>', tone, event.verb, label)

    @admin.display(description=_("무엇을"))
    def verb_shown(self, event: AuditEvent) -> str:
        return f"{verb_label(event.verb)} ({event.verb})"

    @admin.display(description=_("이유"))
    def why(self, event: AuditEvent) -> str:
        return event.reason[:80]

    @admin.display(description=_("이전"))
    def before_shown(self, event: AuditEvent) -> str:
        return pretty_json(event.before)

    @admin.display(description=_("이후"))
    def after_shown(self, event: AuditEvent) -> str:
        return pretty_json(event.after)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Exact words only: the table grows for ever."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(Q(actor_name=term) | Q(verb=term) | Q(request_id=term)), False
