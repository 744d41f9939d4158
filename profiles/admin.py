"""Admin pages of members' taste: what was read, overrides by staff, blocks and feedback."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from catalog.admin import EMPTY, SongAdmin, page_link, total
from catalog.keys import MEMBER_KEY_LENGTH, member_id_of
from catalog.models import Song
from infrastructure import audit
from infrastructure.admin import ReadOnlyAdmin
from profiles import services
from profiles.models import (
    Block,
    CallerFavorite,
    FeedbackEvent,
    Impression,
    OverrideAction,
    OverrideKind,
    TasteOverride,
    TasteProfile,
    TasteSnapshot,
    TasteSource,
)

#: Readings shown in the history of a profile.
MAX_HISTORY = 10
SHOWN_DAYS = 30


class OverrideForm(forms.Form):
    """An override of a member's taste."""

    kind = forms.ChoiceField(label=_("대상"), choices=OverrideKind.choices)
    action = forms.ChoiceField(label=_("조치"), choices=OverrideAction.choices)
    value = forms.CharField(
        label=_("값"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60}),
        help_text=_("장르·분위기·가수 이름, 또는 새 취향 요약 문장."),
    )
    reason = forms.CharField(label=_("사유"), max_length=300)


class UndoForm(forms.Form):
    reason = forms.CharField(label=_("취소 사유"), max_length=300)


@admin.register(TasteProfile)
class TasteProfileAdmin(ReadOnlyAdmin):
    """The taste that was read of a member. Staff override it; they never edit it."""

    list_display = ("member_key", "genres", "moods", "artists", "source", "changed", "generated_at")
    list_filter = ("source", "generated_at")
    search_fields = ("=member_key",)
    search_help_text = _("회원 키 전체로 찾습니다.")
    ordering = ("-generated_at",)
    empty_value_display = EMPTY
    change_form_template = "admin/profiles/tasteprofile/page.html"
    fieldsets = (
        (None, {"fields": ("member_page", "source", "prompt_version", "generated_at")}),
        (_("분석 결과"), {"fields": ("taste_text", "genres", "moods", "artists")}),
    )
    readonly_fields = ("member_page", "genres", "moods", "artists")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TasteProfile]:
        overrides = TasteOverride.objects.active().filter(member_key=OuterRef("member_key"))
        profiles = super().get_queryset(request)
        return profiles.annotate(n_overrides=total(overrides, "member_key", Count("pk")))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/decide/", view(self.decide), name="profiles_tasteprofile_decide"),
            path(
                "<int:pk>/undo/<int:override>/", view(self.undo), name="profiles_tasteprofile_undo"
            ),
            path(
                "of/<str:member_key>/", view(self.of_member), name="profiles_tasteprofile_of_member"
            ),
            *super().get_urls(),
        ]

    # --- columns --------------------------------------------------------------------------------

    @admin.display(description=_("선호 장르"))
    def genres(self, profile: TasteProfile) -> str:
        return ", ".join(profile.preferred_genres) or EMPTY

    @admin.display(description=_("선호 분위기"))
    def moods(self, profile: TasteProfile) -> str:
        return ", ".join(profile.preferred_moods) or EMPTY

    @admin.display(description=_("선호 가수"))
    def artists(self, profile: TasteProfile) -> SafeString:
        return format_html(
            '<span lang="ja">{}</span>', ", ".join(profile.preferred_artists) or EMPTY
        )

    @admin.display(description=_("담당자 조정"))
    def changed(self, profile: TasteProfile) -> str:
        return str(getattr(profile, "n_overrides", 0) or EMPTY)

    @admin.display(description=_("회원"))
    def member_page(self, profile: TasteProfile) -> SafeString:
        key = profile.member_key
        if member_id_of(key) is None:
            return format_html("{}", key)
        return page_link("catalog_member_change", key, key)

    # --- the page -------------------------------------------------------------------------------

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        profile = self.get_object(request, object_id)
        if profile is None:
            return super().change_view(request, object_id, form_url, extra_context)
        shown = {
            "taste_now": _taste_now(profile),
            "overrides": TasteOverride.objects.for_member(profile.member_key).order_by("-made_at"),
            "history": _history(profile.member_key),
            "blocks": services.blocks_of(profile.member_key, now=timezone.now()),
            "override_form": OverrideForm(),
            "may_decide": request.user.has_perm("profiles.add_tasteoverride"),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, shown)

    def of_member(self, request: HttpRequest, member_key: str) -> HttpResponse:
        """Redirect to a member's profile; create an empty one when there is none, so that staff can override."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        profile = TasteProfile.objects.filter(member_key=member_key).first()
        if profile is None:
            if not request.user.has_perm("profiles.add_tasteoverride"):
                messages.info(request, _now("아직 이 회원의 취향 프로필이 없습니다."))
                return redirect("admin:profiles_tasteprofile_changelist")
            profile = TasteProfile.objects.create(
                member_key=member_key[:MEMBER_KEY_LENGTH],
                source=TasteSource.LOCAL,
                generated_at=timezone.now(),
            )
        return redirect("admin:profiles_tasteprofile_change", profile.pk)

    # --- overrides ----------------------------------------------------------------------

    def decide(self, request: HttpRequest, pk: int) -> HttpResponse:
        profile = self._profile_to_change(request, pk)
        form = OverrideForm(request.POST)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not form.is_valid():
            for name, problems in form.errors.items():
                messages.error(
                    request, f"{form.fields[name].label}: {' '.join(map(str, problems))}"
                )
            return redirect("admin:profiles_tasteprofile_change", pk)
        with transaction.atomic():
            decision = services.override_taste(
                profile.member_key, **form.cleaned_data, by=request.user, now=timezone.now()
            )
            self._audit(request, decision, verb=f"taste.{decision.action}", reason=decision.reason)
        messages.success(request, _now("조정했습니다. 다음 추천부터 반영됩니다."))
        return redirect("admin:profiles_tasteprofile_change", pk)

    def undo(self, request: HttpRequest, pk: int, override: int) -> HttpResponse:
        profile = self._profile_to_change(request, pk)
        form = UndoForm(request.POST)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not form.is_valid():
            messages.error(request, _now("취소 사유를 적어 주세요."))
            return redirect("admin:profiles_tasteprofile_change", pk)
        decision = get_object_or_404(TasteOverride, pk=override, member_key=profile.member_key)
        reason = form.cleaned_data["reason"]
        with transaction.atomic():
            undone = decision.undo(by=request.user, reason=reason, now=timezone.now())
            if undone:
                self._audit(request, decision, verb="taste.undo", reason=reason)
        if undone:
            messages.success(request, _now("조정을 취소했습니다."))
        else:
            messages.warning(request, _now("이미 취소된 조정입니다."))
        return redirect("admin:profiles_tasteprofile_change", pk)

    def _profile_to_change(self, request: HttpRequest, pk: int) -> TasteProfile:
        if not request.user.has_perm("profiles.add_tasteoverride"):
            raise PermissionDenied
        return get_object_or_404(TasteProfile, pk=pk)

    def _audit(
        self, request: HttpRequest, decision: TasteOverride, *, verb: str, reason: str
    ) -> None:
        audit.record(
            actor=request.user,
            verb=verb,
            object=f"member:{decision.member_key}",
            after={"kind": decision.kind, "action": decision.action, "value": decision.value},
            reason=reason,
        )


def _taste_now(profile: TasteProfile) -> list[tuple[Any, str]]:
    """The taste as recommendations use it: with staff's overrides."""
    member = services.member_profile(profile.member_key, favorite_ids=[], now=timezone.now())
    words = [
        (kind.label, ", ".join(member.with_overrides(kind, member.taste_names(kind))) or EMPTY)
        for kind in (OverrideKind.GENRE, OverrideKind.MOOD, OverrideKind.ARTIST)
    ]
    return [(OverrideKind.TEXT.label, member.taste_text or EMPTY), *words]


