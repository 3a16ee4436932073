"""The number of series that a gallery shows does not grow with the people in it, and none names one of them."""

from __future__ import annotations

from tessera.v1 import collection_pb2
from tests.gallery_world import World, embedded, enroll, identify, person, probe_of, verify


async def test_more_subjects_make_no_more_series(world: World) -> None:
    """After each kind of question was asked once, forty more people and their questions add no series."""
    await ask_everything(world, 0)
    before = series(world)
    for number in range(1, 41):
        await ask_everything(world, number)
    after = series(world)
    assert after == before


async def test_no_series_names_a_person(world: World) -> None:
    """No label of any series has a subject's id, a name, a request's id or a template's."""
    await enroll(world, "subject-ada", probe_of(person(3)), display_name="Ada-by-name", request_id="request-77")
    await verify(world, "subject-ada", embedded(person(3)), request_id="request-78")
    told = " ".join(series(world))
    assert "tessera_gallery_decisions_total" in told
    for secret in ("subject-ada", "Ada-by-name", "request-7", "template-"):
        assert secret not in told


async def ask_everything(world: World, number: int) -> None:
    """Enrol one more person, and ask for him as each question can end."""
    who, face = f"subject-{number}", person(number)
    await enroll(world, who, probe_of(face), duplicate_policy=collection_pb2.DUPLICATE_POLICY_IGNORE)
    await verify(world, who, probe_of(face))
    await verify(world, who, embedded(person(number + 9)))
    await verify(world, who, probe_of())
    await identify(world, probe_of(face))
    await identify(world, embedded(person(number + 7, 0.7)))


def series(world: World) -> set[str]:
    """Every series by name and labels."""
    families = world.gallery.metrics.registry.collect()
    return {f"{sample.name}{sorted(sample.labels.items())}" for family in families for sample in family.samples}
