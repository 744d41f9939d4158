"""Defines what callers post and read about recommendations, in both generations of bodies and mixtures of them.

Strict where a caller would want to know of a mistake, lenient where contract.md says callers differ:
ids may be text, `null` and absent mean the same, and unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from engine.types import Locale, Strategy

from ..services import Action
from ..serving.parsing.request_parsing import (
    LARGEST_SONG_ID,
    SongIds,
    named_song,
    request_from_values,
)
from ..serving.request import NamedSong, Request, Unresolved
from .fields import (
    Choice,
    Dial,
    LocaleChoice,
    MemberIdField,
    NamesField,
    SongIdField,
    SongIdsField,
    Text,
)

MOST_NAMED_SONGS = 200
MOST_COUNT = 100


# --- Songs named by text --------------------------------------------------------------------------
class NamedSongInput(serializers.Serializer):
    """A song named by text."""

    title = Text(required=True, allow_blank=False, allow_null=False)
    artist = Text()
    genre = Text()


class NamedSongs(serializers.ListSerializer):
    """Up to 200 songs named by text; null entries are skipped, as among ids."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=NamedSongInput(), max_length=MOST_NAMED_SONGS, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list) and len(data) <= MOST_NAMED_SONGS:
            data = [song for song in data if song is not None]
        return super().to_internal_value(data)


class SongDataInput(serializers.Serializer):
    """A song by its id, or named by text."""

    song_id = SongIdField(required=False, allow_null=True)
    title = Text()
    artist = Text()
    genre = Text()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("song_id") is None and not attrs.get("title"):
            raise serializers.ValidationError({"title": "Send song_id, or title (and artist)."})
        return attrs


