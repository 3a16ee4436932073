"""Whom a message names: looked up when it is told, and never written into the outbox, where it would outlive its
erasure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from gateway_svc.happenings import Happening
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import UnavailableError

log = get_logger()

REMEMBERED_S = 20.0
"""A name that was erased is told for no longer than this."""
_MOST_REMEMBERED = 4096


class Names(Protocol):
    """Where names are looked up."""

    async def name(self, collection_id: str, subject_id: str) -> str:
        """The name of a subject as it stands now; empty: it has none, or there is no such subject.

        Raises:
            UnavailableError: nobody answers.
        """
        ...


class RememberedNames:
    """Names, remembered for a moment: the revisions of an alert come close together.

    Args:
        names: where they are looked up.
        clock: for how long.
    """

    def __init__(self, names: Names, clock: Clock) -> None:
        self._names = names
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, str]] = {}

    async def named(self, happening: Happening) -> Happening:
        """The same with the names of its subjects, save those that cannot be had: an alarm does not wait for a name."""
        facts = dict(happening.facts)
        if facts.get("subject_id"):
            facts["display_name"] = await self._name(facts)
        subjects = facts.get("subjects")
        if isinstance(subjects, list):
            names = await asyncio.gather(*(self._name(one) for one in subjects))
            facts["subjects"] = [{**one, "display_name": name} for one, name in zip(subjects, names, strict=True)]
        return replace(happening, facts=facts)

    async def _name(self, subject: Mapping[str, object]) -> str:
        key = (str(subject.get("collection_id", "")), str(subject.get("subject_id", "")))
        now_s = self._clock.monotonic_s()
        known = self._known.get(key)
        if known is not None and now_s - known[0] < REMEMBERED_S:
            return known[1]
        try:
            name = await self._names.name(*key)
        except UnavailableError as error:
            log.info("name.away", error=str(error))
            return ""
        self._known.pop(key, None)
        self._known[key] = (now_s, name)
        while len(self._known) > _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        return name
