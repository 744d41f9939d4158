"""What a model is asked for: one template for each purpose, with what is live for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.errors import OnlyPublishingMoves
from prompts.models.moving import MovedManager, check_move
from prompts.versions.contracts import Contract, contract

if TYPE_CHECKING:
    from prompts.models.versions import PromptVersion


class PromptTemplate(models.Model):
    """One purpose a model is asked for. Names what is live; changed only by prompts/versions/moves.py."""

    slug = models.SlugField(_("이름표"), max_length=60, unique=True)
    title = models.CharField(_("제목"), max_length=100)
    contract_key = models.CharField(_("계약"), max_length=60)
    # MySQL has no partial unique index, so "one live version" is a reference on this row, changed under its lock.
    live_release = models.ForeignKey(
        "prompts.Release",
        verbose_name=_("현재 배포"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    rollout = models.ForeignKey(
        "prompts.Rollout",
        verbose_name=_("진행 중인 롤아웃"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    #: No model is asked for this purpose until it is lifted; answers are local.
    paused = models.BooleanField(_("중지"), default=False, editable=False)
    lock_version = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)

    objects = MovedManager()
    #: What members get, and the count of its moves.
    MOVED_FIELDS: ClassVar = frozenset(
        {"live_release", "live_release_id", "rollout", "rollout_id", "paused", "lock_version"}
    )

    class Meta:
        verbose_name = _("프롬프트")
        verbose_name_plural = _("프롬프트")
        ordering = ["slug"]
        permissions = [("kill_prompttemplate", _("프롬프트를 긴급 중지하고 해제할 수 있음"))]

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        check_move(self, frozenset({"live_release_id", "rollout_id", "paused", "lock_version"}))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OnlyPublishingMoves("Prompts are stopped, not deleted: history names them.")

    @property
    def contract(self) -> Contract:
        """Raises UnknownContract."""
        return contract(self.contract_key)

    @property
    def live_version(self) -> PromptVersion | None:
        """None: the repository's own text is live."""
        return self.live_release.version if self.live_release else None
