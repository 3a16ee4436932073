"""`python -m gallery_svc.store_upkeep check|repair|migrate`: looks at a store, mends it, or brings it to this schema.

For the hour in which no gallery starts: it opens the store with the gallery's own settings, `TESSERA_GALLERY_...`, and
listens nowhere. `tessera store` runs it. A finding is one line with what to do about it. Ends with 0 when all is whole,
3 when something is not, 2 when the store could not be looked at, 4 when it is away. It never guesses keys: a value
whose key is missing ends it, and is not mended away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from prometheus_client import CollectorRegistry

from gallery_svc.ground import open_store
from gallery_svc.ids import time_ordered_id
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.settings import PREFIX, GallerySettings
from gallery_svc.store.change_records import StoreFinding
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis_upkeep import RedisUpkeep
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs
from tessera.chassis.settings import MEMORY, load_settings
from tessera.domain.errors import (
    InvalidInputError,
    KeyMissingError,
    NotFoundError,
    StoreCorruptError,
    TesseraError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId

WHOLE, NOT_CHECKED, FINDINGS, AWAY = 0, 2, 3, 4

_REPAIR = "`tessera store repair`: it keeps who can be read whole, and erases the others"
_ADVICE = {
    "PENDING": f"{_REPAIR}; whoever wrote it was not told that it was done",
    "SEALED": f"put back a copy of the store if there is one; else {_REPAIR}",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done."""

    action: str
    """check, repair or migrate."""
    collection_id: CollectionId | None = None
    """None: all."""
    as_json: bool = False


class StoreUpkeep:
    """Does it, and tells line by line.

    Args:
        store: not prepared yet.
        wanted: what is to be done.
        out: where lines go.
    """

    def __init__(self, store: Store, wanted: Wanted, out: TextIO) -> None:
        self._store = store
        self._wanted = wanted
        self._out = out

    async def run(self) -> int:
        """Do it; gives the exit code.

        Raises:
            InvalidInputError: the store may not be used as it is set up.
            KeyMissingError: a value is under a key that is not in the key file.
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        await self._prepare()
        if self._wanted.action == "migrate":
            self._say("the store has the schema of this version")
            return WHOLE
        chosen = await self._chosen()
        if self._wanted.action == "repair":
            for collection_id in chosen:
                for finding in await self._store.repair(collection_id):
                    self._tell(finding, "mended")
        found = [finding for collection_id in chosen for finding in await self._store.check(collection_id)]
        for finding in found:
            self._tell(finding, "found")
        if not found:
            self._say(f"{len(chosen)} collections were read: all that they hold agrees")
        return FINDINGS if found else WHOLE

    async def _prepare(self) -> None:
        try:
            if isinstance(self._store, RedisUpkeep):
                await self._store.prepare(migrate=self._wanted.action == "migrate")
            else:
                await self._store.prepare()
        except StoreCorruptError:
            # What this is here to look at: it looks at all of it, and does not stop at the first.
            if self._wanted.action == "migrate":
                raise

    async def _chosen(self) -> list[CollectionId]:
        known = [record.collection_id for record in await self._store.list_collections()]
        one = self._wanted.collection_id
        if one is not None and one not in known:
            raise NotFoundError("collection", one)
        return known if one is None else [one]

    def _tell(self, finding: StoreFinding, what: str) -> None:
        advice = _ADVICE.get(finding.what, _REPAIR) if what == "found" else ""
        if self._wanted.as_json:
            self._say("", **asdict(finding), next=advice, state=what)
            return
        place = f"{finding.collection_id}/{finding.shard:02d}" + (
            f" {finding.subject_id}" if finding.subject_id else ""
        )
        next_step = f"; next: {advice}" if advice else ""
        self._say(f"{what:<6} {finding.what:<7} {place}: {finding.detail}{next_step}")

    def _say(self, text: str, **facts: object) -> None:
        line = json.dumps(facts or {"message": text}) if self._wanted.as_json else text
        print(line, file=self._out, flush=True)


def wanted_from(arguments: Sequence[str]) -> Wanted:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m gallery_svc.store_upkeep")
    parser.add_argument("action", choices=("check", "repair", "migrate"))
    parser.add_argument("--collection", default="", metavar="ID", help="this one alone; default: all")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each finding")
    chosen = parser.parse_args(arguments)
    return Wanted(chosen.action, CollectionId(chosen.collection) if chosen.collection else None, chosen.json)


async def main(arguments: Sequence[str]) -> int:
    """Open the store that the settings name, and do what is asked.

    Returns:
        The exit code.
    """
    wanted = wanted_from(arguments)
    try:
        settings = load_settings(GallerySettings, PREFIX)
        if settings.store == MEMORY:
            raise InvalidInputError(PREFIX + "STORE", MEMORY, "a store that outlives its gallery")
        keyring, writer = Keyring.load(settings.keys), time_ordered_id("upkeep", SystemClock().now())
        store = open_store(settings, keyring, writer, GalleryMetrics(CollectorRegistry()))
        try:
            return await StoreUpkeep(store, wanted, sys.stdout).run()
        finally:
            await store.close()
    except TesseraError as error:
        print(_why(error), file=sys.stderr)
        return AWAY if isinstance(error, UnavailableError) else NOT_CHECKED


def _why(error: TesseraError) -> str:
    if isinstance(error, KeyMissingError):
        return f"{error}; nothing was changed: without that key its values cannot be told from damaged ones"
    return str(error)


if __name__ == "__main__":
    configure_logs("store-upkeep", level="error")
    sys.exit(asyncio.run(main(sys.argv[1:])))
