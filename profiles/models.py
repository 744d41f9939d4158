"""Rows about members beyond the shared tables: stored taste, staff's overrides, feedback, blocks, impressions.

Rows are keyed by the member key alone; songs and members of the shared database are never foreign keys.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.keys import CaseSensitiveText, MemberKeyField


class TasteSource(models.TextChoices):
    MODEL = "model", _("언어 모델")
    LOCAL = "local", _("자체 엔진")


class TasteFields(models.Model):
    """A member's taste in words, as read at one moment."""

    taste_text = models.TextField(_("취향 요약"), blank=True)
    preferred_genres = models.JSONField(_("선호 장르"), default=list, blank=True)
    preferred_moods = models.JSONField(_("선호 분위기"), default=list, blank=True)
    preferred_artists = models.JSONField(_("선호 가수"), default=list, blank=True)
    favorites_sha = models.CharField(_("즐겨찾기 지문"), max_length=64, blank=True)
    source = models.CharField(_("출처"), max_length=8, choices=TasteSource)
    prompt_version = models.CharField(_("프롬프트 버전"), max_length=64, blank=True)

    class Meta:
        abstract = True

    def words(self) -> set[str]:
        """Genres, moods and artists together; drift is measured on these."""
        return {*self.preferred_genres, *self.preferred_moods, *self.preferred_artists}


class TasteProfile(TasteFields):
    """The taste in force. Changes by staff are rows of TasteOverride and survive every new reading."""

    member_key = MemberKeyField(_("회원"), unique=True)
    generated_at = models.DateTimeField(_("분석 시각"), db_index=True)

    class Meta:
        verbose_name = _("취향 프로필")
        verbose_name_plural = _("취향 프로필")

    def __str__(self) -> str:
        return self.member_key


class TasteSnapshot(TasteFields):
    """A past taste; a new one is stored only when the words changed."""

    member_key = MemberKeyField(_("회원"))
    generated_at = models.DateTimeField(_("분석 시각"), db_index=True)

    class Meta:
        verbose_name = _("취향 이력")
        verbose_name_plural = _("취향 이력")
        indexes = [models.Index(fields=["member_key", "generated_at"], name="snapshot_of_member")]

    def __str__(self) -> str:
        return f"{self.member_key} {self.generated_at:%Y-%m-%d}"

    def drift_from(self, before: TasteSnapshot) -> float:
        """0 = the same words, 1 = none in common (Jaccard distance)."""
        either = self.words() | before.words()
        return 1 - len(self.words() & before.words()) / len(either) if either else 0.0


class OverrideKind(models.TextChoices):
    GENRE = "genre", _("장르")
    MOOD = "mood", _("분위기")
    ARTIST = "artist", _("가수")
    TEXT = "text", _("취향 요약")


class OverrideAction(models.TextChoices):
    PIN = "pin", _("고정 (가장 먼저)")
    ADD = "add", _("추가")
    BAR = "bar", _("제외 (추천하지 않음)")


class TasteOverrideQuerySet(models.QuerySet["TasteOverride"]):
    def active(self) -> TasteOverrideQuerySet:
        return self.filter(undone_at=None)

    def for_member(self, member_key: str) -> TasteOverrideQuerySet:
        return self.filter(member_key=member_key)


class TasteOverride(models.Model):
    """A decision of staff about a member's taste. Never edited, only undone."""

    member_key = MemberKeyField(_("회원"))
    kind = models.CharField(_("대상"), max_length=8, choices=OverrideKind)
    action = models.CharField(_("조치"), max_length=4, choices=OverrideAction)
    value = models.CharField(_("값"), max_length=1000)
    reason = models.CharField(_("사유"), max_length=300)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("담당자"),
    )
    made_by_name = models.CharField(_("담당자 이름"), max_length=150)
    made_at = models.DateTimeField(_("등록 시각"))
    undone_by_name = models.CharField(_("취소한 담당자"), max_length=150, blank=True)
    undone_at = models.DateTimeField(_("취소 시각"), null=True, blank=True)
    undo_reason = models.CharField(_("취소 사유"), max_length=300, blank=True)

    objects = TasteOverrideQuerySet.as_manager()

    class Meta:
        verbose_name = _("취향 조정")
        verbose_name_plural = _("취향 조정")
        indexes = [models.Index(fields=["member_key", "undone_at"], name="override_of_member")]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.value}"

    @property
    def is_active(self) -> bool:
        return self.undone_at is None

    def undo(self, *, by: Any, reason: str, now: datetime) -> bool:
        """Undo the override; False means it was undone already."""
        undone = TasteOverride.objects.active().filter(pk=self.pk)
        return (
            undone.update(undone_at=now, undone_by_name=by.get_username(), undo_reason=reason) == 1
        )


class CallerFavorite(models.Model):
    """A favourite of a caller's own user, who has no row in the shared database."""

    member_key = MemberKeyField(_("회원"))
    song_id = models.BigIntegerField(_("곡 번호"))
    stated_at = models.DateTimeField(_("등록 시각"))
    #: Place in a list that was sent at once, 0 first.
    rank = models.PositiveIntegerField(_("순서"), default=0)

    class Meta:
        verbose_name = _("외부 사용자 즐겨찾기")
        verbose_name_plural = _("외부 사용자 즐겨찾기")
        constraints = [
            models.UniqueConstraint(fields=["member_key", "song_id"], name="favorite_once")
        ]

    def __str__(self) -> str:
        return f"{self.member_key} ♥ {self.song_id}"


