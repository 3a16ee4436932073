"""Numbers are written as people read them, and never say more or less than they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.error_rates import Interval
from tessera.report import numbers
from tessera.report.drawing import Scale, normal_deviate


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.0186, "1.86 %"), (9.99e-5, "0.00999 %"), (0.5, "50.0 %"), (9.999e-3, "1.00 %")],
)
def test_percent(rate: float, text: str) -> None:
    """Three digits that count."""
    assert numbers.percent(rate) == text


@given(st.floats(min_value=1e-9, max_value=1.0))
def test_percent_is_the_rate_to_half_a_per_cent_of_itself(rate: float) -> None:
    """Reading it back gives the rate, and no exponent is in it."""
    text = numbers.percent(rate).removesuffix(" %")
    assert "e" not in text
    assert float(text) / 100.0 == pytest.approx(rate, rel=0.0051)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1e-4, "1 in 10,000"),
        (0.3, "1 in 3.3"),
        (0.5, "1 in 2"),
        (0.0, "never"),
        (1.0, "always"),
        (3 / 11_089_991, "1 in 3,700,000"),
    ],
)
def test_one_in(rate: float, text: str) -> None:
    """An event among so many."""
    assert numbers.one_in(rate) == text


@pytest.mark.parametrize(("rate", "text"), [(1e-4, "10⁻⁴"), (1e-1, "10⁻¹"), (1.0, "10⁰")])
def test_power_of_ten(rate: float, text: str) -> None:
    """With its exponent above the line."""
    assert numbers.power_of_ten(rate) == text


def test_intervals_and_counts() -> None:
    """Bounds keep their digits; a single one is not many."""
    assert numbers.percent_between(Interval(0.0111, 0.027)) == "1.11 to 2.70 %"
    assert numbers.ratio_between(Interval(1.0, 12.3)) == "1.0 to 12"
    assert numbers.counted(1, "sample", "samples") == "1 sample"
    assert numbers.counted(2_986, "person", "people") == "2,986 people"
    assert numbers.p_value(0.0004) == "p < 0.001"


@given(st.floats(1e-6, 0.4), st.floats(1e-6, 0.4))
def test_normal_deviate_axes_keep_the_order(one: float, other: float) -> None:
    """A larger rate is never drawn before a smaller one, and all are within the picture."""
    scale = Scale(1e-6, 0.4, 60.0, 740.0, normal_deviate)
    assert (scale(one) <= scale(other)) == (one <= other) or scale(one) == pytest.approx(scale(other))
    assert 60.0 <= scale(one) <= 740.0
