"""Values that are stored as words have a label for staff, in Korean and in English."""

from __future__ import annotations

import pytest
from django.utils import translation

from recommendations.admin import labels
from recommendations.jobs.kinds import JobKind
from recommendations.models.jobs import State


def test_every_kind_of_job_has_a_label():
    missing = {*JobKind} - set(labels.JOB_KINDS)
    assert not missing, f"add to JOB_KINDS in recommendations/admin/labels.py: {sorted(missing)}"


def test_every_state_of_a_runs_jobs_has_a_label():
    assert {f"jobs_{state}" for state in State} <= set(labels.FIGURES)


@pytest.mark.parametrize(
    "table", [labels.JOB_KINDS, labels.FIGURES, labels.ERROR_CODES, labels.ATTEMPT_OUTCOMES]
)
def test_labels_are_translated(table):
    with translation.override("en"):
        untranslated = [
            key for key, text in table.items() if not str(text).isascii() and " – " not in str(text)
        ]
    assert not untranslated
    with translation.override("ko"):
        assert all(not str(text).isascii() for text in table.values())


def test_a_value_without_a_label_is_shown_as_it_is():
    assert labels.label(labels.JOB_KINDS, "of_a_later_release") == "of_a_later_release"
    assert labels.error_label("SOMETHING_NEW") == "SOMETHING_NEW"
    assert labels.error_label("") == "–"


def test_an_error_is_shown_with_its_code():
    with translation.override("ko"):
        assert labels.error_label("MODEL_ERROR") == "내부 오류 <small>MODEL_ERROR</small>"
