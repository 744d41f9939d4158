"""Admin pages of dead letters: messages that could not be processed; send them again, correct or discard them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from infrastructure.admin import (
    ReadOnlyAdmin,
    known_values_filter,
    preformatted_bytes,
    pretty_json,
    report_results,
)

from ..jobs.backend_queue import dead_letters
from ..jobs.backend_queue.rabbitmq_messages import InvalidMessage
from ..jobs.broker import BrokerUnavailable
from ..models import DeadLetter
from .labels import ERROR_CODES, error_label
from .member_data import HIDDEN, may_see_member_data, shows_member_data, with_member_data


class LetterForm(forms.ModelForm):
    """The corrected body of a message."""

    text = forms.CharField(
        label=_("본문"),
        widget=forms.Textarea(attrs={"rows": 18, "cols": 100, "spellcheck": "false"}),
        help_text=_("고친 뒤 ‘고쳐서 다시 보내기’를 누르면 이 본문이 백엔드 대기열로 갑니다."),
    )
    reason = forms.CharField(label=_("사유"), max_length=300, required=True)

    class Meta:
        model = DeadLetter
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["text"].initial = bytes(self.instance.body).decode("utf-8", "backslashreplace")


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = (
        "arrived_at",
        "age",
        "reason_label",
        "state",
        "short_id",
        "member",
        "detail",
        "handled_by",
    )
    list_display_links = ("arrived_at", "reason_label")
    list_filter = (
        "state",
        known_values_filter("code", _("사유"), lambda: ERROR_CODES, labels=ERROR_CODES),
        "arrived_at",
    )
    list_select_related = ("handled_by",)
    search_fields = ("=job_uuid",)
    search_help_text = _("작업 ID 전체로 찾습니다.")
    actions = ("retry", "discard")
    form = LetterForm
    folder = "admin/recommendations/deadletter"
    shown = ("arrived_at", "age", "reason_label", "detail", "job_uuid", "member", "state", "handled_by",
             "handled_reason", "handled_at", "headers_shown")  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        return with_member_data(super().get_queryset(request), request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only to correct and send again, for staff who may see the body."""
        editable = obj is None or obj.state == DeadLetter.State.OPEN
        may = request.user.has_perm("recommendations.edit_deadletter")
        return editable and may and may_see_member_data(request.user)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.shown, "body_shown")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        editing = ("text", "reason") if self.has_change_permission(request, obj) else ()
        return (*self.shown, *(editing or ("body_shown",)))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        context |= {
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
            "show_delete": False,
        }
        return super().render_change_form(request, context, *args, **options)

    def save_model(self, request: HttpRequest, obj: DeadLetter, form: Any, change: bool) -> None:
        """Nothing of the row is edited: the corrected text is sent by `response_change`."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit record replaces it."""

    def response_change(self, request: HttpRequest, obj: DeadLetter) -> HttpResponse:
        text, reason = request.POST.get("text", ""), request.POST.get("reason", "")
        try:
            # A form sends \r\n: equal in JSON, but an unedited body must stay byte-equal.
            body = text.replace("\r\n", "\n").encode()
            dead_letters.retry(obj.pk, by=request.user, reason=reason, body=body)
        except (InvalidMessage, dead_letters.LetterHandled, dead_letters.NoBackendQueue) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)
        except BrokerUnavailable:
            messages.error(request, _("브로커에 연결할 수 없습니다. 메시지는 그대로 있습니다."))
            return HttpResponseRedirect(request.path)
        messages.success(request, _("고쳐서 다시 보냈습니다."))
        return self.response_post_save_change(request, obj)

    # --- columns ---
    @admin.display(description=_("작업 ID"), ordering="job_uuid")
    def short_id(self, letter: DeadLetter) -> str:
        return letter.job_uuid[:8]

    @admin.display(description=_("사유"), ordering="code")
    def reason_label(self, letter: DeadLetter) -> str:
        return error_label(letter.code)

    @admin.display(description=_("경과"), ordering="arrived_at")
    def age(self, letter: DeadLetter) -> str:
        return timesince(letter.arrived_at, depth=1)

    @admin.display(description=_("회원"), ordering="member_key")
    def member(self, letter: DeadLetter) -> str:
        return letter.member_key if shows_member_data(letter) or not letter.member_key else HIDDEN

    @admin.display(description=_("헤더"))
    def headers_shown(self, letter: DeadLetter) -> str:
        return pretty_json(letter.headers)

    @admin.display(description=_("본문"))
    def body_shown(self, letter: DeadLetter) -> str:
        return preformatted_bytes(bytes(letter.body)) if shows_member_data(letter) else HIDDEN

    # --- actions ---
    @admin.action(description=_("그대로 다시 보내기"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self._each(request, queryset, lambda pk: dead_letters.retry(pk, by=request.user))

    @admin.action(description=_("폐기(사유 필요)"), permissions=("discard",))
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        reason = request.POST.get("reason", "").strip()
        if reason:
            self._each(
                request,
                queryset,
                lambda pk: dead_letters.discard(pk, by=request.user, reason=reason),
            )
            return None
        return self.page(
            request,
            "discard.html",
            title=_("메시지 폐기"),
            letters=queryset[: dead_letters.MOST_AT_ONCE],
            count=min(queryset.count(), dead_letters.MOST_AT_ONCE),
            action="discard",
        )

    def _each(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], step: Callable[[int], None]
    ) -> None:
        chosen = list(queryset.order_by("arrived_at").values_list("pk", flat=True))
        if len(chosen) > dead_letters.MOST_AT_ONCE:
            messages.warning(
                request,
                gettext("한 번에 %(most)d건까지 처리합니다.") % {"most": dead_letters.MOST_AT_ONCE},
            )
        report_results(request, *dead_letters.each(chosen, step))

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.retry_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.discard_deadletter")
