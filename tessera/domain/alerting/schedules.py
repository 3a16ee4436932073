"""When a rule holds: hours of the week in a time zone, as clocks on its walls show them.

In the night in which the clocks go back, an hour comes twice and counts both times; the one that is left out in spring
is in no schedule.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tessera.domain.errors import InvalidInputError

_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)")
MAX_HOURS = 32


class Day(StrEnum):
    """A day of the week."""

    MON = "MON"
    TUE = "TUE"
    WED = "WED"
    THU = "THU"
    FRI = "FRI"
    SAT = "SAT"
    SUN = "SUN"


_DAYS = tuple(Day)


@dataclass(frozen=True, slots=True)
class Hours:
    """From one time of the day to another, on some days; over midnight where it ends before it begins."""

    start: str
    """`HH:MM`, inclusive."""
    end: str
    """`HH:MM` or `24:00`, exclusive. Equal to `start`: the whole day."""
    days: tuple[Day, ...] = _DAYS
    """On which it begins."""

    def __post_init__(self) -> None:
        """Check the times and the days.

        Raises:
            InvalidInputError: a time is none, or no day is named.
        """
        _minutes("schedule.hours.start", self.start)
        _minutes("schedule.hours.end", self.end)
        if not self.days:
            raise InvalidInputError("schedule.hours.days", "none", ", ".join(Day))

    def minutes(self) -> set[int]:
        """The minutes of the week that it covers; 0 is Monday 00:00."""
        start, end = _minutes("schedule.hours.start", self.start), _minutes("schedule.hours.end", self.end)
        length = (end - start) % _DAY_MINUTES or _DAY_MINUTES
        firsts = [_DAYS.index(day) * _DAY_MINUTES + start for day in self.days]
        return {(first + step) % _WEEK_MINUTES for first in firsts for step in range(length)}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hours of the week; the time zone says whose."""

    hours: tuple[Hours, ...]
    time_zone: str = "UTC"
    """A name of the IANA time zone database, such as `Europe/Berlin`."""
    outside: bool = False
    """The hours are those in which the rule does not hold: business hours, for a rule of the time after them."""

    def __post_init__(self) -> None:
        """Check the zone and the hours.

        Raises:
            InvalidInputError: the zone is unknown, or there are no hours or too many.
        """
        if not 1 <= len(self.hours) <= MAX_HOURS:
            raise InvalidInputError("schedule.hours", f"{len(self.hours)} of them", f"1 to {MAX_HOURS}")
        _zone(self.time_zone)

    def compiled(self) -> WeekTable:
        """A table to ask many times."""
        covered = set[int]().union(*(hours.minutes() for hours in self.hours))
        return WeekTable(_zone(self.time_zone), frozenset(covered), outside=self.outside)


class WeekTable:
    """A schedule that answers by lookups: each minute of UTC is worked out once.

    Args:
        zone: of the schedule.
        covered: minutes of the week that its hours cover.
        outside: it holds in the others.
    """

    _REMEMBERED = 4096

    def __init__(self, zone: zoneinfo.ZoneInfo, covered: frozenset[int], *, outside: bool) -> None:
        self._zone = zone
        self._covered = covered
        self._outside = outside
        self._holds: dict[int, bool] = {}

    def holds_at(self, at_s: float) -> bool:
        """Whether the schedule holds at a moment, in seconds since 1970."""
        minute = int(at_s // 60)
        holds = self._holds.get(minute)
        if holds is None:
            if len(self._holds) >= self._REMEMBERED:
                self._holds.clear()
            local = datetime.fromtimestamp(minute * 60, UTC).astimezone(self._zone)
            of_week = local.weekday() * _DAY_MINUTES + local.hour * 60 + local.minute
            holds = self._holds[minute] = (of_week in self._covered) is not self._outside
        return holds


def _minutes(field: str, clock: str) -> int:
    found = _CLOCK.fullmatch(clock)
    if found is None or (field.endswith("start") and clock == "24:00"):
        raise InvalidInputError(field, clock, "HH:MM, as on a clock of 24 hours")
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        allowed = "a name of the IANA time zone database, such as Europe/Berlin"
        raise InvalidInputError("schedule.time_zone", name, allowed) from None
