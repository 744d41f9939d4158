"""The neighbours' tables as this service reads them (never `member.password`, never `member.phone`)."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class AbsentText(models.CharField):
    """Text that may be NULL upstream and is "" for everyone here."""

    def from_db_value(self, value: str | None, *args: Any) -> str:
        return value or ""


class BitBoolean(models.BooleanField):
    """MySQL's bit(1), which drivers hand over as bytes."""

    def from_db_value(self, value: Any, *args: Any) -> bool | None:
        if isinstance(value, bytes):
            return value != b"\x00"
        return None if value is None else bool(value)


class Anime(models.Model):
    anime_id = models.BigAutoField(primary_key=True)
    title = models.CharField(_("제목"), max_length=200)
    created_at = models.DateTimeField(_("등록"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "anime"
        verbose_name = _("애니메이션")
        verbose_name_plural = _("애니메이션")

    def __str__(self) -> str:
        return self.title


class Song(models.Model):
    song_id = models.BigAutoField(_("곡 번호"), primary_key=True)
    tj_number = models.BigIntegerField(_("TJ 번호"), null=True, blank=True)
    ky_number = models.BigIntegerField(_("금영 번호"), null=True, blank=True)
    title_jp = AbsentText(_("제목(일본어)"), max_length=255, null=True, blank=True)
    title_kr = AbsentText(_("제목(한국어)"), max_length=255, null=True, blank=True)
    title_en = AbsentText(_("제목(영어)"), max_length=255, null=True, blank=True)
    title_en_kr = AbsentText(_("제목(영어 독음)"), max_length=255, null=True, blank=True)
    title_yomi = AbsentText(_("제목(요미가나)"), max_length=255, null=True, blank=True)
    title_yomi_kr = AbsentText(_("제목(한글 독음)"), max_length=255, null=True, blank=True)
    lang = AbsentText(_("언어"), max_length=255, null=True, blank=True)
    genre = AbsentText(_("장르"), max_length=255, null=True, blank=True)
    mood = AbsentText(_("분위기"), max_length=255, null=True, blank=True)
    artist = AbsentText(_("가수"), max_length=255, null=True, blank=True)
    artist_kr = AbsentText(_("가수(한국어)"), max_length=255, null=True, blank=True)
    anime = models.ForeignKey(
        Anime,
        models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        verbose_name=_("애니메이션"),
    )
    anime_type = AbsentText(_("애니 구분"), max_length=16, null=True, blank=True)
    created_at = models.DateTimeField(_("등록"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "song"
        verbose_name = _("곡")
        verbose_name_plural = _("곡")

    def __str__(self) -> str:
        return self.title_jp or self.title_kr or self.title_en or f"#{self.pk}"


class Member(models.Model):
    member_id = models.BigAutoField(_("회원 번호"), primary_key=True)
    email = models.CharField(_("이메일"), max_length=255, unique=True)
    created_at = models.DateTimeField(_("가입"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "member"
        verbose_name = _("회원")
        verbose_name_plural = _("회원")

    def __str__(self) -> str:
        return f"#{self.pk}"


class Role(models.TextChoices):
    """Roles of `member_role_list` that matter here; songs_be has others."""

    USER = "USER", _("활동 회원")
    GHOST = "GHOST", _("탈퇴 회원")


class MemberRole(models.Model):
    """One role of a member. The table has no primary key: (member, role) stands in for one, read only."""

    pk = models.CompositePrimaryKey("member_id", "role")
    member = models.ForeignKey(
        Member,
        models.DO_NOTHING,
        db_column="id",
        db_constraint=False,
        related_name="roles",
        verbose_name=_("회원"),
    )
    role = models.CharField(_("역할"), max_length=16)

    class Meta:
        db_table = "member_role_list"
        verbose_name = _("회원 역할")
        verbose_name_plural = _("회원 역할")

    def __str__(self) -> str:
        return f"{self.member_id} {self.role}"


class SongLike(models.Model):
    id = models.BigAutoField(primary_key=True)
    song = models.ForeignKey(Song, models.DO_NOTHING, db_constraint=False, verbose_name=_("곡"))
    member = models.ForeignKey(
        Member, models.DO_NOTHING, db_constraint=False, related_name="likes", verbose_name=_("회원")
    )
    created_at = models.DateTimeField(_("좋아요"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "song_like"
        verbose_name = _("좋아요")
        verbose_name_plural = _("좋아요")

    def __str__(self) -> str:
        return f"{self.member_id} ♥ {self.song_id}"


class Playlist(models.Model):
    playlist_id = models.BigAutoField(primary_key=True)
    title = models.CharField(_("제목"), max_length=100)
    description = AbsentText(_("설명"), max_length=500, null=True, blank=True)
    is_public = BitBoolean(_("공개"), null=True, blank=True)
    member = models.ForeignKey(
        Member,
        models.DO_NOTHING,
        db_constraint=False,
        related_name="playlists",
        verbose_name=_("회원"),
    )
    created_at = models.DateTimeField(_("등록"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "playlist"
        verbose_name = _("플레이리스트")
        verbose_name_plural = _("플레이리스트")

    def __str__(self) -> str:
        return self.title


class PlaylistSong(models.Model):
    id = models.BigAutoField(primary_key=True)
    playlist = models.ForeignKey(
        Playlist,
        models.DO_NOTHING,
        db_constraint=False,
        related_name="entries",
        verbose_name=_("플레이리스트"),
    )
    song = models.ForeignKey(Song, models.DO_NOTHING, db_constraint=False, verbose_name=_("곡"))
    song_order = models.IntegerField(_("순서"), null=True, blank=True)
    created_at = models.DateTimeField(_("등록"), null=True, blank=True)
    modified_at = models.DateTimeField(_("수정"), null=True, blank=True)

    class Meta:
        db_table = "playlist_song"
        verbose_name = _("플레이리스트 곡")
        verbose_name_plural = _("플레이리스트 곡")

    def __str__(self) -> str:
        return f"{self.playlist_id}: {self.song_id}"
