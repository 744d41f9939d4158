"""Every page and action of the admin, as each group of staff and as somebody who may only look."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse

from infrastructure.staff_groups import StaffGroup, grant_permissions
from prompts.models import AuditEvent, EvalSet, PromptTemplate, Rollout
from prompts.versions import rollout_moves
from prompts.versions.actor import Actor

from .conftest import approved, draft, lock_of, staff

KINDS = ("editor", "publisher", "inspector", "operator", "viewer")
admin.autodiscover()  # with the addresses, which no test has asked for yet
ADMINS = sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label)
IDS = [model._meta.label_lower for model, _admin in ADMINS]


@pytest.fixture
def viewer(db: None) -> User:
    """May look at everything and do nothing."""
    user = staff("viewer")
    views = Permission.objects.filter(codename__startswith="view_")
    user.user_permissions.set(views.exclude(codename="view_member_data"))
    return user


@pytest.fixture
def somebody(request: pytest.FixtureRequest) -> User:
    return request.getfixturevalue(request.param)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


# --- every registered admin -----------------------------------------------------------------------


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
@pytest.mark.parametrize("somebody", KINDS, indirect=True)
def test_lists_and_forms_open_only_for_whom_they_are_meant(
    somebody: User, model: type, model_admin: admin.ModelAdmin, rf: RequestFactory
) -> None:
    client, request = signed_in(somebody), rf.get("/")
    request.user = somebody
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    may_view = model_admin.has_view_or_change_permission(request)
    assert client.get(reverse(f"{name}_changelist")).status_code == (200 if may_view else 403)
    try:
        add = reverse(f"{name}_add")
    except NoReverseMatch:
        return
    allowed = {200} if model_admin.has_add_permission(request) else {403}
    assert client.get(add).status_code in allowed


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_who_may_only_look_is_offered_no_action(
    viewer: User, model: type, model_admin: admin.ModelAdmin, rf: RequestFactory
) -> None:
    request = rf.get("/")
    request.user = viewer
    assert list(model_admin.get_actions(request)) == []


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_every_action_names_the_permission_it_needs(
    model: type, model_admin: admin.ModelAdmin
) -> None:
    unguarded = [
        name
        for name, (function, *_rest) in _all_actions(model_admin)
        if not getattr(function, "allowed_permissions", None)
    ]
    assert unguarded == [], f"give them @admin.action(permissions=…): {unguarded}"


def _all_actions(model_admin: admin.ModelAdmin) -> Iterator[tuple[str, tuple]]:
    for function, name, description in model_admin._get_base_actions():
        if name != "delete_selected" or model_admin.actions is not None:
            yield name, (function, description)


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
@pytest.mark.parametrize("somebody", ["editor", "publisher", "inspector"], indirect=True)
def test_posting_an_action_one_was_not_offered_does_nothing(
    somebody: User, model: type, model_admin: admin.ModelAdmin, rf: RequestFactory
) -> None:
    request = rf.get("/")
    request.user = somebody
    offered = set(model_admin.get_actions(request))
    client = signed_in(somebody)
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    before = AuditEvent.objects.count()
    for name, _action in _all_actions(model_admin):
        if name not in offered:
            answer = client.post(url, {"action": name, "_selected_action": ["1"], "index": "0"})
            assert answer.status_code in {200, 302, 403}
    assert AuditEvent.objects.count() == before


def test_nobody_gets_in_without_signing_in() -> None:
    for name in ("index", "prompts_promptversion_changelist", "prompts_auditevent_changelist"):
        answer = Client().get(reverse(f"admin:{name}"))
        assert answer.status_code == 302
        assert "/admin/login/" in answer["Location"]


# --- the studio's own pages -----------------------------------------------------------------------

ALL = set(KINDS)
#: page → who is not refused. Reading needs the view permission, which every group here has.
GET_PAGES: dict[str, set[str]] = {
    "promptversion_change": ALL,
    "promptversion_preview": ALL,
    "promptversion_compare": ALL,
    "promptversion_evaluate": ALL,
    "promptversion_publish": ALL,
    "promptversion_members": {"publisher"},
}
POSTS: dict[str, set[str]] = {
    "promptversion_fork": {"editor", "publisher"},
    "promptversion_submit": {"editor", "publisher"},
    "promptversion_archive": {"editor", "publisher"},
    "promptversion_unschedule": {"publisher"},
    "promptversion_decide": {"publisher"},
    "promptversion_publish": {"publisher"},
    "promptversion_rollout": {"publisher"},
    "promptversion_preview": {"publisher"},
    "promptversion_evaluate": {"publisher"},
    "prompttemplate_draft": {"editor", "publisher"},
    "prompttemplate_rollback": {"publisher", "operator"},
    "prompttemplate_stop": {"operator"},
    "rollout_move": {"publisher"},
    "evalset_add": {"editor", "publisher"},
    "evalset_active": {"editor", "publisher"},
}


@pytest.mark.parametrize("page", GET_PAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_page(
    page: str, kind: str, curation: PromptTemplate, boss: User, request: pytest.FixtureRequest
) -> None:
    client = signed_in(request.getfixturevalue(kind))
    args = [] if page.endswith("_members") else [draft(curation, boss).pk]
    answer = client.get(reverse(f"admin:prompts_{page}", args=args))
    assert answer.status_code == (200 if kind in GET_PAGES[page] else 403)


@pytest.mark.parametrize("page", POSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_posting_to_a_page(
    page: str,
    kind: str,
    curation: PromptTemplate,
    boss: User,
    request: pytest.FixtureRequest,
    settings,
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = page == "promptversion_decide"
    client = signed_in(request.getfixturevalue(kind))
    url, data = _target(page, curation, boss)
    answer = client.post(url, data)
    if kind in POSTS[page]:
        assert answer.status_code in {200, 302}
    else:
        assert answer.status_code == 403
        assert not AuditEvent.objects.filter(actor_name=kind).exists()


def _target(page: str, curation: PromptTemplate, boss: User) -> tuple[str, dict[str, object]]:
    """Where a page posts to, with what an honest browser would send."""
    data: dict[str, object] = {"reason": "한번 해 봄", "approve": "1", "move": "pause"}
    kind = page.partition("_")[0]
    makers: dict[str, Callable[[], int]] = {
        "promptversion": lambda: _version(page, curation, boss),
        "prompttemplate": lambda: curation.pk,
        "rollout": lambda: _rollout(curation, boss).pk,
        "evalset": lambda: EvalSet.objects.create(template=curation, title="가을", active=False).pk,
    }
    key = makers[kind]()
    eval_sets = EvalSet.objects.values_list("pk", flat=True)
    data |= {
        "seen_lock": lock_of(curation),
        "eval_set": eval_sets.first() or "",
        "steps": "5, 100",
        "min_runs": 50,
        "validity": 0.9,
        "fallback": 0.2,
        "latency": 2,
        "cost": 2,
    }
    args = [] if page == "evalset_add" else [key]
    return reverse(f"admin:prompts_{page}", args=args), data


def _version(page: str, curation: PromptTemplate, boss: User) -> int:
    if page == "promptversion_submit":
        return draft(curation, boss).pk
    if page == "promptversion_evaluate":
        EvalSet.objects.create(template=curation, title="가을", active=False)
    return approved(curation, boss).pk


def _rollout(curation: PromptTemplate, boss: User) -> Rollout:
    return rollout_moves.start_rollout(
        approved(curation, boss),
        seen_lock=lock_of(curation),
        actor=Actor(user=boss, reason="조금씩"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_saving_a_draft(
    kind: str, curation: PromptTemplate, boss: User, request: pytest.FixtureRequest
) -> None:
    version = draft(curation, boss)
    data = {
        "note": "바꿈",
        "system_text": version.system_text,
        "user_text": version.user_text,
        "lock_version": version.lock_version,
        **{f"param_{name}": value for name, value in version.params.items()},
    }
    client = signed_in(request.getfixturevalue(kind))
    answer = client.post(reverse("admin:prompts_promptversion_change", args=[version.pk]), data)
    version.refresh_from_db()
    if kind in {"editor", "publisher"}:
        assert answer.status_code == 302
        assert version.note == "바꿈"
    else:
        assert answer.status_code == 403
        assert version.note != "바꿈"


# --- groups ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_staff_took_from_a_group_is_not_given_back() -> None:
    group = Group.objects.get(name=StaffGroup.EDITOR)
    taken = group.permissions.get(codename="submit_promptversion")
    group.permissions.remove(taken)
    grant_permissions(apps.get_app_config("prompts"))
    assert not group.permissions.filter(pk=taken.pk).exists()


@pytest.mark.django_db
def test_no_group_may_see_member_data_or_spend_by_accident() -> None:
    for name in (StaffGroup.EDITOR, StaffGroup.INSPECTOR, StaffGroup.OPERATOR):
        codes = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
        assert not codes & {"view_member_data", "run_paid_preview", "publish_promptversion"}


def test_an_anonymous_visitor_may_do_nothing() -> None:
    assert not Actor(user=AnonymousUser()).may("publish_promptversion")
