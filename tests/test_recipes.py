"""A file that a recipe of CONTRIBUTING.md names and somebody forgot. Each test says which one it is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from django.utils import translation

from engine.settings import ShapingSettings, SignalWeights
from prompts.defaults import default_texts
from prompts.evaluation import input_providers
from prompts.versions.contracts import known_contracts
from recommendations import tasks  # noqa: F401 - fills WORK
from recommendations.admin.engine_settings_form import SHAPING, SIGNALS
from recommendations.api.urls import urlpatterns
from recommendations.jobs.kinds import WORK, JobKind
from recommendations.schedules.defaults import SCHEDULES

ROOT = Path(__file__).resolve().parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_every_kind_of_job_has_a_task() -> None:
    assert set(WORK) == set(JobKind), "declare it in recommendations/tasks.py"


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.task.value)
def test_every_schedule_stands_in_the_operators_table(schedule) -> None:
    with translation.override("ko"):
        assert f"| {schedule.name} |" in text("docs/operations.md"), "docs/operations.md, Schedules"


@pytest.mark.parametrize(
    "route", sorted({str(url.pattern).removesuffix("/") for url in urlpatterns})
)
def test_every_address_stands_in_the_documentation(route: str) -> None:
    """Examples put a number, an id or a name in braces where the address has a variable."""
    address = re.sub(r"<[^>]+>", "VARIABLE", route)
    pattern = re.escape(f"/{address}").replace("VARIABLE", r"(?:\{\w+\}|\w+)")
    assert re.search(rf"{pattern}(?![\w/])", text("docs/api.md")), f"docs/api.md lacks /{route}"


def test_every_number_of_the_engine_has_a_label() -> None:
    for settings, labels in ((ShapingSettings, SHAPING), (SignalWeights, SIGNALS)):
        assert {field.name for field in fields(settings)} == set(labels), (
            "recommendations/admin/engine_settings_form.py"
        )


def test_every_prompt_has_a_text_a_contract_and_a_preview() -> None:
    texts = default_texts()
    assert {one.contract.key for one in texts.values()} == {
        contract.key for contract in known_contracts()
    }, "prompts/versions/contracts.py and prompts/defaults"
    without = {slug for slug in texts if not input_providers.can_preview_members(slug)}
    assert not without, "register it in recommendations/prompt_inputs.py"


def test_every_module_of_admin_pages_is_loaded() -> None:
    """Django loads `recommendations.admin` only; a page that it does not import would not be there."""
    folder = ROOT / "recommendations/admin"
    pages = {path.stem for path in folder.glob("*.py") if "@admin.register" in path.read_text()}
    loaded = set(re.findall(r'"(\w+)"', (folder / "__init__.py").read_text("utf-8")))
    assert pages <= loaded, "recommendations/admin/__init__.py"
