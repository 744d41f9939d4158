"""The calendar the product lives by."""

from __future__ import annotations

from zoneinfo import ZoneInfo

#: Days, schedules and parts of the day are those of Korea, wherever the servers stand.
SEOUL = ZoneInfo("Asia/Seoul")
