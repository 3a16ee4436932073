"""Plans out of costs: linear in what is asked, whole in processes, and plain about where they end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.capacity import Costs, Demand, busy_cores, plan
from tessera.domain.errors import InvalidInputError

COSTS = Costs("a machine", 0.03, 0.02, 0.01, 0.005, 0.002, 0.004, 0.0005, 0.05, 5e-9, 0.0001)
DEMAND = Demand(cameras=200, fps=5.0, subjects=1_000_000)


def test_a_plan_is_what_its_parts_cost() -> None:
    """Counted by hand: 1,000 frames/s, 300 faces/s, each face one search of a million templates."""
    cores = busy_cores(DEMAND, COSTS)
    assert cores["encoder"] == pytest.approx(1000 * 0.03 + 300 * 0.02)
    assert cores["ingest"] == pytest.approx(200 * 0.01 + 1000 * 0.005)
    assert cores["gallery"] == pytest.approx(300 * 0.002 + 300 * (0.0001 + 1_000_000 * 5e-9))
    assert cores["store"] == pytest.approx(0.05 + 300 * 0.0005)


@given(st.integers(0, 5000), st.floats(0, 30), st.integers(0, 10_000_000))
def test_more_never_needs_less(cameras: int, fps: float, subjects: int) -> None:
    """One camera, frame or subject more takes as many cores, processes and bytes, or more."""
    demand = Demand(cameras, fps, subjects)
    less = plan(demand, COSTS)
    for more in (
        replace(demand, cameras=cameras + 1),
        replace(demand, fps=fps + 1),
        replace(demand, subjects=subjects + 1),
    ):
        made = plan(more, COSTS)
        assert made.busy_cores >= less.busy_cores
        assert made.cores >= less.cores
        assert all(made.needs[name].processes >= need.processes for name, need in less.needs.items())


@given(st.floats(0.05, 1.0))
def test_there_are_cores_for_the_share_that_may_be_busy(busy: float) -> None:
    """The cores to have, at that share, do the work; one fewer would not."""
    made = plan(replace(DEMAND, busy=busy), COSTS)
    assert made.cores * busy >= made.busy_cores - 1e-9
    assert (made.cores - 1) * busy < made.busy_cores


def test_nothing_moves_nothing_is_encoded() -> None:
    """With no motion the cameras are still looked at, and the encoder has nothing to do."""
    cores = busy_cores(replace(DEMAND, moving=0.0), COSTS)
    assert cores["encoder"] == 0
    assert cores["ingest"] > 0


def test_the_index_is_in_each_gallery() -> None:
    """A million templates of 128 numbers are 294 MB, as many times as there are galleries."""
    need = plan(DEMAND, COSTS).needs["gallery"]
    assert need.memory_mb == pytest.approx(need.processes * (250 + 294.4))


def test_a_plan_past_one_machine_says_so() -> None:
    """A hundred million templates get remarks that name shards; ten thousand get none."""
    remarks = plan(replace(DEMAND, subjects=100_000_000), COSTS).remarks
    assert any("shards" in remark for remark in remarks)
    assert plan(replace(DEMAND, cameras=4, subjects=10_000), COSTS).remarks == ()


@pytest.mark.parametrize(
    "change",
    [{"cameras": -1}, {"fps": -0.1}, {"subjects": -1}, {"moving": 1.1}, {"busy": 0.0}, {"templates_each": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_a_demand_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    """The error names the field and what is allowed."""
    with pytest.raises(InvalidInputError, match=next(iter(change))):
        replace(DEMAND, **change)  # type: ignore[arg-type]


def test_a_cost_below_nothing_is_refused() -> None:
    """Costs come from a file; one that cannot be is named."""
    with pytest.raises(InvalidInputError, match="encoder_face_s"):
        replace(COSTS, encoder_face_s=-1.0)
