"""One suite, several stores: calibrations that were fitted, and which of them decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gallery_svc.store.calibration_records import SHIPPED, CalibrationChoice, CalibrationRecord
from gallery_svc.store.protocol import Store
from tessera.domain.errors import AlreadyExistsError, RevisionChangedError
from tessera.domain.ids import CalibrationId
from tests.congruence.store_world import AT, MODEL, NEXT_MODEL

FIRST = CalibrationRecord(CalibrationId("door-1"), MODEL, AT, '{"schema": 2, "ü": "\\n"}', "r-1", "d" * 64)
SECOND = replace(FIRST, calibration_id=CalibrationId("door-2"), created_at=AT + timedelta(seconds=1), request_id="")


async def test_calibrations_come_back_as_they_went_in(store: Store) -> None:
    """Each is found by its id and all are listed, oldest first; there are none at first."""
    assert await store.list_calibrations() == ()
    assert await store.find_calibration(FIRST.calibration_id) is None
    await store.add_calibration(SECOND)
    await store.add_calibration(FIRST)
    assert await store.find_calibration(FIRST.calibration_id) == FIRST
    assert await store.list_calibrations() == (FIRST, SECOND)


async def test_a_calibration_is_never_changed(store: Store) -> None:
    """The same one again does nothing; another one of its id is refused and leaves the first as it was."""
    await store.add_calibration(FIRST)
    await store.add_calibration(FIRST)
    with pytest.raises(AlreadyExistsError):
        await store.add_calibration(replace(FIRST, text="{}"))
    assert await store.list_calibrations() == (FIRST,)


async def test_a_choice_follows_the_one_before_it(store: Store) -> None:
    """Choices are kept for each model; a retry does nothing; one that does not follow is refused."""
    assert await store.calibration_choices() == {}
    first = CalibrationChoice(MODEL).choosing(FIRST.calibration_id, AT)
    other = CalibrationChoice(NEXT_MODEL).choosing(CalibrationId("other"), AT)
    await store.choose_calibration(first)
    await store.choose_calibration(other)
    await store.choose_calibration(first)
    with pytest.raises(RevisionChangedError) as refused:
        await store.choose_calibration(CalibrationChoice(MODEL).choosing(SECOND.calibration_id, AT))
    assert (refused.value.expected, refused.value.actual) == (0, 1)
    assert await store.calibration_choices() == {MODEL: first, NEXT_MODEL: other}


async def test_a_choice_goes_back_the_way_it_came(store: Store) -> None:
    """Two choices are rolled back to the shipped calibration, and not further."""
    choice = CalibrationChoice(MODEL)
    for record in (FIRST, SECOND):
        choice = choice.choosing(record.calibration_id, AT)
        await store.choose_calibration(choice)
    for expected in (FIRST.calibration_id, SHIPPED):
        earlier = (await store.calibration_choices())[MODEL].rolled_back(AT)
        assert earlier is not None
        await store.choose_calibration(earlier)
        assert (await store.calibration_choices())[MODEL].active_id == expected
    assert (await store.calibration_choices())[MODEL].rolled_back(AT) is None
    assert (await store.calibration_choices())[MODEL].revision == 4
