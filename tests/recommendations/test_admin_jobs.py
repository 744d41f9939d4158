"""Staff look at jobs, run them again and cancel them; each action needs its permission and is audited."""

from __future__ import annotations

import pytest
from django.contrib.admin import site

from bench.installation import spring_body
from prompts.models import AuditEvent
from recommendations.admin.jobs import JobAdmin
from recommendations.admin.member_data import HIDDEN
from recommendations.jobs import queue
from recommendations.jobs.backend_queue.rabbitmq_consumer import attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.models import Job
from recommendations.models.jobs import State
from tests.recommendations.staff import act

pytestmark = pytest.mark.django_db
JOBS = "/admin/recommendations/job/"


def test_a_job_is_shown_with_what_it_was_asked_and_its_attempts(staff, world):
    job_id, body = spring_body(world.alice)
    attend(Delivery(body=body, headers={"__TypeId__": "T"}, properties={}, redelivered=False))
    page = staff("view_job", "view_member_data").get(f"{JOBS}{job_id}/change/").content.decode()
    assert "123456789" in page  # the message as received
    assert "run_id" in page
    assert "<td>성공</td>" in page


def test_an_ended_job_runs_again_with_the_same_arguments(
    staff, world, django_capture_on_commit_callbacks
):
    job_id, body = spring_body(world.alice)
    attend(Delivery(body=body, headers={}, properties={}, redelivered=False))
    client = staff("view_job", "retry_job")
    with django_capture_on_commit_callbacks(execute=True):
        act(client, JOBS, "retry", Job.objects.get(pk=job_id))
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.round) == (State.QUEUED, 1)
    assert queue.run(job.pk)["job"] == "succeeded"
    assert AuditEvent.objects.filter(verb="job.retry").count() == 1


def test_a_waiting_job_is_cancelled(staff, world):
    job = queue.enqueue("warm_active", limit=1)
    act(staff("view_job", "cancel_job"), JOBS, "cancel", job)
    job.refresh_from_db()
    assert job.state == State.CANCELED
    assert AuditEvent.objects.filter(verb="job.cancel").exists()


def test_a_search_for_text_scans_nothing(staff, world):
    queue.enqueue("warm_active", limit=1)
    found = staff("view_job").get(f"{JOBS}?q=warm").context["cl"].result_count
    assert found == 0


def test_requests_at_the_same_time_do_not_share_the_right_to_see_members(
    rf, admin_user, django_user_model, world
):
    queue.enqueue("refresh_member", member_key=world.alice)
    Job.objects.update(member_key=world.alice)
    page, request, other = JobAdmin(Job, site), rf.get(JOBS), rf.get(JOBS)
    request.user = django_user_model.objects.create_user("viewer", is_staff=True)
    other.user = admin_user
    job = page.get_queryset(request).get()
    assert page.member(page.get_queryset(other).get()) == world.alice
    assert page.member(job) == HIDDEN
