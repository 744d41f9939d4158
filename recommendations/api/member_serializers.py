"""Defines what callers post and read about feedback, blocks, search and similar songs."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from catalog.keys import BIGINT_MAX, MEMBER_KEY_LENGTH
from engine.types import Locale
from profiles.models import BlockKind, FeedbackType
from profiles.services import Feedback, FeedbackVerdict

from .fields import member_key_of

#: Events of one call; more come in several calls.
MAX_EVENTS = 500
MAX_SEEDS = 50
MAX_FOUND = 100


class MemberKeyInput(serializers.CharField):
    """A member id: text of 1–64 characters; a number is taken as its digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MEMBER_KEY_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return member_key_of(data)


def song_id_input(**kwargs: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=BIGINT_MAX, **kwargs)


# --- Feedback -------------------------------------------------------------------------------------
class FeedbackEventInput(serializers.Serializer):
    """One thing a member did with one song."""

    event_id = serializers.CharField(
        max_length=64, help_text="The caller's own id; an id seen before changes nothing."
    )
    memberId = MemberKeyInput(required=False, help_text="The member; `user_id` means the same.")
    user_id = MemberKeyInput(required=False)
    song_id = song_id_input()
    type = serializers.ChoiceField(choices=FeedbackType.choices)
    value = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="`rating`: 1–5 (required). `play`: share heard, 0–1. Else left out.",
    )
    run_id = serializers.CharField(
        max_length=64,
        required=False,
        allow_blank=True,
        default="",
        help_text="`run_id` of the answer.",
    )
    context = serializers.DictField(required=False, default=dict)  # type: ignore[assignment]  # the wire's name
    occurred_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="ISO-8601; without a zone Asia/Seoul is meant. Absent: now.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not (attrs.get("memberId") or attrs.get("user_id")):
            raise serializers.ValidationError(
                {"memberId": "Name the member (memberId or user_id)."}
            )
        return attrs

    def feedback(self) -> Feedback:
        """The validated event as a value."""
        sent = self.validated_data
        return Feedback(
            event_id=sent["event_id"],
            member_key=sent.get("memberId") or sent["user_id"],
            song_id=sent["song_id"],
            type=sent["type"],
            value=sent.get("value"),
            run_id=sent["run_id"],
            context=sent["context"],
            occurred_at=sent.get("occurred_at"),
        )


class FeedbackInput(serializers.Serializer):
    """Events are checked one by one: an invalid one is rejected, the others are stored."""

    events = serializers.ListField(
        child=serializers.DictField(), min_length=1, max_length=MAX_EVENTS
    )


class FeedbackInputSchema(serializers.Serializer):
    """What `events` holds, for the API's documentation."""

    events = FeedbackEventInput(many=True, min_length=1, max_length=MAX_EVENTS)  # type: ignore[call-arg]  # of the list

    class Meta:
        ref_name = "FeedbackInput"


class VerdictOutput(serializers.Serializer):
    event_id = serializers.CharField(allow_blank=True)
    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in FeedbackVerdict])
    detail = serializers.CharField(allow_blank=True)


class FeedbackOutput(serializers.Serializer):
    accepted = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    rejected = serializers.IntegerField()
    verdicts = VerdictOutput(many=True)


# --- Blocks ---------------------------------------------------------------------------------------
class BlockTargetInput(serializers.Serializer):
    """Names what is blocked: a song by its id, an artist or a genre by name."""

    kind = serializers.ChoiceField(choices=BlockKind.choices)
    song_id = song_id_input(required=False, allow_null=True)
    name = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        by_song = attrs["kind"] == BlockKind.SONG
        if by_song and not attrs.get("song_id"):
            raise serializers.ValidationError({"song_id": "A song is blocked by its song_id."})
        if not by_song and not attrs["name"].strip():
            raise serializers.ValidationError({"name": "An artist or genre is blocked by name."})
        return attrs

    def target(self) -> dict[str, Any]:
        sent = self.validated_data
        by_song = sent["kind"] == BlockKind.SONG
        return {
            "kind": sent["kind"],
            "song_id": sent["song_id"] if by_song else None,
            "name": "" if by_song else sent["name"],
        }


class BlockInput(BlockTargetInput):
    until = serializers.DateTimeField(
        required=False, allow_null=True, help_text="End of the block; absent: for good."
    )

    def validate_until(self, until: Any) -> Any:
        if until is not None and until <= timezone.now():
            raise serializers.ValidationError("until lies in the past.")
        return until


class BlockOutput(serializers.Serializer):
    kind = serializers.ChoiceField(choices=BlockKind.choices)
    song_id = serializers.IntegerField(allow_null=True)
    name = serializers.CharField(allow_blank=True)
    until = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class BlocksOutput(serializers.Serializer):
    member_id = serializers.CharField()
    blocks = BlockOutput(many=True)


class UnblockedOutput(serializers.Serializer):
    member_id = serializers.CharField()
    removed = serializers.IntegerField(help_text="0 when there was no such block.")


# --- Finding songs --------------------------------------------------------------------------------
class SongOutput(serializers.Serializer):
    """A song as every answer shows it; absent text is "", an absent karaoke number null."""

    song_id = serializers.IntegerField()
    title_jp = serializers.CharField(allow_blank=True)
    title_kr = serializers.CharField(allow_blank=True)
    title_en = serializers.CharField(allow_blank=True)
    title_yomi = serializers.CharField(allow_blank=True)
    artist = serializers.CharField(allow_blank=True)
    artist_kr = serializers.CharField(allow_blank=True)
    tj_number = serializers.IntegerField(allow_null=True)
    ky_number = serializers.IntegerField(allow_null=True)
    genre = serializers.CharField(allow_blank=True)
    mood = serializers.CharField(allow_blank=True)
    score = serializers.FloatField(help_text="0–1, best first.")


class SearchInput(serializers.Serializer):
    q = serializers.CharField(max_length=100, help_text="Title, artist, anime, reading or 초성.")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_FOUND, default=20)


class SearchOutput(serializers.Serializer):
    query = serializers.CharField()
    songs = SongOutput(many=True)


class SimilarInput(serializers.Serializer):
    count = serializers.IntegerField(min_value=1, max_value=MAX_FOUND, default=20)
    locale = serializers.ChoiceField(
        choices=[locale.value for locale in Locale], default=Locale.KO.value
    )


class SimilarToInput(SimilarInput):
    song_ids = serializers.ListField(child=song_id_input(), min_length=1, max_length=MAX_SEEDS)


class SimilarSongOutput(SongOutput):
    reason = serializers.CharField(allow_blank=True)


class SimilarOutput(serializers.Serializer):
    song_ids = serializers.ListField(child=serializers.IntegerField())
    unresolved = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids that are not in the catalog."
    )
    songs = SimilarSongOutput(many=True)
