"""Resolves the version of a prompt for a member, from memory: no query during a request.

Each process holds a snapshot of everything live. A changed epoch in the database outdates it; Redis signals that
sooner. If neither is reachable, the last snapshot stays; a process without one uses the repository's texts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import close_old_connections, models
from django.db.models import F
from django.utils.translation import gettext_lazy as _
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from prompts.defaults import DefaultText, default_texts
from prompts.errors import TemplatePaused, UnknownContract
from prompts.models import PromptEpoch, PromptTemplate, PromptVersion, RolloutState
from prompts.versions.contracts import Contract, ParamValue
from prompts.versions.rendering import Rendered, render

log = logging.getLogger(__name__)

EPOCH_KEY = "songs_ai:prompts:epoch"
#: The database is asked at least this often, even while Redis answers: a publisher may not have reached Redis.
DATABASE_POLL_S = 1.2
#: How long the first call of a process waits for the rows before it uses the repository's text.
FIRST_LOAD_S = 1.0
BUCKETS = 10_000


class Arm(models.TextChoices):
    """Where a member's version comes from."""

    LIVE = "live", _("현재 배포")
    CANDIDATE = "candidate", _("후보")
    BUILTIN = "builtin", _("기본 문구")


@dataclass(frozen=True, kw_only=True)
class ResolvedVersion:
    """One version as a member gets it, ready to render."""

    slug: str
    #: `curation@12`, or `curation@builtin-1a2b3c4d` for the repository's text.
    label: str
    version_id: int | None
    sha: str
    contract: Contract
    system_text: str
    user_text: str
    params: Mapping[str, ParamValue]
    model_profile_id: int | None
    arm: Arm = Arm.LIVE
    rollout_id: int | None = None
    #: 0–9999, the member's place in the rollout's split; None while nothing is rolled out.
    bucket: int | None = None

    @property
    def builtin(self) -> bool:
        return self.arm == Arm.BUILTIN

    def render(self, variables: Mapping[str, Any]) -> Rendered:
        """Raises MissingVariables naming every one that is absent."""
        return render(self.system_text, self.user_text, values=variables, agreed=self.contract)


@dataclass(frozen=True, kw_only=True)
class RolloutSplit:
    """A rollout under way: who of the members gets the candidate."""

    rollout_id: int
    salt: str
    percent: int
    candidate: ResolvedVersion


@dataclass(frozen=True, kw_only=True)
class Live:
    """What one prompt serves."""

    control: ResolvedVersion
    split: RolloutSplit | None = None
    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class PromptSnapshot:
    """Everything live at one moment, built whole and then swapped in."""

    epoch: int
    prompts: Mapping[str, Live]
    #: time.monotonic() when it was last known to be current.
    seen_at: float


