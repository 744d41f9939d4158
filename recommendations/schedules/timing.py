"""When schedules are due, in Asia/Seoul."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask


def last_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """The newest moment up to `now` that the schedule names; every scheduler comes to the same one."""
    if task.interval is not None:
        every_s = task.interval.schedule.run_every.total_seconds()
        return datetime.fromtimestamp(now.timestamp() // every_s * every_s, tz=UTC)
    if task.crontab is not None:
        return next((at for at in _moments(task.crontab, now, step=-1) if at <= now), None)
    if task.clocked is not None:
        return task.clocked.clocked_time if task.clocked.clocked_time <= now else None
    return now.replace(second=0, microsecond=0)


def next_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """The first moment after `now`; None when there is none or it is not known beforehand."""
    if not task.enabled:
        return None
    if task.interval is not None:
        every_s = task.interval.schedule.run_every.total_seconds()
        return datetime.fromtimestamp((now.timestamp() // every_s + 1) * every_s, tz=UTC)
    if task.crontab is not None:
        return next((at for at in _moments(task.crontab, now, step=1) if at > now), None)
    if task.clocked is not None and task.clocked.clocked_time > now:
        return task.clocked.clocked_time
    return None


def _moments(crontab: CrontabSchedule, start: datetime, *, step: int) -> Iterator[datetime]:
    """The schedule's moments from the day of `start` on, forwards (1) or backwards (-1), for four years."""
    rule, zone = crontab.schedule, ZoneInfo(str(crontab.timezone))
    day = start.astimezone(zone).date()
    hours, minutes = sorted(rule.hour), sorted(rule.minute)
    for number in range(4 * 366):
        that_day = day + timedelta(days=step * number)
        if not (
            that_day.month in rule.month_of_year
            and that_day.day in rule.day_of_month
            and that_day.isoweekday() % 7 in rule.day_of_week
        ):
            continue
        times = [(hour, minute) for hour in hours for minute in minutes]
        for hour, minute in times[::step]:
            yield datetime(that_day.year, that_day.month, that_day.day, hour, minute, tzinfo=zone)


def rows(*, cron: str = "", every_s: int = 0) -> dict[str, Any]:
    """The schedule row under its field name in PeriodicTask; {} when neither is given."""
    if every_s:
        every, _created = IntervalSchedule.objects.get_or_create(
            every=every_s, period=IntervalSchedule.SECONDS
        )
        return {"interval": every}
    if not cron:
        return {}
    minute, hour, day, month, weekday = cron.split()
    crontab, _created = CrontabSchedule.objects.get_or_create(
        minute=minute,
        hour=hour,
        day_of_month=day,
        month_of_year=month,
        day_of_week=weekday,
        timezone="Asia/Seoul",
    )
    return {"crontab": crontab}
