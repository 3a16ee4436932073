"""`tessera plan`: how many cores, processes and how much memory a site needs, from measured costs."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.domain.capacity import Costs, Demand, Plan
from tessera.domain.capacity import plan as planned
from tessera.domain.errors import InvalidInputError


class Count(click.ParamType[int]):
    """A whole number, also as 1e6."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        """The number.

        Raises:
            click.BadParameter: it is none.
        """
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if number < 0 or number != int(number):
            self.fail(f"{value!r}; allowed: a whole number from 0, such as 200 or 1e6", param, ctx)
        return int(number)


_ANY, _MORE, _SHARE = click.FloatRange(min=0), click.FloatRange(min=1), click.FloatRange(0, 1)


@click.command()
@click.option("--cameras", type=Count(), required=True, metavar="N", help="How many.")
@click.option("--fps", type=_ANY, default=5.0, show_default=True, help="Frames looked at in a second, of each.")
@click.option("--subjects", type=Count(), required=True, metavar="N", help="People enrolled, such as 1e6.")
@click.option("--templates", "templates_each", type=_MORE, default=1.0, show_default=True, help="Of each.")
@click.option("--moving", type=_SHARE, default=1.0, show_default=True, help="Share of frames with motion.")
@click.option("--faces", type=_ANY, default=0.3, show_default=True, help="Embedded for each encoded frame.")
@click.option("--verifies", type=_ANY, default=0.0, show_default=True, help="Verify calls a second.")
@click.option("--busy", type=_SHARE, default=0.6, show_default=True, help="How busy a core may be, on the mean.")
@click.option(
    "--costs",
    "costs_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measured on your machine.  [default: those of the release]",
)
@json_option
def plan(  # noqa: PLR0917 - click passes them by name
    cameras: int,
    fps: float,
    subjects: int,
    templates_each: float,
    moving: float,
    faces: float,
    verifies: float,
    busy: float,
    costs_file: Path | None,
) -> int:
    """Say what a site needs: cores, processes, memory.

    From costs that were measured on one machine, named in the answer. Other machines differ: measure yours with
    `make bench-operations ARGS="plan"`. What it assumes is in docs/plan.md.

    \b
    Example:
      tessera plan --cameras 200 --fps 5 --subjects 1e6
    """
    try:
        costs = read_costs(costs_file)
        demand = Demand(cameras, fps, subjects, templates_each, moving, faces, verifies, busy=busy)
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None
    made = planned(demand, costs)
    if wants_json():
        echo_json({"demand": demand, "plan": made, "busy_cores": made.busy_cores, "costs": costs})
    else:
        click.echo("\n".join(_lines(demand, made, costs)))
    return ExitCode.DONE


def read_costs(file: Path | None = None) -> Costs:
    """Costs out of a file, or those that ship.

    Raises:
        InvalidInputError: the file holds something else.
    """
    source = file if file is not None else resources.files("tessera.cli") / "costs.json"
    try:
        raw = json.loads(source.read_text(encoding="utf-8"))
        return Costs(**{str(name): value for name, value in raw.items()})
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise InvalidInputError("costs", str(source), f"a file that the benchmark wrote ({error})") from None


def _lines(demand: Demand, made: Plan, costs: Costs) -> list[str]:
    asked = f"{demand.cameras} cameras at {demand.fps:g} frames/s, {demand.templates:,} templates"
    lines = [
        f"{asked}: {demand.frames_hz:,.0f} frames/s to encode, {demand.searches_hz:,.0f} searches/s",
        "",
        f"{'':<10}{'busy cores':>12}{'processes':>12}{'memory':>12}",
    ]
    lines += [
        f"{name:<10}{need.busy_cores:>12.2f}{need.processes:>12}{need.memory_mb / 1000:>9.1f} GB"
        for name, need in made.needs.items()
    ]
    lines += [
        f"{'together':<10}{made.busy_cores:>12.2f}{'':>12}{made.memory_mb / 1000:>9.1f} GB",
        "",
        f"Have {made.cores} cores, so that they are {demand.busy:.0%} busy. Measured on {costs.machine}.",
    ]
    return lines + [f"Note: {remark}." for remark in made.remarks]