def _history(member_key: str) -> list[dict[str, Any]]:
    """The last readings, newest first, each with how far it is from the one before."""
    rows = TasteSnapshot.objects.filter(member_key=member_key).order_by("-generated_at", "-pk")
    newest_first = list(rows[: MAX_HISTORY + 1])
    history = [
        {
            "taste": later,
            "drift": round(100 * later.drift_from(earlier)),
            "came": sorted(later.words() - earlier.words()),
            "went": sorted(earlier.words() - later.words()),
        }
        for later, earlier in pairwise(newest_first)
    ]
    if len(newest_first) <= MAX_HISTORY:
        history += [{"taste": first, "drift": None} for first in newest_first[-1:]]
    return history


@admin.register(Block)
class BlockAdmin(ReadOnlyAdmin):
    list_display = ("member_key", "kind", "what", "until", "created_at")
    list_filter = ("kind",)
    search_fields = ("=member_key",)
    search_help_text = _("회원 키 전체로 찾습니다.")
    ordering = ("-pk",)
    empty_value_display = EMPTY

    @admin.display(description=_("차단한 것"))
    def what(self, block: Block) -> SafeString:
        if block.song_id:
            return page_link("catalog_song_change", block.song_id, f"#{block.song_id}")
        return format_html('<span lang="ja">{}</span>', block.name)


@admin.register(FeedbackEvent)
class FeedbackEventAdmin(ReadOnlyAdmin):
    list_display = ("occurred_at", "member_key", "type", "song", "value", "run_id", "received_at")
    list_filter = ("type", "received_at")
    search_fields = ("=member_key", "=event_id")
    search_help_text = _("회원 키 또는 이벤트 ID 전체로 찾습니다.")
    ordering = ("-pk",)
    empty_value_display = EMPTY

    @admin.display(description=_("곡"))
    def song(self, event: FeedbackEvent) -> SafeString:
        return page_link("catalog_song_change", event.song_id, f"#{event.song_id}")


@admin.register(CallerFavorite)
class CallerFavoriteAdmin(ReadOnlyAdmin):
    list_display = ("member_key", "song_id", "stated_at")
    search_fields = ("=member_key",)
    search_help_text = _("회원 키 전체로 찾습니다.")
    ordering = ("-pk",)


# Impressions belong to this app, which the catalog's own admin may not import.
admin.site.unregister(Song)


@admin.register(Song)
class ShownSongAdmin(SongAdmin):
    list_display = (*SongAdmin.list_display, "shown")  # type: ignore[assignment]  # one column more
    readonly_fields = (*SongAdmin.readonly_fields, "shown")  # type: ignore[assignment]
    fieldsets = (
        *SongAdmin.fieldsets[:-1],
        (_("기록"), {"fields": ("created_at", "modified_at", "liked", "shown")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Song]:
        since = timezone.now() - timedelta(days=SHOWN_DAYS)
        served = Impression.objects.filter(song_id=OuterRef("pk"), last_at__gt=since)
        return (
            super().get_queryset(request).annotate(n_shown=total(served, "song_id", Sum("times")))
        )

    @admin.display(description=_("노출(30일)"))
    def shown(self, song: Song) -> int:
        return getattr(song, "n_shown", 0)
