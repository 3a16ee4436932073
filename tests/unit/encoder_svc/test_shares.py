"""Who is owed the next turn: strict order, and a share for those who would starve."""

from __future__ import annotations

import pytest

from encoder_svc.scheduling.shares import Shares
from encoder_svc.scheduling.work import WorkClass

RESERVED = {WorkClass.ENROLMENT: 0.1, WorkClass.STREAM: 0.2}
PATIENCE_S = 0.1
BATCH_S = 0.03
HOUR_S = 3600.0


def _flood(shares: Shares, waiting: tuple[WorkClass, ...], seconds: float = HOUR_S) -> dict[WorkClass, float]:
    """Who got the device, when these classes always have work that has waited long; in parts of the whole."""
    spent_s, now_s = dict.fromkeys(WorkClass, 0.0), 0.0
    while now_s < seconds:
        oldest_s = dict.fromkeys(waiting, now_s - 1.0)
        turn = shares.owed(oldest_s, now_s) or min(waiting, key=list(WorkClass).index)
        now_s += BATCH_S
        spent_s[turn] += BATCH_S
        shares.spend(turn, BATCH_S, now_s)
    return {work_class: part_s / now_s for work_class, part_s in spent_s.items()}


def test_every_class_gets_its_share_of_an_hour_of_flood() -> None:
    """Doors that are asked for without end leave a tenth to enrolments and a fifth to cameras, and keep the rest."""
    parts = _flood(Shares(RESERVED, PATIENCE_S), tuple(WorkClass))
    assert parts[WorkClass.ENROLMENT] == pytest.approx(0.1, abs=0.01)
    assert parts[WorkClass.STREAM] == pytest.approx(0.2, abs=0.01)
    assert parts[WorkClass.INTERACTIVE] == pytest.approx(0.7, abs=0.02)


def test_what_nobody_wants_goes_to_the_first_in_order() -> None:
    """A share is no reservation: without enrolments, doors get what those would have had."""
    parts = _flood(Shares(RESERVED, PATIENCE_S), (WorkClass.INTERACTIVE, WorkClass.STREAM), 600.0)
    assert parts[WorkClass.STREAM] == pytest.approx(0.2, abs=0.01)
    assert parts[WorkClass.INTERACTIVE] == pytest.approx(0.8, abs=0.01)


def test_nobody_is_owed_anything_before_it_has_waited() -> None:
    """A frame that has just come lets a verify call go first."""
    shares = Shares(RESERVED, PATIENCE_S)
    shares.spend(WorkClass.INTERACTIVE, 1.0, 1.0)
    assert shares.owed({WorkClass.STREAM: 0.95}, 1.0) is None
    assert shares.owed({WorkClass.STREAM: 0.85}, 1.0) is WorkClass.STREAM


def test_who_has_had_its_share_waits_in_order() -> None:
    """Strict order decides between those who are owed nothing."""
    shares = Shares(RESERVED, PATIENCE_S)
    shares.spend(WorkClass.STREAM, 0.5, 1.0)
    shares.spend(WorkClass.INTERACTIVE, 0.5, 1.0)
    assert shares.owed({WorkClass.STREAM: 0.0, WorkClass.INTERACTIVE: 0.0}, 1.0) is None


def test_whoever_misses_most_goes_first() -> None:
    """Of two that are owed time."""
    shares = Shares(RESERVED, PATIENCE_S)
    shares.spend(WorkClass.INTERACTIVE, 1.0, 1.0)
    assert shares.owed(dict.fromkeys(WorkClass, 0.0), 1.0) is WorkClass.STREAM


def test_a_class_without_a_share_is_never_owed_one() -> None:
    """A share of 0 is strict order."""
    shares = Shares({}, PATIENCE_S)
    shares.spend(WorkClass.INTERACTIVE, 1.0, 1.0)
    assert shares.owed(dict.fromkeys(WorkClass, 0.0), 1.0) is None


def test_what_lies_back_is_forgotten() -> None:
    """A night of verify calls gives cameras no claim on the whole morning."""
    shares = Shares(RESERVED, PATIENCE_S)
    shares.spend(WorkClass.INTERACTIVE, HOUR_S, HOUR_S)
    now_s = HOUR_S + 60.0
    turns = 0
    while shares.owed({WorkClass.STREAM: HOUR_S, WorkClass.INTERACTIVE: HOUR_S}, now_s) is WorkClass.STREAM:
        now_s += BATCH_S
        shares.spend(WorkClass.STREAM, BATCH_S, now_s)
        turns += 1
    assert turns <= 2
