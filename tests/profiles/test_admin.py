"""Staff's decisions about a member's taste: kept apart, effective at once, undone with a trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from catalog.factories import SongFactory
from profiles import models, services
from prompts.models import AuditEvent

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def read(**changes) -> None:
    taste = {
        "text": "밤에 듣기 좋은 곡을 좋아합니다.",
        "genres": ["J-pop", "록"],
        "moods": ["감성적"],
        "artists": ["YOASOBI"],
        "favorites_sha": "f",
        "source": "model",
        "now": NOW,
    }
    services.store_taste("42", **{**taste, **changes})


@pytest.fixture
def profile() -> models.TasteProfile:
    read()
    return models.TasteProfile.objects.get(member_key="42")


def look() -> services.MemberProfile:
    return services.member_profile("42", favorite_ids=[], now=NOW)


def decide(client, profile, **sent):
    form = {"kind": "genre", "action": "pin", "value": "발라드", "reason": "고객 요청", **sent}
    url = reverse("admin:profiles_tasteprofile_decide", args=[profile.pk])
    return client.post(url, form, follow=True)


def undo(client, profile, override, reason="실수"):
    url = reverse("admin:profiles_tasteprofile_undo", args=[profile.pk, override.pk])
    return client.post(url, {"reason": reason}, follow=True)


def test_the_page_shows_reading_decisions_history_and_blocks(admin_client, profile):
    services.block("42", kind="artist", name="米津玄師", now=NOW)
    read(genres=["J-pop", "발라드"], now=NOW + timedelta(days=30))
    page = admin_client.get(reverse("admin:profiles_tasteprofile_change", args=[profile.pk]))
    text = page.content.decode()
    for expected in ("밤에 듣기", "米津玄師", "발라드", "40%"):  # 3 of 5 words kept
        assert expected in text


def test_the_list_and_its_search_work(admin_client, profile):
    url = reverse("admin:profiles_tasteprofile_changelist")
    assert "YOASOBI" in admin_client.get(url, {"q": "42"}).content.decode()
    assert "YOASOBI" not in admin_client.get(url, {"q": "4"}).content.decode()


def test_a_pin_comes_first_and_a_bar_disappears(admin_client, profile):
    decide(admin_client, profile)
    decide(admin_client, profile, action="bar", value=" Ｊ－ＰＯＰ ")
    decide(admin_client, profile, kind="mood", action="add", value="신나는")
    member = look()
    assert member.with_overrides("genre", member.taste_names("genre")) == ["발라드", "록"]
    assert member.with_overrides("mood", member.taste_names("mood")) == ["감성적", "신나는"]
    weights = {(p.name, p.source): p.weight for p in member.preferences if p.kind == "genre"}
    assert weights["발라드", "staff"] == 1.0
    assert weights["j-pop", "staff"] == -1.0


def test_decisions_survive_a_new_reading(admin_client, profile):
    decide(admin_client, profile)
    decide(admin_client, profile, kind="text", value="잔잔한 발라드만 원합니다.")
    read(text="다시 분석한 문장", genres=["힙합"], now=NOW + timedelta(days=1))
    member = look()
    assert member.taste_text == "잔잔한 발라드만 원합니다."
    assert member.taste.text == "다시 분석한 문장"
    assert member.with_overrides("genre", member.taste_names("genre")) == ["발라드", "힙합"]


def test_an_undone_decision_counts_no_more_and_is_remembered(admin_client, admin_user, profile):
    before = look()
    decide(admin_client, profile)
    made = models.TasteOverride.objects.get()
    assert look().overrides_sha != before.overrides_sha
    undo(admin_client, profile, made)
    made.refresh_from_db()
    assert (made.undone_by_name, made.undo_reason) == (admin_user.username, "실수")
    assert look().overrides_sha == before.overrides_sha
    assert "이미 취소된" in undo(admin_client, profile, made).content.decode()


def test_who_when_and_why_are_kept(admin_client, admin_user, profile):
    decide(admin_client, profile)
    made = models.TasteOverride.objects.get()
    assert (made.made_by, made.made_by_name, made.reason) == (admin_user, "admin", "고객 요청")
    undo(admin_client, profile, made)
    told = (
        AuditEvent.objects.filter(object_id="42")
        .order_by("pk")
        .values_list("actor_name", "verb", "reason")
    )
    assert list(told) == [("admin", "taste.pin", "고객 요청"), ("admin", "taste.undo", "실수")]


@pytest.mark.parametrize("missing", ["reason", "value"])
def test_nothing_is_decided_without_a_reason_or_a_value(admin_client, profile, missing):
    page = decide(admin_client, profile, **{missing: "  "})
    assert "errornote" in page.content.decode() or 'class="error"' in page.content.decode()
    assert not models.TasteOverride.objects.exists()


def test_the_same_thing_decided_again_replaces_the_first_decision(admin_client, profile):
    decide(admin_client, profile)
    decide(admin_client, profile, action="bar", value="발라드")
    assert [o.action for o in models.TasteOverride.objects.active()] == ["bar"]
    assert models.TasteOverride.objects.count() == 2


def test_who_may_only_look_cannot_decide(client, django_user_model, profile):
    viewer = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_tasteprofile"))
    client.force_login(viewer)
    url = reverse("admin:profiles_tasteprofile_change", args=[profile.pk])
    assert "새 조정" not in client.get(url).content.decode()
    assert decide(client, profile).status_code == 403
    assert not models.TasteOverride.objects.exists()


def test_a_member_page_leads_to_a_profile_even_before_the_first_reading(admin_client):
    url = reverse("admin:profiles_tasteprofile_of_member", args=["77"])
    page = admin_client.get(url, follow=True)
    assert page.status_code == 200
    assert models.TasteProfile.objects.get(member_key="77").taste_text == ""


@pytest.mark.parametrize("name", ["tasteprofile", "block", "feedbackevent", "callerfavorite"])
def test_every_list_opens_when_it_is_empty(admin_client, name):
    assert admin_client.get(reverse(f"admin:profiles_{name}_changelist")).status_code == 200


def test_a_song_page_tells_how_often_it_was_shown(admin_client):
    song = SongFactory()
    shown = services.ShownAnswer(
        member_key="42", run_uuid=UUID(int=1), places=[(song.pk, "", 1)], times=7
    )
    services.record_impressions([shown], now=datetime.now(UTC))
    page = admin_client.get(reverse("admin:catalog_song_changelist")).content.decode()
    assert '<td class="field-shown">7</td>' in page
