"""The audit log: rows are added, never changed or deleted."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _


class AppendOnlyError(TypeError):
    """Rows of this table are added, never changed or deleted."""

    def __init__(self, model: type[models.Model]) -> None:
        super().__init__(f"{model.__name__} is append-only: add a row that says what changed.")


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Refuses what would change or remove rows."""

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnlyError(self.model)

    def delete(self) -> NoReturn:
        raise AppendOnlyError(self.model)

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("update_conflicts"):
            raise AppendOnlyError(self.model)
        return super().bulk_create(objs, *args, **kwargs)

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(self.model)


class AppendOnlyManager(models.Manager[Any]):
    def get_queryset(self) -> AppendOnlyQuerySet:
        return AppendOnlyQuerySet(self.model, using=self._db)


class AppendOnly(models.Model):
    """A row that is written once."""

    created_at = models.DateTimeField(_("언제"), auto_now_add=True, db_index=True)

    objects = AppendOnlyManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(type(self))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(type(self))


class AuditEvent(AppendOnly):
    """Who did what to which row, with what before and after, and why."""

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("누가"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    #: Stays when the account is deleted; "시스템" for the system itself.
    actor_name = models.CharField(_("이름"), max_length=150)
    verb = models.CharField(_("무엇을"), max_length=60, db_index=True)
    object_type = models.CharField(_("대상 종류"), max_length=60)
    object_id = models.CharField(_("대상 번호"), max_length=100)
    object_label = models.CharField(_("대상"), max_length=200)
    before = models.JSONField(_("이전"), null=True, blank=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(_("이후"), null=True, blank=True, encoder=DjangoJSONEncoder)
    reason = models.TextField(_("이유"), blank=True)
    request_id = models.CharField(_("요청 번호"), max_length=64, blank=True)
    ip = models.GenericIPAddressField(_("주소"), null=True, blank=True)

    class Meta:
        verbose_name = _("감사 기록")
        verbose_name_plural = _("감사 기록")
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["object_type", "object_id"], name="audit_object")]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.verb} {self.object_label}"
