"""An evaluation that staff started is a job like any other: it is not lost with a message or a worker."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from prompts.evaluation import pending
from prompts.models import EvalRun, EvalSet, EvalVerdict, PromptTemplate, PromptVersion
from recommendations.jobs import evaluations, queue
from recommendations.jobs.kinds import WORK, JobKind
from recommendations.models import Job
from recommendations.models.jobs import State

pytestmark = pytest.mark.django_db


@pytest.fixture
def started() -> EvalRun:
    """An evaluation as staff leave it: a row without a verdict."""
    version = PromptVersion.objects.select_related("template").first()
    assert version is not None
    eval_set = EvalSet.objects.create(template=version.template, title="set", thresholds={})
    staff = get_user_model().objects.create(username="kim")
    return EvalRun.objects.create(
        eval_set=eval_set, version=version, version_sha=version.body_sha256, created_by=staff
    )


def test_an_open_evaluation_gets_one_job(started) -> None:
    evaluations.follow()
    evaluations.follow()
    job = Job.objects.get()
    assert (job.name, job.arguments) == (JobKind.RUN_EVALUATION, {"eval_run": started.pk})


def test_the_reference_of_an_evaluation_gets_none(started) -> None:
    EvalRun.objects.update(created_by=None)
    evaluations.follow()
    assert not Job.objects.exists()


def test_the_job_leaves_the_verdict(started) -> None:
    evaluations.follow()
    queue.run(Job.objects.get().pk)
    started.refresh_from_db()
    assert started.verdict != EvalVerdict.RUNNING
    assert Job.objects.get().result == {"verdict": started.verdict}
    evaluations.follow()
    assert Job.objects.count() == 1


def test_an_evaluation_whose_job_failed_is_closed_and_says_why(started, monkeypatch) -> None:
    def broken(_job: Job) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(WORK, JobKind.RUN_EVALUATION, broken)
    evaluations.follow()
    queue.run(Job.objects.get().pk)
    assert Job.objects.get().state == State.FAILED
    evaluations.follow()
    started.refresh_from_db()
    assert started.verdict == EvalVerdict.ERROR
    assert "ZeroDivisionError" in started.findings[0]["text"]
    assert pending.ids() == []


def test_an_evaluation_that_has_a_verdict_is_not_run_again(started) -> None:
    EvalRun.objects.update(verdict=EvalVerdict.PASS)
    assert pending.perform(started.pk) == EvalVerdict.PASS
    assert not started.results.exists()
    assert PromptTemplate.objects.exists()
