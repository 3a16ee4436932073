"""The gateway asks a real gallery for the names that its messages tell."""

from __future__ import annotations

import pytest

from gateway_svc.wire import GalleryNames
from tessera.chassis.channel import open_channel
from tessera.chassis.ports import free_port
from tessera.domain.errors import UnavailableError
from tessera.v1 import subject_pb2
from tests.gallery_world import World, embedded, enroll, person


async def test_a_subject_is_named_until_it_is_erased(world: World) -> None:
    """Then, and where nobody ever was, there is no name, and no error that would hold a message up."""
    await enroll(world, "ada", embedded(person(1)), display_name="Ada Lovelace")
    names = GalleryNames(world.channel)
    assert await names.name("default", "ada") == "Ada Lovelace"
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(collection_id="default", subject_id="ada"))
    assert await names.name("default", "ada") == ""
    assert await names.name("no-such-collection", "ada") == ""
    assert await names.name("default", "no such id/") == ""


async def test_a_gallery_that_does_not_answer_says_so() -> None:
    """So that whoever asked may go on without the name."""
    async with open_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(UnavailableError, match="gallery"):
            await GalleryNames(channel).name("default", "ada")
