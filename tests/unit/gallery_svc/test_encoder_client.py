"""The encoder's client: values in, values out, and each refusal the domain's own error."""

from __future__ import annotations

import pytest

from tessera.chassis.channel import open_channel
from tessera.chassis.ports import free_port
from tessera.client.encoder import EncoderClient, EncoderState, Priority
from tessera.domain.embedding import Modality
from tessera.domain.errors import ImageRejectedError, UnavailableError
from tessera.domain.reasons import Reason
from tests.gallery_world import DIMENSIONS, MODEL, person, picture, running_encoder


async def test_a_picture_becomes_observations() -> None:
    """Largest first, with the model that made them and where the time went."""
    async with running_encoder() as (_, encoder):
        seen = await encoder.encode(
            picture(person(0), person(1)).data, priority=Priority.INTERACTIVE, deadline_s=5, model_id=MODEL
        )
    assert [one.box.width_px for one in seen.observations] == [100.0, 99.0]
    assert (seen.model_id, seen.width_px, seen.stage_times.total_ms) == (MODEL, 640, 2.0)


async def test_a_refused_picture_names_its_field() -> None:
    """With the reason that the encoder gave."""
    async with running_encoder() as (_, encoder):
        with pytest.raises(ImageRejectedError) as refused:
            await encoder.encode(
                picture(error="TOO_MANY_PIXELS").data, priority=Priority.ENROLMENT, deadline_s=5, field="samples[1]"
            )
    assert (refused.value.reason, refused.value.field) == (Reason.TOO_MANY_PIXELS, "samples[1]")


async def test_encoders_are_listed() -> None:
    """As values."""
    async with running_encoder() as (_, encoder):
        (one,) = await encoder.list_encoders(Modality.FACE)
    assert (one.model_id, one.dimensions, one.state, one.default) == (MODEL, DIMENSIONS, EncoderState.READY, True)


async def test_nobody_at_the_address_is_an_unavailable_encoder() -> None:
    """And not a transport's error."""
    async with open_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(UnavailableError, match="encoder"):
            await EncoderClient(channel).encode(b"x", priority=Priority.STREAM, deadline_s=5)
