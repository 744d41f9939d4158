"""Hooks for data about members and runs, so that the studio needs no import from the layers above.

`recommendations` fills these in when the application starts; without them only the synthetic member is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prompts.errors import PromptError
from prompts.versions.contracts import ParamValue, contract


class NoSuchMember(PromptError):
    """There are no data about this member."""

    code = "NO_SUCH_MEMBER"


class NoSuchRun(PromptError):
    """No run of this id asked this prompt, or its snapshot is gone."""

    code = "NO_SUCH_RUN"


@dataclass(frozen=True, kw_only=True)
class Input:
    """The values of a prompt for one member, and what its line numbers stand for."""

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
    """A logged run with its input for the preview, under the same line numbers."""

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


@contextmanager
def only(hooks: Hooks) -> Iterator[Hooks]:
    """Use these hooks alone in the block, instead of those that the application registered."""
    global _hooks
    registered, _hooks = _hooks, hooks
    try:
        yield hooks
    finally:
        _hooks = registered


def register(slug: str, build: Callable[[str, Mapping[str, ParamValue]], Input]) -> None:
    """`build(member_key, params)` returns a prompt's input for a member; raises NoSuchMember."""
    _hooks.build[slug] = build


def register_members(search: Callable[[str], Sequence[MemberOption]]) -> None:
    """`search(text)` proposes a few members for the preview's field."""
    _hooks.members[:] = [search]


def register_logged_runs(read: Callable[[str, int], Sequence[LoggedRun]]) -> None:
    """`read(slug, limit)` returns the newest runs that used this prompt, with later likes."""
    _hooks.logged[:] = [read]


def register_later_likes(count: Callable[[Sequence[UUID]], Sequence[int]]) -> None:
    """`count(run_uuids)` returns the number of later likes of each run that is at least 14 days old."""
    _hooks.liked[:] = [count]


def register_replay(read: Callable[[str, UUID], Replayable]) -> None:
    """`read(slug, run_uuid)` returns one run with its candidates and seed; raises NoSuchRun."""
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
    """The contract's sample values, as the input of a made-up member."""
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
    """Later likes per run, for runs at least 14 days old."""
    return [likes for count in _hooks.liked for likes in count(run_uuids)]
