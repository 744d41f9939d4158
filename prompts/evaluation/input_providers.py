"""What the layers above hand in about members and runs, so that the studio can show them without importing upward.

`recommendations` fills these in when the application starts; without them only the synthetic member is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prompts.errors import PromptError
from prompts.versions.contracts import ParamValue, contract


class NoSuchMember(PromptError):
    """Nothing is known of this member."""

    code = "NO_SUCH_MEMBER"


class NoSuchRun(PromptError):
    """No run of this id asked this prompt, or its snapshot is gone."""

    code = "NO_SUCH_RUN"


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a prompt would be told about one member, and how its numbers read."""

    #: As for `prompts.services.Ask.variables`.
    variables: Mapping[str, Any]
    #: What the numbers 1…n stand for: song titles, or labels that want a tagline.
    items: tuple[str, ...] = ()
    locale: str = "ko"


@dataclass(frozen=True, kw_only=True)
class MemberOption:
    """One proposal of the member field."""

    key: str
    label: str


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run as it was, to be asked again."""

    run_uuid: UUID
    member_key: str
    variables: Mapping[str, Any]
    #: Song ids by the number they were shown under; [] where the prompt shows no songs.
    item_ids: tuple[int, ...] = ()
    #: The same ids in the order of the local ranking.
    baseline_ids: tuple[int, ...] = ()
    later_liked_ids: tuple[int, ...] = ()
    count: int = 0
    locale: str = "ko"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Replayable:
    """A logged run with its input laid out for the preview: the same numbers stand for the same songs."""

    run: LoggedRun
    given: Input


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Everything that can be handed in; see the functions of this module for what each must do."""

    build: dict[str, Callable[[str, Mapping[str, ParamValue]], Input]] = field(default_factory=dict)
    members: list[Callable[[str], Sequence[MemberOption]]] = field(default_factory=list)
    logged: list[Callable[[str, int], Sequence[LoggedRun]]] = field(default_factory=list)
    liked: list[Callable[[Sequence[UUID]], Sequence[int]]] = field(default_factory=list)
    replay: list[Callable[[str, UUID], Replayable]] = field(default_factory=list)


_hooks = Hooks()


def register(slug: str, build: Callable[[str, Mapping[str, ParamValue]], Input]) -> None:
    """`build(member_key, params)` makes a prompt's input for a member; raises NoSuchMember."""
    _hooks.build[slug] = build


def register_members(search: Callable[[str], Sequence[MemberOption]]) -> None:
    """`search(text)` proposes a few members for the preview's field."""
    _hooks.members[:] = [search]


def register_logged_runs(read: Callable[[str, int], Sequence[LoggedRun]]) -> None:
    """`read(slug, limit)` gives the newest runs that asked this prompt, with what was liked later."""
    _hooks.logged[:] = [read]


def register_later_likes(count: Callable[[Sequence[UUID]], Sequence[int]]) -> None:
    """`count(run_uuids)` gives, for those runs that are 14 days old, how many of their songs were liked since."""
    _hooks.liked[:] = [count]


def register_replay(read: Callable[[str, UUID], Replayable]) -> None:
    """`read(slug, run_uuid)` gives one run with the snapshot and seed it was made from; raises NoSuchRun."""
    _hooks.replay[:] = [read]


def can_preview_members(slug: str) -> bool:
    return slug in _hooks.build


def input_for(
    slug: str, contract_key: str, member_key: str, params: Mapping[str, ParamValue]
) -> Input:
    """The input of a member, or of the synthetic one for "". Raises NoSuchMember."""
    if not member_key:
        return synthetic(contract_key)
    if slug not in _hooks.build:
        raise NoSuchMember
    return _hooks.build[slug](member_key, params)


def synthetic(contract_key: str) -> Input:
    """A made-up member, enough to see every variable filled."""
    samples = contract(contract_key).samples()
    listed = samples.get("candidates") or samples.get("labels") or ""
    items = tuple(line.partition(" ")[2] for line in listed.splitlines())
    return Input(variables=samples, items=items)


def replayable(slug: str, run_uuid: UUID) -> Replayable:
    """A logged run to be asked again. Raises NoSuchRun."""
    for read in _hooks.replay:
        return read(slug, run_uuid)
    raise NoSuchRun


def members_like(text: str) -> list[MemberOption]:
    return [member for search in _hooks.members for member in search(text)]


def logged_runs(slug: str, limit: int) -> list[LoggedRun]:
    return [run for read in _hooks.logged for run in read(slug, limit)]


def later_likes(run_uuids: Sequence[UUID]) -> list[int]:
    """Later likes per run, for runs old enough to know."""
    return [likes for count in _hooks.liked for likes in count(run_uuids)]
