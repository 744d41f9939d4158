"""What the likes of the backend looked like when they were last read."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class LikeChunk(models.Model):
    """What a stretch of `song_like` or `playlist_song` looked like when last read (see jobs/like_changes.py)."""

    table = models.CharField(max_length=16)
    number = models.PositiveIntegerField()
    rows = models.PositiveIntegerField()
    checksum = models.CharField(max_length=80)
    #: (id, member) pairs of the stretch, packed.
    members = models.BinaryField()

    class Meta:
        verbose_name = _("좋아요 상태")
        verbose_name_plural = _("좋아요 상태")
        constraints = (models.UniqueConstraint(fields=("table", "number"), name="like_chunk_once"),)

    def __str__(self) -> str:
        return f"{self.table}#{self.number}"
