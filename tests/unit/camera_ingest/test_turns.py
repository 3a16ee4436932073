"""Turns at the encoder: given in order, bounded in number, fewer when answers are late and more when they are not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_ingest.turns import FIRST, LEAST, Turn, Turns


def given_of(turns: list[Turn]) -> list[bool]:
    return [turn.given.is_set() for turn in turns]


def rounds(turns: Turns, count: int, *, late: bool) -> None:
    """So many frames go and are answered, while two cameras always wait."""
    asked = [turns.ask() for _ in range(turns.window + 2)]
    for _ in range(count):
        first = next(turn for turn in asked if turn.given.is_set())
        asked.remove(first)
        first.answered(took_s=0.5 if late else 0.2, in_time_s=0.3)
        while turns.waiting < 2:
            asked.append(turns.ask())
    for turn in asked:
        turn.leave()


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    """A camera that has just had its turn stands behind every other one that waits."""
    turns = Turns()
    busy = [turns.ask() for _ in range(FIRST)]
    line = [turns.ask() for _ in range(3)]
    assert given_of(busy) == [True] * FIRST
    assert given_of(line) == [False] * 3
    busy[2].leave()
    busy[0].leave()
    assert given_of(line) == [True, True, False]


def test_whoever_leaves_the_line_does_not_hold_it_up() -> None:
    """A camera that is removed while it waits takes its place with it, and a turn that is over is over once."""
    turns = Turns()
    busy = [turns.ask() for _ in range(FIRST)]
    leaves, stays = turns.ask(), turns.ask()
    leaves.leave()
    leaves.leave()
    busy[0].leave()
    busy[0].leave()
    assert not leaves.given.is_set()
    assert stays.given.is_set()
    assert not turns.ask().given.is_set()


def test_late_answers_make_it_fewer_down_to_the_least_and_timely_ones_more() -> None:
    """What the encoder can do in time is found from both sides."""
    told: list[int] = []
    turns = Turns(told.append)
    rounds(turns, 40, late=True)
    assert turns.window == LEAST
    rounds(turns, 60, late=False)
    assert turns.window > FIRST
    assert told[0] == FIRST
    assert told[-1] == turns.window


def test_one_round_of_late_answers_is_one_fall() -> None:
    """Frames that were with the encoder together are late together: that is one piece of news."""
    turns = Turns()
    rounds(turns, 60, late=False)
    before = turns.window
    rounds(turns, before, late=True)
    assert before // 2 < turns.window < before


def test_timely_answers_say_nothing_while_nobody_waits() -> None:
    """An encoder that is asked for little has not shown that it can do more."""
    turns = Turns()
    for _ in range(50):
        turns.ask().answered(took_s=0.2, in_time_s=0.3)
    assert turns.window == FIRST


def test_how_long_answers_take_is_learnt_from_those_that_came() -> None:
    """A frame that the encoder had no time for says nothing of how long an answer takes."""
    turns = Turns()
    for _ in range(200):
        turns.ask().answered(0.2, in_time_s=0.3)
        turns.ask().answered(math.inf, in_time_s=0.3)
    assert turns.usual_s == pytest.approx(0.2, abs=0.001)


@given(st.lists(st.sampled_from(["ask", "late", "timely", "leave-line", "leave-encoder"]), max_size=200))
def test_never_more_than_the_window_are_given_and_none_is_lost(steps: list[str]) -> None:
    """Whatever happens in whatever order: turns go to the first in line as long as there is room, and only then."""
    turns, line, with_encoder = Turns(), list[Turn](), list[Turn]()
    for step in steps:
        given_now = 0
        if step == "ask":
            line.append(turns.ask())
        elif step == "leave-line" and line:
            line.pop().leave()
        elif with_encoder and step != "leave-line":
            turn = with_encoder.pop(0)
            if step == "leave-encoder":
                turn.leave()
            else:
                turn.answered(took_s=0.5 if step == "late" else 0.2, in_time_s=0.3)
        while line and line[0].given.is_set():
            with_encoder.append(line.pop(0))
            given_now += 1
        assert not any(turn.given.is_set() for turn in line)
        assert turns.waiting == len(line)
        # A window that has just shrunk is met once enough have come back; until then nobody is let in.
        assert not given_now or len(with_encoder) <= turns.window
        assert not line or len(with_encoder) >= turns.window


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_turn_that_is_given_at_once_needs_no_wait(count: int) -> None:
    """While there is room nobody stands in line."""
    turns = Turns()
    assert all(given_of([turns.ask() for _ in range(count)]))
    assert turns.waiting == 0
