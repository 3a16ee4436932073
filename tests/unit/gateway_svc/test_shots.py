"""Best shots behind links: the one picture, until the link ends, and nothing for whoever changes a link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from gateway_svc import texts
from gateway_svc.messages import message_of, payload
from gateway_svc.pages import Pages
from gateway_svc.settings import GatewaySettings
from gateway_svc.shots import SignedLinks
from tessera.chassis.clock import ManualClock
from tessera.chassis.ports import free_port
from tessera.chassis.settings import Secret
from tessera.domain.errors import InvalidInputError, UnavailableError
from tests.gateway_world import START, alert, owed

KEY = Secret("a-key-for-links-alone")


class Kept:
    """Pictures by id."""

    def __init__(self) -> None:
        self.shots = {"s:1": b"\xff\xd8 Ada"}
        self.is_away = False

    async def shot(self, shot_id: str) -> bytes | None:
        if self.is_away:
            raise UnavailableError("ingest")
        return self.shots.get(shot_id)


class Served:
    """Pages that listen, their clock, and what they serve."""

    def __init__(self) -> None:
        self.clock, self.kept, port = ManualClock(START), Kept(), free_port()
        self.links = SignedLinks(f"http://127.0.0.1:{port}/", KEY, 60.0)
        self.pages = Pages("127.0.0.1", port, self.links, self.kept, self.clock)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    served = Served()
    await served.pages.start()
    try:
        yield served
    finally:
        await served.pages.stop()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """They serve until the end of the test."""
    async with serving() as running:
        yield running


async def fetched(url: str) -> tuple[int, bytes, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read(), answer.headers["Cache-Control"]


async def test_a_link_shows_its_picture_until_it_ends(served: Served) -> None:
    """And nobody between keeps it."""
    link = served.links.link("s:1", START)
    assert await fetched(link.url) == (200, b"\xff\xd8 Ada", "private, no-store")
    served.clock.advance(61)
    assert (await fetched(link.url))[0] == 403


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s%3A1", "s%3A2"),
        ("expires=", "expires=9"),
        ("signature=", "signature=0"),
        ("&signature=", "&s="),
        ("expires=", "e="),
    ],
)
async def test_a_changed_link_shows_nothing(served: Served, old: str, new: str) -> None:
    """Another picture, a later end, another signature, or a part that is missing."""
    url = served.links.link("s:1", START).url
    assert old in url
    assert (await fetched(url.replace(old, new)))[0] == 403
    other = SignedLinks(url.partition("/shots")[0], Secret("another-key-for-links"), 60.0)
    assert (await fetched(other.link("s:1", START).url))[0] == 403


async def test_a_picture_that_is_gone_or_cannot_be_asked_for_says_so(served: Served) -> None:
    """404 for good, 503 for now."""
    assert (await fetched(served.links.link("s:9", START).url))[0] == 404
    served.kept.is_away = True
    assert (await fetched(served.links.link("s:1", START).url))[0] == 503


def test_messages_link_to_the_best_shot() -> None:
    """In the body and in the text; without a shot, or without links, there is none."""
    links = SignedLinks("https://tessera.example", KEY, 60.0)
    happening = alert()
    shown = replace(happening, facts={**happening.facts, "best_shot_id": "s:1"})
    told = message_of(owed(shown), START, 0, links)
    link = links.link("s:1", START)
    assert payload(told)["shot"] == {"url": link.url, "expires_at": "2026-11-23T12:01:00.000Z"}
    assert link.url in texts.body(told)
    assert "shot" not in payload(message_of(owed(happening), START, 0, links))
    assert "shot" not in payload(message_of(owed(shown), START, 0))


def test_links_need_a_key() -> None:
    """One that cannot be guessed; and a URL that is one."""
    for settings in ({"link_key": Secret("short")}, {}, {"public_url": "tessera.example", "link_key": KEY}):
        with pytest.raises(InvalidInputError):
            GatewaySettings(**{"public_url": "https://tessera.example", **settings})  # type: ignore[arg-type]
