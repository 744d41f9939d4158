"""The round of kills that `make chaos` plays: what is started, and what is sent."""

from __future__ import annotations

import random

from bench import chaos, disasters
from bench.songs_be import POISON, readable_job_id


def test_our_processes_start_by_the_commands_of_the_compose_file() -> None:
    commands = disasters.commands(18_000)
    assert set(commands) == set(disasters.PROCESSES)
    assert "18000" in commands["web"]
    assert "127.0.0.1" in commands["web"]
    assert not [word for words in commands.values() for word in words if "$" in word]


def test_a_round_sends_every_kind_of_poison_and_each_member_once() -> None:
    options = chaos.Options(jobs=120, minutes=2, poison_percent=2, pace=disasters.QUICK)
    sent = chaos.messages(range(1, 200), options, random.Random(1))
    assert len(sent) == 120
    assert {message.kind for message in sent} == {"good", *(poison.kind for poison in POISON)}
    assert len({message.member for message in sent}) == 120


def test_a_poisoned_message_keeps_its_job_id_where_it_can_be_read() -> None:
    for poison in POISON:
        message = poison.message(7)
        assert message.job_id == readable_job_id(message.body), poison.kind