class OverlayAction(models.TextChoices):
    ADD = "add", _("추가")
    REMOVE = "remove", _("삭제")
    LIST = "list", _("전체 목록")


class FavoriteOverlay(models.Model):
    """A change of a database member's favourites that a caller reported before the database shows it."""

    member_key = MemberKeyField(_("회원"))
    action = models.CharField(_("조치"), max_length=6, choices=OverlayAction)
    #: 0 for a list: a member has one list at most.
    song_id = models.BigIntegerField(_("곡 번호"), default=0)
    #: Comma-separated ids of a list.
    song_ids = models.TextField(_("곡 목록"), blank=True)
    stated_at = models.DateTimeField(_("등록 시각"), db_index=True)

    class Meta:
        verbose_name = _("즐겨찾기 변경 대기")
        verbose_name_plural = _("즐겨찾기 변경 대기")
        constraints = [
            models.UniqueConstraint(fields=["member_key", "song_id"], name="overlay_once")
        ]

    def __str__(self) -> str:
        return f"{self.member_key} {self.action} {self.song_id or self.song_ids}"


class FeedbackType(models.TextChoices):
    LIKE = "like", _("좋아요")
    UNLIKE = "unlike", _("좋아요 취소")
    PLAYLIST = "playlist", _("플레이리스트에 담음")
    PLAY = "play", _("재생")
    COMPLETE = "complete", _("끝까지 들음")
    REPLAY = "replay", _("다시 들음")
    SKIP = "skip", _("건너뜀")
    RATING = "rating", _("별점")
    DISLIKE = "dislike", _("싫어요")
    SANG = "sang", _("노래함")


class FeedbackEvent(models.Model):
    """One action of a member on one song, as a caller reported it."""

    #: The caller's own id: the same event sent twice is one row.
    event_id = CaseSensitiveText(_("이벤트 ID"), max_length=64, unique=True)
    member_key = MemberKeyField(_("회원"))
    song_id = models.BigIntegerField(_("곡 번호"))
    type = models.CharField(_("종류"), max_length=8, choices=FeedbackType)
    #: Rating 1–5, played share 0–1; NULL for types without a value.
    value = models.FloatField(_("값"), null=True, blank=True)
    run_id = models.CharField(_("추천 번호"), max_length=64, blank=True)
    context = models.JSONField(_("상황"), default=dict, blank=True)
    occurred_at = models.DateTimeField(_("발생 시각"))
    received_at = models.DateTimeField(_("수신 시각"), db_index=True)

    class Meta:
        verbose_name = _("피드백")
        verbose_name_plural = _("피드백")
        indexes = [
            models.Index(fields=["member_key", "occurred_at"], name="feedback_of_member"),
            models.Index(fields=["song_id"], name="feedback_of_song"),
        ]

    def __str__(self) -> str:
        return f"{self.member_key} {self.type} {self.song_id}"


class BlockKind(models.TextChoices):
    SONG = "song", _("곡")
    ARTIST = "artist", _("가수")
    GENRE = "genre", _("장르")


class BlockQuerySet(models.QuerySet["Block"]):
    def active(self, now: datetime) -> BlockQuerySet:
        return self.filter(Q(until=None) | Q(until__gt=now))


class Block(models.Model):
    """A song, artist or genre a member does not want to be shown, for good or until a date."""

    member_key = MemberKeyField(_("회원"))
    kind = models.CharField(_("대상"), max_length=8, choices=BlockKind)
    song_id = models.BigIntegerField(_("곡 번호"), null=True, blank=True)
    name = models.CharField(_("이름"), max_length=255, blank=True)
    #: Song number or folded name: one block per thing whatever its spelling.
    key = CaseSensitiveText(_("비교 키"), max_length=255)
    until = models.DateTimeField(_("기한"), null=True, blank=True)
    created_at = models.DateTimeField(_("등록 시각"))

    objects = BlockQuerySet.as_manager()

    class Meta:
        verbose_name = _("차단")
        verbose_name_plural = _("차단")
        constraints = [
            models.UniqueConstraint(fields=["member_key", "kind", "key"], name="block_once")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name or self.song_id}"


class Impression(models.Model):
    """A song of an answer that was shown to a member, and how often the answer was shown."""

    run_id = models.CharField(_("추천 번호"), max_length=64)
    member_key = MemberKeyField(_("회원"))
    song_id = models.BigIntegerField(_("곡 번호"))
    #: Label of the group, "" for the quick picks.
    group = models.CharField(_("그룹"), max_length=120, blank=True)
    position = models.PositiveSmallIntegerField(_("위치"))
    times = models.PositiveIntegerField(_("노출 횟수"), default=0)
    first_at = models.DateTimeField(_("첫 노출"))
    last_at = models.DateTimeField(_("최근 노출"), db_index=True)

    class Meta:
        verbose_name = _("노출")
        verbose_name_plural = _("노출")
        constraints = [
            models.UniqueConstraint(fields=["run_id", "song_id"], name="impression_once")
        ]
        indexes = [
            models.Index(fields=["member_key", "last_at"], name="impression_of_member"),
            models.Index(fields=["song_id"], name="impression_of_song"),
        ]

    def __str__(self) -> str:
        return f"{self.member_key} {self.song_id} ×{self.times}"