# --- The situation and the dials ------------------------------------------------------------------
class ContextInput(serializers.Serializer):
    """The situation a list is for. Words may be Korean, Japanese or English; unknown ones are reported back."""

    at = Text(help_text="ISO-8601; without an offset it is Seoul's clock. Gives the time of day.")
    time_of_day = Text(help_text="morning, afternoon, evening, night, or 아침, 오후, 저녁, 밤 …")
    mood = Text(help_text="A mood of the catalog, e.g. 신나는, 잔잔, Energetic.")
    activity = Text(
        help_text="workout, study, rest, party, commute, sleep, or 운동, 공부, 휴식, 파티, 출퇴근, 수면 …"
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("Must be an object.")
        return dict(data)  # read by `parse_context`, which reports what it can't understand


class OnlyInput(serializers.Serializer):
    """Hard filters: nothing else is recommended. Empty or absent means no filter."""

    song_ids = SongIdsField(required=False, allow_null=True)
    artists = NamesField()
    genres = NamesField()
    moods = NamesField()
    languages = NamesField()
    karaoke = serializers.MultipleChoiceField(
        choices=("tj", "ky"),
        required=False,
        allow_null=True,
        help_text="Only songs that have such a number.",
    )


class ExcludeInput(serializers.Serializer):
    """What must not appear."""

    song_ids = SongIdsField(required=False, allow_null=True)
    artists = NamesField()
    genres = NamesField()
    moods = NamesField()
    anime = NamesField()


# --- Bodies ---------------------------------------------------------------------------------------
class MemberInput(serializers.Serializer):
    """Who the call is about: `memberId` or `user_id`."""

    memberId = MemberIdField(
        required=False, allow_null=True, help_text="Digits name a member of the database."
    )
    user_id = MemberIdField(
        required=False, allow_null=True, help_text="The same, in the documented body."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        keys = {attrs[name] for name in ("memberId", "user_id") if attrs.get(name) is not None}
        if not keys:
            raise serializers.ValidationError({"memberId": "Send memberId or user_id."})
        if len(keys) > 1:
            raise serializers.ValidationError({"user_id": "memberId and user_id name two members."})
        attrs["member_key"] = keys.pop()
        return attrs


class RecommendInput(MemberInput):
    """Both generations of bodies; everything but the member may be left out."""

    favorite_song_ids = SongIdsField(
        required=False,
        allow_null=True,
        help_text="Exactly these favourites count. null or absent: those of the database. []: none.",
    )
    favorite_songs = NamedSongs(required=False, allow_null=True)
    count = serializers.IntegerField(
        min_value=1,
        max_value=MOST_COUNT,
        required=False,
        allow_null=True,
        help_text="Length of `candidates`. Default 50 for memberId, 20 for user_id.",
    )
    strategy = Choice(Strategy, help_text="fast: no model is asked. deep: a longer deadline.")
    locale = LocaleChoice(Locale, help_text="Language of labels, taglines and reasons.")
    context = ContextInput(required=False, allow_null=True)  # type: ignore[assignment]
    adventure = Dial(help_text="0 familiar … 1 discover.")
    diversity = Dial(help_text="0 alike … 1 as different as possible.")
    only = OnlyInput(required=False, allow_null=True)
    exclude = ExcludeInput(required=False, allow_null=True)
    allow_known = serializers.BooleanField(
        required=False, help_text="Favourites may be recommended again."
    )

    def request(self) -> Request:
        """The valid body as a value."""
        return request_from_values(self.validated_data)


class CachedInput(MemberInput):
    """The member whose stored recommendation is wanted."""


_ACTIONS: dict[str, Action] = {
    "add_favorite": "add",
    "add": "add",
    "remove_favorite": "remove",
    "remove": "remove",
    "list": "list",
}


@dataclass(frozen=True, kw_only=True)
class FavoritesChange:
    """A change of a member's favourites."""

    member_key: str
    action: Action
    song_ids: tuple[int, ...]
    songs: tuple[NamedSong, ...]
    #: Ids that can't be songs.
    unresolved: tuple[Unresolved, ...]


class FavoritesUpdatedInput(MemberInput):
    """One song added or removed, or the full list of favourites."""

    action = Choice(_ACTIONS, help_text="add_favorite or remove_favorite; absent: the full list.")
    song_data = SongDataInput(required=False, allow_null=True)
    favorite_song_ids = SongIdsField(required=False, allow_null=True)
    favorite_songs = NamedSongs(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        named = any(
            attrs.get(name) for name in ("song_data", "favorite_song_ids", "favorite_songs")
        )
        if (
            attrs.get("action") in {"add_favorite", "remove_favorite", "add", "remove"}
            and not named
        ):
            raise serializers.ValidationError(
                {"song_data": "Send the song that was added or removed."}
            )
        return attrs

    def change(self) -> FavoritesChange:
        """The valid body as a value.

        Without an action and without a list nothing is changed: "add" of no song recomputes the answer.
        """
        values = self.validated_data
        ids: SongIds | None = values.get("favorite_song_ids")
        songs = [named_song(song) for song in values.get("favorite_songs") or ()]
        listed = ids is not None or values.get("favorite_songs") is not None
        ids = ids or SongIds(ids=())
        if data := values.get("song_data"):
            if data.get("song_id") is not None:
                ids = ids.joined(data["song_id"])
            else:
                songs.append(named_song(data))
        return FavoritesChange(
            member_key=values["member_key"],
            action=_ACTIONS.get(values.get("action") or "", "list" if listed else "add"),
            song_ids=ids.ids,
            songs=tuple(songs),
            unresolved=ids.unresolved(),
        )


class WarmInput(serializers.Serializer):
    """How many members, most recently active first."""

    limit = serializers.IntegerField(min_value=1, max_value=100_000, default=500)


class WhyInput(serializers.Serializer):
    song_id = serializers.IntegerField(min_value=1, max_value=LARGEST_SONG_ID)


# --- Answers --------------------------------------------------------------------------------------
class GroupSongOutput(serializers.Serializer):
    song_id = serializers.IntegerField()
    title_jp = serializers.CharField(allow_blank=True)
    title_kr = serializers.CharField(allow_blank=True)
    title_en = serializers.CharField(allow_blank=True)
    title_yomi = serializers.CharField(allow_blank=True)
    artist = serializers.CharField(allow_blank=True)
    artist_kr = serializers.CharField(allow_blank=True)
    tj_number = serializers.IntegerField(min_value=1, allow_null=True)
    ky_number = serializers.IntegerField(min_value=1, allow_null=True)


class CandidateOutput(GroupSongOutput):
    genre = serializers.CharField(allow_blank=True)
    mood = serializers.CharField(allow_blank=True)
    recommendation_type = serializers.ChoiceField(choices=("preference", "random"))
    matched_criteria = serializers.ListField(child=serializers.CharField())
    match_score = serializers.FloatField(min_value=0, max_value=1)
    reason = serializers.CharField(allow_blank=True)


class GroupOutput(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment]
    tagline = serializers.CharField(help_text="The section's heading; never empty.")
    songs = GroupSongOutput(many=True)


class UnresolvedOutput(serializers.Serializer):
    """An id or a song that is not in the catalog, or a field whose value was not understood."""

    song_id = extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})(
        serializers.JSONField
    )(required=False)
    title = serializers.CharField(required=False)
    artist = serializers.CharField(required=False, allow_blank=True)
    did_you_mean = serializers.ListField(child=serializers.CharField(), required=False)
    field = serializers.CharField(required=False)
    value = serializers.CharField(required=False, allow_blank=True)


class AnswerParts(serializers.Serializer):
    run_id = serializers.UUIDField()
    source = serializers.ChoiceField(choices=("cache", "local", "model"))  # type: ignore[assignment]
    degraded = serializers.CharField(
        allow_null=True, help_text="Why it is less than it could be: busy, database, no_model …"
    )
    favorite_song_ids = serializers.ListField(child=serializers.IntegerField())
    unresolved = UnresolvedOutput(many=True)


class RecommendOutput(AnswerParts):
    status = serializers.ChoiceField(choices=("completed",))
    message = serializers.CharField()
    generated_date = serializers.DateField(help_text="A calendar day in Asia/Seoul.")
    groups = GroupOutput(many=True)
    candidates = CandidateOutput(many=True)


class CachedOutput(serializers.Serializer):
    favorite_song_ids = serializers.ListField(child=serializers.IntegerField())
    groups = GroupOutput(many=True)
    candidates = CandidateOutput(many=True)
    generated_date = serializers.CharField()
    cached = serializers.BooleanField()


class FavoritesUpdatedOutput(AnswerParts):
    status = serializers.ChoiceField(choices=("queued",))
    message = serializers.CharField()
    task_id = serializers.UUIDField(allow_null=True)
    generated_date = serializers.DateField()


class WarmOutput(serializers.Serializer):
    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=("queued",))