def bucket_of(salt: str, member_key: str) -> int:
    """A member's place in a split, 0–9999: the same in every process, another one in every rollout."""
    digest = hashlib.blake2b(f"{salt}:{member_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def resolve(slug: str, member_key: str) -> ResolvedVersion:
    """The version this member gets. Raises TemplatePaused, or UnknownContract for an unknown slug."""
    live = _watch.snapshot().prompts.get(slug)
    if live is None:
        raise UnknownContract(
            f"No prompt {slug!r} exists, neither in the database nor in the repository."
        )
    if live.paused:
        raise TemplatePaused
    if live.split is None:
        return live.control
    bucket = bucket_of(live.split.salt, member_key)
    chosen = live.split.candidate if bucket * 100 < live.split.percent * BUCKETS else live.control
    return replace(chosen, rollout_id=live.split.rollout_id, bucket=bucket)


def versions_in_force() -> dict[str, str]:
    """Label of the live version of every prompt, for fingerprints. Cheap: from memory."""
    return {slug: live.control.label for slug, live in _watch.snapshot().prompts.items()}


def snapshot_age_s() -> float:
    """Seconds since this process last knew its snapshot to be current; 0.0 before the first use."""
    return _watch.age_s()


def builtin(slug: str) -> ResolvedVersion:
    """The repository's own text; raises KeyError where it has none."""
    return _from_default(default_texts()[slug])


def announce() -> None:
    """Notify every process, this one at once, of a change. Call after the commit."""
    if settings.REDIS_URL:
        try:
            get_redis_connection("default").incr(EPOCH_KEY)
        except RedisError as error:
            log.warning(
                "prompts: epoch not announced, the others see it in the database: %s", error
            )
    _watch.look_again()


def bump_epoch() -> None:
    """Increase the epoch, inside the transaction of the change."""
    if not PromptEpoch.objects.filter(pk=1).update(value=F("value") + 1):
        PromptEpoch.objects.create(pk=1, value=1)


def as_resolved(version: PromptVersion, *, arm: Arm = Arm.LIVE) -> ResolvedVersion:
    """A row as it would be served; the template must be loaded. Raises UnknownContract."""
    return ResolvedVersion(
        slug=version.template.slug,
        label=version.label,
        version_id=version.pk,
        sha=version.body_sha256,
        contract=version.template.contract,
        system_text=version.system_text,
        user_text=version.user_text,
        params=version.template.contract.defaults() | version.params,
        model_profile_id=version.model_profile_id,
        arm=arm,
    )


def _from_default(text: DefaultText) -> ResolvedVersion:
    return ResolvedVersion(
        slug=text.slug,
        label=f"{text.slug}@builtin-{text.sha[:8]}",
        version_id=None,
        sha=text.sha,
        contract=text.contract,
        system_text=text.system_text,
        user_text=text.user_text,
        params=text.params,
        model_profile_id=None,
        arm=Arm.BUILTIN,
    )


def _builtins() -> dict[str, Live]:
    return {slug: Live(control=_from_default(text)) for slug, text in default_texts().items()}


def _servable(version: PromptVersion | None) -> bool:
    """A text written for another contract than the code's is never served."""
    return version is not None and version.contract_version == version.template.contract.version


def _live(template: PromptTemplate) -> Live | None:
    """What a template serves; None without a servable version or a text in the repository."""
    version = template.live_version
    if version is not None and _servable(version):
        control = as_resolved(version)
    elif template.slug in default_texts():
        control = builtin(template.slug)
    else:
        return None
    return Live(control=control, split=_split(template), paused=template.paused)


def _split(template: PromptTemplate) -> RolloutSplit | None:
    rollout = template.rollout
    if rollout is None or rollout.state != RolloutState.RUNNING or not _servable(rollout.candidate):
        return None
    return RolloutSplit(
        rollout_id=rollout.pk,
        salt=rollout.salt,
        percent=rollout.percent,
        candidate=as_resolved(rollout.candidate, arm=Arm.CANDIDATE),
    )


def load(epoch: int) -> PromptSnapshot:
    """Read everything live in one query."""
    prompts = _builtins()
    rows = PromptTemplate.objects.select_related(
        "live_release__version__template", "rollout__candidate__template"
    )
    for template in rows:
        try:
            live = _live(template)
        except UnknownContract as error:
            log.warning("prompts: %s is not served: %s", template.slug, error)
            continue
        if live is not None:
            prompts[template.slug] = live
    return PromptSnapshot(epoch=epoch, prompts=prompts, seen_at=time.monotonic())


def stored_epoch() -> int:
    """The epoch in the database; 0 before the first move."""
    return PromptEpoch.objects.filter(pk=1).values_list("value", flat=True).first() or 0


class Watch:
    """One process's snapshot, refreshed by a background thread."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        read_epoch: Callable[[], int] = stored_epoch,
    ) -> None:
        self._clock = clock
        self._read_epoch = read_epoch
        self._snapshot: PromptSnapshot | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """A fork does not copy threads: start with new locks and keep the snapshot."""
        self._started_at: float | None = None
        self._signal: bytes | None = None  # the last epoch read from Redis
        self._asked_database_at = 0.0
        self._starting = threading.Lock()
        self._looking = threading.Lock()
        self._looked = threading.Event()

    def snapshot(self) -> PromptSnapshot:
        """The current snapshot; only at the start of a process this may wait, FIRST_LOAD_S at most."""
        if settings.PROMPTS_POLL_S == 0:
            self._look(force=True)
        elif not self._looked.is_set():
            self._start()
            self._looked.wait(max(0.0, (self._started_at or 0) + FIRST_LOAD_S - self._clock()))
        return self._snapshot or PromptSnapshot(
            epoch=-1, prompts=_builtins(), seen_at=self._clock()
        )

    def age_s(self) -> float:
        return self._clock() - self._snapshot.seen_at if self._snapshot else 0.0

    def look_again(self) -> None:
        """Look now rather than at the next tick: this process's next answer is already the new one."""
        if self._snapshot is not None:
            self._look(force=True)

    def _start(self) -> None:
        with self._starting:
            if self._started_at is None:
                self._started_at = self._clock()
                threading.Thread(target=self._run, name="prompts-watch", daemon=True).start()

    def _run(self) -> None:
        while True:
            close_old_connections()
            self._look(force=not self._looked.is_set())
            self._looked.set()
            time.sleep(settings.PROMPTS_POLL_S)

    def _look(self, *, force: bool = False) -> None:
        """Swap in a new snapshot if the epoch moved. What cannot be reached leaves the old one in place."""
        moved = self._redis_moved()
        if not (force or moved or self._clock() - self._asked_database_at >= DATABASE_POLL_S):
            return
        with self._looking:  # or an older reading could replace a newer one
            self._asked_database_at = self._clock()
            try:
                self._snapshot = self._read()
            except DatabaseFailure as error:
                log.warning("prompts: rows not readable, serving the last snapshot: %s", error)

    def _read(self) -> PromptSnapshot:
        epoch = self._read_epoch()
        # Polling off (tests): a rolled back transaction may bring an old epoch back with other rows.
        unpolled = settings.PROMPTS_POLL_S == 0
        if self._snapshot is None or unpolled or epoch != self._snapshot.epoch:
            return load(epoch)
        return replace(self._snapshot, seen_at=self._clock())

    def _redis_moved(self) -> bool:
        """True when Redis shows another epoch than before; without an answer the database's turn comes anyway."""
        if not settings.REDIS_URL or settings.PROMPTS_POLL_S == 0:
            return False
        try:
            said = get_redis_connection("default").get(EPOCH_KEY)
        except RedisError:
            return False
        moved = bool(said != self._signal)
        self._signal = said
        return moved


_watch = Watch()
os.register_at_fork(after_in_child=lambda: _watch.after_fork())


def restart(watch: Watch | None = None) -> Watch:
    """Start over as a new process would, with a fresh watch or the given one."""
    global _watch
    _watch = watch or Watch()
    return _watch
