"""The page of a run: whole, quick, and only for those who may see members."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from bench.fake_model import FakeModel
from prompts.models import PromptVersion
from recommendations import services
from recommendations.models import Run
from recommendations.serving.request import Request

from .conftest import World

pytestmark = pytest.mark.django_db


def page(run: Run) -> str:
    return reverse("admin:recommendations_run_change", args=[run.pk])


def test_the_page_shows_funnel_shelves_candidates_and_calls(
    world: World, model: FakeModel, admin_client: Client
) -> None:
    answer = services.recommend(Request(member_key=world.alice))
    run = Run.objects.get(pk=answer.run_id)
    html = admin_client.get(page(run)).content.decode()
    assert "아는 곡 제외" in html
    assert answer.groups[0]["label"] in html
    assert answer.candidates[0]["reason"] in html
    assert "curation" in html
    assert model.seen


def test_a_run_leads_to_its_versions_and_can_be_replayed_from_there(
    world: World, model: FakeModel, admin_client: Client
) -> None:
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    version = PromptVersion.objects.get(template__slug="curation", number=1)
    preview = reverse("admin:prompts_promptversion_preview", args=[version.pk])
    html = admin_client.get(page(run)).content.decode()
    assert f"{preview}?run={run.uuid}" in html
    asked_before = len(model.seen)
    answer = admin_client.post(preview, {"run": str(run.uuid)})
    assert "curation@1" in answer.content.decode()
    assert len(model.seen) == asked_before + 1  # live and this are the same: asked once
    context = admin_client.get(page(run)).context
    assert [call["row"].trigger for call in context["staff_calls"]] == ["replay"]
    assert "replay" not in {call["row"].trigger for call in context["calls"]}


def test_the_page_costs_few_queries_whatever_the_run_holds(
    world: World, admin_client: Client, django_assert_max_num_queries
) -> None:
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    admin_client.get(page(run))
    with django_assert_max_num_queries(10):
        assert admin_client.get(page(run)).status_code == 200


def test_the_list_finds_a_member_and_an_id_and_nothing_else(
    world: World, admin_client: Client
) -> None:
    services.recommend(Request(member_key=world.alice))
    services.recommend(Request(member_key="user123"))
    run = Run.objects.get(member_key="user123")
    url = reverse("admin:recommendations_run_changelist")

    def found(text: str) -> int:
        return admin_client.get(url, {"q": text}).context["cl"].queryset.count()

    assert found("user123") == 1
    assert found(str(run.pk)) == 1
    assert found("user") == 0


def test_without_the_right_the_member_is_not_shown_and_nothing_is_downloaded(
    world: World, client: Client
) -> None:
    services.recommend(Request(member_key="user123"))
    run = Run.objects.get()
    viewer = User.objects.create_user("viewer", password="long enough to pass", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(viewer)
    html = client.get(page(run)).content.decode()
    assert "user123" not in html
    download = reverse("admin:recommendations_run_json", args=[run.pk])
    assert client.get(download).status_code == 403


def test_the_download_holds_the_whole_run(world: World, admin_client: Client) -> None:
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    values = admin_client.get(reverse("admin:recommendations_run_json", args=[run.pk])).json()
    assert values["uuid"] == str(run.pk)
    assert values["snapshot"]["candidates"]
    assert values["query"]["favorite_ids"] == list(world.alice_likes)


def test_the_page_speaks_of_steps_and_scores_in_the_words_of_staff(
    world: World, admin_client: Client
) -> None:
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    html = admin_client.get(page(run)).content.decode()
    known = next(step for step in run.trace if step["name"] == "score")["notes"][0]["count"]
    assert f"아는 곡 {known}곡" in html
    assert "내용 닮음" in html
    assert "score_parts" not in html


def test_a_run_of_0_2_0_reads_in_the_language_of_staff(world: World, admin_client: Client) -> None:
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    note = "favourite: 18; staff: 록 +0.90; something new: 3"
    run.trace = [{"name": "without_known_songs", "left": 12, "ms": 0.5, "note": note}]
    run.save()
    html = admin_client.get(page(run)).content.decode()
    assert "좋아하는 곡 18곡; 직원 설정: 록 +0.90; something new: 3" in html
    html = admin_client.get(page(run), headers={"Accept-Language": "en"}).content.decode()
    assert "18 favourites; Staff: 록 +0.90; something new: 3" in html


def test_a_note_of_a_newer_release_is_shown_by_its_code(world: World, admin_client: Client) -> None:
    """Two releases run side by side while one is rolled out, and after going back."""
    services.recommend(Request(member_key=world.alice))
    run = Run.objects.get()
    run.trace[0]["notes"] = [{"code": "of_the_future", "count": 3}, {"code": 7, "odd": {}}]
    run.save(update_fields=["trace"])
    page = admin_client.get(reverse("admin:recommendations_run_change", args=[run.pk]))
    assert page.status_code == 200
    assert "of_the_future" in page.content.decode()
