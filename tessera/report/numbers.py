"""Numbers as people read them: `1 in 10,000`, `1.86 %`, `11,089,991`; the same in every table and every sentence."""

from __future__ import annotations

import math

from tessera.domain.error_rates import Interval

NONE = "\N{EN DASH}"
"""Where there is no number."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(rate: float) -> str:
    """`1.86 %`, `0.00999 %`, `0 %`: three digits that count, never an exponent."""
    return f"{_three_digits(100.0 * rate)} %"


def percent_tick(rate: float) -> str:
    """`2 %`, `0.05 %`: a round rate beside an axis, without zeros that say nothing."""
    return f"{100.0 * rate:.6f}".rstrip("0").rstrip(".") + " %"


def percent_between(interval: Interval) -> str:
    """`1.11 to 2.70 %`."""
    return f"{_three_digits(100.0 * interval.low)} to {_three_digits(100.0 * interval.high)} %"


def one_in(rate: float) -> str:
    """`1 in 10,000`: a rate as an event among so many; three digits that count."""
    if rate <= 0:
        return "never"
    if rate >= 1:
        return "always"
    among = 1.0 / rate
    if among >= 10:
        among = round(among, 2 - math.floor(math.log10(among)))
        return f"1 in {count(round(among))}"
    return f"1 in {among:.1f}".removesuffix(".0")


def power_of_ten(rate: float) -> str:
    """`10⁻⁴`; with a factor before it for what is no power of ten."""
    mantissa, _, exponent = f"{rate:.1e}".partition("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    return power if mantissa == "1.0" else f"{mantissa}\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN} {power}"


def count(number: int) -> str:
    """`11,089,991`."""
    return f"{number:,}"


def counted(number: int, one: str, many: str) -> str:
    """`1 person`, `2,986 people`."""
    return f"{count(number)} {one if number == 1 else many}"


def score(value: float) -> str:
    """`0.350`: three places, which is finer than any interval here."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def ratio(value: float) -> str:
    """`5.1 times`; below ten one place, then none."""
    return f"{value:.1f} times" if value < 9.95 else f"{value:.0f} times"


def ratio_between(interval: Interval) -> str:
    """`3.4 to 7.6`."""
    return f"{ratio(interval.low).removesuffix(' times')} to {ratio(interval.high).removesuffix(' times')}"


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _three_digits(value: float) -> str:
    if value <= 0:
        return "0"
    if value >= 99.95:
        return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
    places = 2 - math.floor(math.log10(float(f"{value:.2e}")))
    return f"{value:.{max(places, 0)}f}"
