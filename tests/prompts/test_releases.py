"""Who may move a prompt where, and what is left behind."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from prompts.errors import (
    GuardFailed,
    NotAllowed,
    OnlyPublishingMoves,
    StaleEdit,
    VersionIsFrozen,
)
from prompts.models import (
    AuditEvent,
    EvalRun,
    EvalSet,
    EvalVerdict,
    ModelProfile,
    PromptTemplate,
    PromptVersion,
    Release,
    Rollout,
    VersionState,
)
from prompts.models.audit import AppendOnlyError
from prompts.versions import drafts, releases, review, rollout_moves, seeding
from prompts.versions.actor import Actor
from prompts.versions.drafts import Body

from .conftest import approved, draft, live_of, lock_of


def body_of(version: PromptVersion, **changes: str) -> Body:
    values = {
        "system_text": version.system_text,
        "user_text": version.user_text,
        "params": version.params,
        "note": version.note,
    }
    return Body(**(values | changes))


def publish(version: PromptVersion, user: User, reason: str = "더 밝게", **kwargs: bool):
    return releases.publish(
        version,
        seen_lock=lock_of(version.template),
        actor=Actor(user=user, reason=reason),
        **kwargs,
    )


# --- a new installation --------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_new_installation_has_the_repositorys_texts_live() -> None:
    live = {row.slug: row.live_version.label for row in PromptTemplate.objects.all()}
    assert live == {"curation": "curation@1", "taste_and_taglines": "taste_and_taglines@1"}
    assert seeding.load_defaults() == []


def test_a_newer_repository_text_never_replaces_what_staff_published(
    curation: PromptTemplate, publisher: User
) -> None:
    mine = approved(curation, publisher)
    publish(mine, publisher)
    texts = dict(seeding.default_texts())
    newer = type(texts["curation"])(**{**vars(texts["curation"]), "system_text": "새 기본 문구"})
    assert seeding.load_defaults({"curation": newer}) == ["curation@3"]  # there to be looked at …
    assert live_of(curation) == mine  # … and not live


# --- drafts --------------------------------------------------------------------------------------


def test_two_people_editing_the_same_draft_do_not_overwrite_each_other(
    curation: PromptTemplate, editor: User, publisher: User
) -> None:
    version = draft(curation, editor)
    seen = version.lock_version
    drafts.save_draft(
        version, body_of(version, note="첫째"), seen_lock=seen, actor=Actor(user=editor)
    )
    with pytest.raises(StaleEdit):
        drafts.save_draft(
            version, body_of(version, note="둘째"), seen_lock=seen, actor=Actor(user=publisher)
        )
    version.refresh_from_db()
    assert version.note == "첫째"


def test_a_browsers_line_ends_do_not_reach_the_model(
    curation: PromptTemplate, editor: User
) -> None:
    version = draft(curation, editor)
    changed = body_of(version, system_text="하나\r\n둘")
    drafts.save_draft(version, changed, seen_lock=0, actor=Actor(user=editor))
    assert version.system_text == "하나\n둘"
    assert version.lint == []


def test_a_submitted_version_never_changes(curation: PromptTemplate, editor: User) -> None:
    version = approved(curation, editor)
    sha = version.body_sha256
    with pytest.raises(StaleEdit):
        drafts.save_draft(
            version, body_of(version), seen_lock=version.lock_version, actor=Actor(user=editor)
        )
    version.system_text = "다른 글"
    with pytest.raises(VersionIsFrozen):
        version.save()
    with pytest.raises(VersionIsFrozen):
        PromptVersion.objects.filter(pk=version.pk).update(system_text="다른 글")
    with pytest.raises(VersionIsFrozen), transaction.atomic():
        PromptVersion.objects.bulk_update([version], ["system_text"])
    with pytest.raises(VersionIsFrozen):
        version.delete()
    with pytest.raises(VersionIsFrozen):
        PromptVersion.objects.filter(pk=version.pk).delete()
    version.refresh_from_db()
    assert version.content_sha() == sha


def test_a_shell_moves_nothing_that_members_get(curation: PromptTemplate, editor: User) -> None:
    version, live = approved(curation, editor), live_of(curation)
    release = curation.live_release

    def put(row: PromptTemplate | PromptVersion, **values: object) -> None:
        for name, value in values.items():
            setattr(row, name, value)
        row.save()

    attempts = (
        lambda: put(PromptTemplate.objects.get(pk=curation.pk), live_release=None),
        lambda: put(PromptTemplate.objects.get(pk=curation.pk), paused=True),
        lambda: PromptTemplate.objects.update(live_release=None),
        lambda: PromptTemplate.objects.filter(pk=curation.pk).delete(),
        lambda: put(draft(curation, editor), state=VersionState.APPROVED),
        lambda: PromptVersion.objects.filter(pk=version.pk).update(state=VersionState.DRAFT),
        lambda: PromptVersion.objects.bulk_update([version], ["state"]),
        lambda: PromptVersion.objects.filter(pk=version.pk).update(go_live_at=timezone.now()),
        lambda: Release.objects.create(template=curation, version=version, kind="publish"),
        lambda: Rollout.objects.create(template=curation, candidate=version, salt="x"),
        lambda: Rollout.objects.update(step_index=4),
    )
    for attempt in attempts:
        with pytest.raises(OnlyPublishingMoves), transaction.atomic():
            attempt()
    curation.refresh_from_db()
    version.refresh_from_db()
    assert (live_of(curation), curation.live_release, curation.paused) == (live, release, False)
    assert version.state == VersionState.APPROVED
    curation.title = "다른 제목"
    curation.save()  # what members do not get may change


def test_only_one_module_opens_the_guard_of_what_members_get() -> None:
    root = Path(__file__).resolve().parents[2]
    importers = {
        str(path.relative_to(root))
        for package in ("prompts", "profiles", "recommendations", "songs_ai")
        for path in (root / package).rglob("*.py")
        if re.search(r"import .*\bmoving\b|moving\.moving", path.read_text("utf-8"))
    }
    assert importers == {"prompts/versions/moves.py"}


def test_an_insert_overwrites_nothing(curation: PromptTemplate, editor: User) -> None:
    version = approved(curation, editor)
    upsert = {"update_conflicts": True, "update_fields": ["system_text"], "unique_fields": ["id"]}
    with pytest.raises(VersionIsFrozen):
        PromptVersion.objects.bulk_create([version], **upsert)
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.bulk_create([AuditEvent(verb="x")], **upsert)


def test_a_fork_says_the_same_and_is_a_draft(curation: PromptTemplate, editor: User) -> None:
    source = approved(curation, editor)
    copy = drafts.fork(source, actor=Actor(user=editor))
    assert copy.state == VersionState.DRAFT
    assert copy.parent == source
    assert copy.body_sha256 == source.body_sha256
    assert copy.number == source.number + 1


def test_lint_errors_stop_a_submission(curation: PromptTemplate, editor: User) -> None:
    version = draft(curation, editor, extra="{{ nobody }}")
    with pytest.raises(GuardFailed, match="nobody"):
        review.submit(version, actor=Actor(user=editor))
    version.refresh_from_db()
    assert version.state == VersionState.DRAFT


# --- review --------------------------------------------------------------------------------------


def test_with_review_on_a_second_person_has_to_approve(
    curation: PromptTemplate, editor: User, publisher: User, settings
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    version = approved(curation, editor)
    assert version.state == VersionState.IN_REVIEW
    with pytest.raises(GuardFailed):
        publish(version, publisher)
    review.approve(version, seen_sha=version.body_sha256, actor=Actor(user=publisher))
    publish(version, publisher)
    assert live_of(curation) == version


def test_nobody_approves_his_own_version(
    curation: PromptTemplate, publisher: User, settings
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    version = approved(curation, publisher)
    with pytest.raises(NotAllowed):
        review.approve(version, seen_sha=version.body_sha256, actor=Actor(user=publisher))


def test_who_edited_a_draft_does_not_approve_it(
    curation: PromptTemplate, editor: User, publisher: User, settings
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    version = draft(curation, editor)
    drafts.save_draft(
        version, body_of(version, system_text="내 글"), seen_lock=0, actor=Actor(user=publisher)
    )
    review.submit(version, actor=Actor(user=editor))
    with pytest.raises(NotAllowed):
        review.approve(version, seen_sha=version.body_sha256, actor=Actor(user=publisher))


def test_what_is_approved_is_what_was_seen(
    curation: PromptTemplate, editor: User, publisher: User, settings
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    version = approved(curation, editor)
    with pytest.raises(StaleEdit):
        review.approve(version, seen_sha="0" * 64, actor=Actor(user=publisher))


def test_requested_changes_leave_the_author_a_draft_copy(
    curation: PromptTemplate, editor: User, publisher: User, settings
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    version = approved(curation, editor)
    copy = review.request_changes(version, actor=Actor(user=publisher, reason="너무 김"))
    assert version.state == VersionState.CHANGES_REQUESTED
    assert version.decision_note == "너무 김"
    assert (copy.parent, copy.state) == (version, VersionState.DRAFT)
    assert copy.created_by == editor  # and so not approved by the editor


# --- live ----------------------------------------------------------------------------------------


def test_publishing_leaves_who_from_to_why_and_the_request(
    curation: PromptTemplate, publisher: User
) -> None:
    before = live_of(curation)
    version = approved(curation, publisher)
    actor = Actor(user=publisher, reason="더 밝게", request_id="req-1", ip="10.0.0.1")
    releases.publish(version, seen_lock=lock_of(curation), actor=actor)
    release = Release.objects.filter(template=curation).first()
    assert release is not None
    assert (release.kind, release.previous, release.version) == ("publish", before, version)
    assert (release.actor_name, release.reason, release.request_id) == (
        "publisher",
        "더 밝게",
        "req-1",
    )
    assert release.evidence["sha"] == version.body_sha256
    event = AuditEvent.objects.filter(verb="release.publish").first()
    assert event is not None
    assert event.after == {"version": version.label, "percent": 100}
    assert event.ip == "10.0.0.1"


def test_history_can_only_grow(curation: PromptTemplate) -> None:
    release = Release.objects.filter(template=curation).first()
    assert release is not None
    for attempt in (
        release.save,
        release.delete,
        lambda: Release.objects.update(reason="x"),
        lambda: Release.objects.all().delete(),
        lambda: AuditEvent.objects.update(reason="x"),
    ):
        with pytest.raises(AppendOnlyError):
            attempt()


def test_a_reason_is_required(curation: PromptTemplate, publisher: User) -> None:
    version = approved(curation, publisher)
    with pytest.raises(GuardFailed):
        publish(version, publisher, reason="  ")


def test_a_draft_is_not_published(curation: PromptTemplate, publisher: User) -> None:
    with pytest.raises(GuardFailed):
        publish(draft(curation, publisher), publisher)


def test_a_page_opened_before_somebody_elses_move_moves_nothing(
    curation: PromptTemplate, publisher: User
) -> None:
    seen = lock_of(curation)
    first, second = (approved(curation, publisher, extra=extra) for extra in ("하나.", "둘."))
    releases.publish(first, seen_lock=seen, actor=Actor(user=publisher, reason="첫째"))
    with pytest.raises(StaleEdit):
        releases.publish(second, seen_lock=seen, actor=Actor(user=publisher, reason="둘째"))
    assert live_of(curation) == first


def test_rolling_back_goes_only_where_members_were_before(
    curation: PromptTemplate, publisher: User, operator: User
) -> None:
    first = live_of(curation)
    version, never = (approved(curation, publisher, extra=extra) for extra in ("하나.", "둘."))
    publish(version, publisher)
    with pytest.raises(GuardFailed):
        releases.roll_back(
            curation, never, seen_lock=lock_of(curation), actor=Actor(user=operator, reason="급함")
        )
    rollout = rollout_moves.start_rollout(
        never, seen_lock=lock_of(curation), actor=Actor(user=publisher, reason="조금씩")
    )
    rollout_moves.end(rollout, promote=False, actor=Actor(user=publisher, reason="아님"))
    with pytest.raises(GuardFailed):  # a few members had it, not everybody
        releases.roll_back(
            curation, never, seen_lock=lock_of(curation), actor=Actor(user=operator, reason="급함")
        )
    releases.roll_back(
        curation, first, seen_lock=lock_of(curation), actor=Actor(user=operator, reason="이상한 답")
    )
    assert live_of(curation) == first
    releases.roll_back(
        curation, None, seen_lock=lock_of(curation), actor=Actor(user=operator, reason="기본으로")
    )
    assert live_of(curation) is None


def test_a_text_for_another_contract_is_not_published(
    curation: PromptTemplate, publisher: User, boss: User
) -> None:
    version = approved(curation, publisher)
    version.contract_version = 99
    for user, kwargs in ((publisher, {}), (boss, {"break_glass": True})):
        with pytest.raises(GuardFailed):
            publish(version, user, reason="스무 글자가 넘는 아주 충분한 이유입니다", **kwargs)


@pytest.mark.parametrize(
    ("values", "publishable"),
    [
        ({"probed": True, "sunset_in": None}, True),
        ({"probed": True, "sunset_in": 30}, True),
        ({"probed": True, "sunset_in": -1}, False),
        ({"probed": False, "sunset_in": None}, False),
    ],
)
def test_a_version_for_a_dead_or_untried_model_is_not_published(
    curation: PromptTemplate, publisher: User, values: dict, publishable: bool
) -> None:
    today = timezone.localdate()
    profile = ModelProfile.objects.create(
        name="m",
        model="m",
        probed_at=timezone.now() if values["probed"] else None,
        sunset_on=values["sunset_in"] and today + timedelta(days=values["sunset_in"]),
    )
    live = live_of(curation)
    assert live is not None
    body = Body(
        system_text=live.system_text,
        user_text=live.user_text,
        params=live.params,
        model_profile_id=profile.pk,
        note="다른 모델",
    )
    version = drafts.create_draft(curation, body, actor=Actor(user=publisher))
    review.submit(version, actor=Actor(user=publisher))
    if publishable:
        publish(version, publisher)
        assert live_of(curation) == version
    else:
        with pytest.raises(GuardFailed):
            publish(version, publisher)


def test_an_evaluation_set_is_a_gate(curation: PromptTemplate, publisher: User) -> None:
    version = approved(curation, publisher)
    eval_set = EvalSet.objects.create(template=curation, title="가을")
    with pytest.raises(GuardFailed):
        publish(version, publisher)
    run = {"eval_set": eval_set, "version": version}
    EvalRun.objects.create(**run, version_sha="0" * 64, verdict=EvalVerdict.PASS)  # other content
    with pytest.raises(GuardFailed):
        publish(version, publisher)
    EvalRun.objects.create(**run, version_sha=version.body_sha256, verdict=EvalVerdict.PASS)
    publish(version, publisher)
    assert live_of(curation) == version


def test_break_glass_is_a_superusers_with_a_long_reason_and_stands_out(
    curation: PromptTemplate,
    editor: User,
    publisher: User,
    boss: User,
    settings,
    mailoutbox,
    django_capture_on_commit_callbacks,
) -> None:
    settings.PROMPTS_REQUIRE_REVIEW = True
    settings.OPERATORS_MAIL = ["ops@example.org"]
    version = draft(curation, editor)
    with pytest.raises(NotAllowed):
        publish(
            version, publisher, reason="스무 글자가 넘는 아주 충분한 이유입니다", break_glass=True
        )
    with pytest.raises(GuardFailed):
        publish(version, boss, reason="급함", break_glass=True)
    with django_capture_on_commit_callbacks(execute=True):
        publish(version, boss, reason="스무 글자가 넘는 아주 충분한 이유입니다", break_glass=True)
    assert live_of(curation) == version
    assert AuditEvent.objects.filter(verb="release.publish.break_glass").exists()
    assert len(mailoutbox) == 1


def test_a_scheduled_version_goes_live_when_its_time_comes(
    curation: PromptTemplate, publisher: User
) -> None:
    version = approved(curation, publisher)
    now = timezone.now()
    with pytest.raises(GuardFailed):
        releases.schedule(
            version, at=now - timedelta(hours=1), actor=Actor(user=publisher, reason="늦음")
        )
    releases.schedule(
        version, at=now + timedelta(hours=1), actor=Actor(user=publisher, reason="내일")
    )
    assert releases.publish_due(now) == []
    assert releases.publish_due(now + timedelta(hours=2)) == [version.label]
    assert live_of(curation) == version
    assert releases.publish_due(now + timedelta(hours=3)) == []


def test_a_schedule_ends_when_it_is_taken_back_or_done_by_hand(
    curation: PromptTemplate, publisher: User
) -> None:
    taken_back, by_hand = (approved(curation, publisher, extra=extra) for extra in ("하나.", "둘."))
    first, later = live_of(curation), timezone.now() + timedelta(hours=1)
    actor = Actor(user=publisher, reason="내일")
    for version in (taken_back, by_hand):
        releases.schedule(version, at=later, actor=actor)
    releases.unschedule(taken_back, actor=actor)
    with pytest.raises(StaleEdit):
        releases.unschedule(taken_back, actor=actor)
    publish(by_hand, publisher)
    releases.roll_back(curation, first, seen_lock=lock_of(curation), actor=actor)
    assert releases.publish_due(later) == []
    assert live_of(curation) == first  # the clock does not bring back what was rolled back


def test_a_scheduled_version_that_lost_its_guards_stays_and_says_why(
    curation: PromptTemplate,
    publisher: User,
    settings,
    mailoutbox,
    django_capture_on_commit_callbacks,
) -> None:
    settings.OPERATORS_MAIL = ["ops@example.org"]
    version = approved(curation, publisher)
    now = timezone.now()
    releases.schedule(
        version, at=now + timedelta(hours=1), actor=Actor(user=publisher, reason="내일")
    )
    EvalSet.objects.create(template=curation, title="가을")
    with django_capture_on_commit_callbacks(execute=True):
        assert releases.publish_due(now + timedelta(hours=2)) == []
    assert [mail.subject for mail in mailoutbox] == [
        f"[Songs AI] 예약된 배포를 하지 못함: {version.label}"
    ]
    assert live_of(curation) != version
    assert AuditEvent.objects.filter(verb="version.schedule_failed").exists()


def test_what_is_in_use_is_not_archived(curation: PromptTemplate, publisher: User) -> None:
    live = live_of(curation)
    assert live is not None
    with pytest.raises(GuardFailed):
        review.archive(live, actor=Actor(user=publisher))
    spare = approved(curation, publisher)
    review.archive(spare, actor=Actor(user=publisher))
    assert spare.state == VersionState.ARCHIVED


#: verb → the groups that may; everybody else is refused.
MAY = {
    "draft": {"editor", "publisher", "boss"},
    "publish": {"publisher", "boss"},
    "roll_back": {"publisher", "operator", "boss"},
    "rollout": {"publisher", "boss"},
    "kill": {"operator", "boss"},
}


@pytest.mark.parametrize("verb", MAY)
@pytest.mark.parametrize("name", ["editor", "publisher", "inspector", "operator", "boss"])
def test_who_may(
    verb: str, name: str, curation: PromptTemplate, boss: User, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(name)
    version = approved(curation, boss)
    actor, seen = Actor(user=user, reason="한번 해 봄"), lock_of(curation)
    act = {
        "draft": lambda: drafts.fork(version, actor=actor),
        "publish": lambda: releases.publish(version, seen_lock=seen, actor=actor),
        "roll_back": lambda: releases.roll_back(curation, None, seen_lock=seen, actor=actor),
        "rollout": lambda: rollout_moves.start_rollout(version, seen_lock=seen, actor=actor),
        "kill": lambda: releases.kill(curation, actor=actor),
    }[verb]
    if name in MAY[verb]:
        act()
    else:
        with pytest.raises(NotAllowed):
            act()
