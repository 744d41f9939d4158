"""Many jobs at once with a model as slow as a hosted one, on a real RabbitMQ, MariaDB and Redis."""

from __future__ import annotations

import json

import pytest

from bench.installation import (
    available,
    declare_as_spring,
    publish_as_spring,
    spring_body,
    wait_until,
)
from bench.jobs import populate, with_model
from tests.conftest import missing_service

pytestmark = [pytest.mark.services, pytest.mark.slow]
JOBS = 40


def test_all_end_at_once_and_the_models_versions_follow_whoever_dies() -> None:
    if not available():
        missing_service("mariadbd, redis-server and rabbitmq-server")
    with with_model(settings={"SONGS_AI_CONSUME_QUEUE": "1"}) as made:
        members = populate(made, JOBS)
        jobs = dict(spring_body(member, strategy="default") for member in members)
        with made.amqp() as channel:
            declare_as_spring(channel)
            for body in jobs.values():
                publish_as_spring(channel, body)
        made.start_consumer()
        made.start_worker("nightly", "songs_ai.nightly", processes=1)
        made.start_beat()
        redis = made.redis
        wait_until(
            lambda: all(redis.hget(f"job:status:{job}", "status") == b"succeeded" for job in jobs),
            "all jobs",
            seconds=180,
        )
        results = {job: redis.get(f"job:result:{job}") for job in jobs}
        answers = [json.loads(result) for result in results.values()]
        assert all(len(answer["candidates"]) == 20 for answer in answers)
        hurried = [
            member
            for member, answer in zip(members, answers, strict=True)
            if answer["degraded"] == "busy"
        ]
        assert len(hurried) >= JOBS / 2

        def by_model(member: int) -> bool:
            meta = json.loads(redis.get(f"songs_ai:meta:{member}"))
            latest = json.loads(redis.get(f"latest:recommendation:{member}"))
            return meta["source"] == "model" and latest["degraded"] != "busy"

        wait_until(lambda: any(map(by_model, hurried)), "the first version", seconds=180)
        made.restart("nightly")
        wait_until(lambda: all(map(by_model, hurried)), "the model's versions", seconds=300)
        # What a job ended with stays: it has one outcome.
        assert results == {job: redis.get(f"job:result:{job}") for job in jobs}
        ran = made.rows(
            "SELECT COUNT(*), COUNT(DISTINCT job_id) FROM recommendations_jobrun r"
            " JOIN recommendations_job j ON j.uuid = r.job_id"
            " WHERE j.name = 'serve' AND r.outcome = 'succeeded'"
        )
        assert ran == [(JOBS, JOBS)]
