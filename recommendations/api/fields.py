"""Defines the fields of posted bodies, lenient where contract.md says that callers differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ..serving.parsing.request_parsing import (
    LONGEST_MEMBER_KEY,
    SongIds,
    parse_member_key,
    parse_song_id,
)

MOST_FAVORITES = 10_000
MOST_FILTER_VALUES = 1_000
LONGEST_TEXT = 300
_ID_SCHEMA: dict[str, Any] = {
    "oneOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]{1,19}$"}]
}


# --- Members --------------------------------------------------------------------------------------
def member_key_of(value: Any) -> str:
    """The key of a member from a body or an address. Raises ValidationError for what is no id."""
    try:
        return parse_member_key(value)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from None


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "minLength": 1, "maxLength": LONGEST_MEMBER_KEY},
            {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        ],
        "nullable": True,
    }
)
class MemberIdField(serializers.Field):
    def to_internal_value(self, data: Any) -> str:
        return member_key_of(data)

    def to_representation(self, value: str) -> str:
        return value


# --- Songs ----------------------------------------------------------------------------------------
@extend_schema_field(
    {"type": "array", "items": _ID_SCHEMA, "maxItems": MOST_FAVORITES, "nullable": True}
)
class SongIdsField(serializers.Field):
    """Up to 10 000 ids, read in one go: a serializer field per id would take longer than the answer."""

    def __init__(self, *, most: int = MOST_FAVORITES, **kwargs: Any) -> None:
        self.most = most
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> SongIds:
        if not isinstance(data, list):
            raise serializers.ValidationError("Must be a list of song ids.")
        if len(data) > self.most:
            raise serializers.ValidationError(f"Must hold at most {self.most:,} ids.")
        numbers: list[int] = []
        wrong: dict[Any, Any] = {}
        for place, value in enumerate(data):
            if value is None:
                continue
            try:
                numbers.append(parse_song_id(value))
            except ValueError:
                wrong[place] = ["Must be a number."]
        if wrong:
            raise serializers.ValidationError(wrong)
        return SongIds.of(numbers)

    def to_representation(self, value: SongIds) -> list[int]:
        return list(value.ids)


@extend_schema_field({"oneOf": _ID_SCHEMA["oneOf"], "nullable": True})
class SongIdField(serializers.Field):
    def to_internal_value(self, data: Any) -> SongIds:
        try:
            return SongIds.of([parse_song_id(data)])
        except ValueError:
            raise serializers.ValidationError("Must be a number.") from None


# --- Texts, choices, numbers ----------------------------------------------------------------------
class Text(serializers.CharField):
    """Text that may be null or absent; both are ""."""

    def __init__(self, **kwargs: Any) -> None:
        defaults = {"required": False, "allow_null": True, "allow_blank": True}
        super().__init__(**defaults | {"max_length": LONGEST_TEXT} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str):
            data = data.replace("\x00", "")  # can't be stored everywhere
        return str(super().to_internal_value(data))


class NamesField(serializers.ListField):
    """Names for a filter; one text counts as a list of one."""

    child = serializers.CharField(max_length=LONGEST_TEXT)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"required": False, "allow_null": True, "max_length": MOST_FILTER_VALUES} | kwargs
        )

    def to_internal_value(self, data: Any) -> list[str]:
        return [
            str(name)
            for name in super().to_internal_value([data] if isinstance(data, str) else data)
        ]


class Choice(serializers.ChoiceField):
    """One of a closed set, in any case; null and "" mean the default."""

    def __init__(self, choices: Iterable[str], **kwargs: Any) -> None:
        defaults = {"required": False, "allow_null": True, "allow_blank": True}
        super().__init__(choices=[str(choice) for choice in choices], **defaults | kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data.strip().lower() if isinstance(data, str) else data)


class LocaleChoice(Choice):
    """`ko`, `ko-KR` and `ko_KR` are the same language."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(
            data[:2] if isinstance(data, str) and data[2:3] in {"-", "_"} else data
        )


class Dial(serializers.FloatField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=1, required=False, allow_null=True, **kwargs)
