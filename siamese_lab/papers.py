"""The table of the papers: their number, ours by the same protocol, our best; made of the ledger of runs and of nothing
else.

Knows what each paper states and which recipe stands for it. A run that is not there is told as not run; a figure that a
paper states vaguely is read in two ways, and both stand in the table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siamese_lab.ledger import Figures, Ledger, Runs
from siamese_lab.training.recipe_files import available, load_study

ABLATION = "ablation-"
SPEED_BARS = (0.43, 0.1)
"""Of `tessera lab speed`'s readings in their order: the paper's ratio, and ours as served."""
# Source: Student's distribution, two-sided 95 %, by degrees of freedom
_STUDENT_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True, slots=True)
class Stated:
    """One number of a paper, and what stands for it here."""

    system: str
    measure: str
    theirs: float
    read: Callable[[Figures], float | None]
    recipe: str
    variant: str = ""
    best: str = ""
    """The recipe that shall beat it; empty: the paper's system is reproduced and no more."""
    aim: float | None = None
    """For `best`."""
    best_read: Callable[[Figures], float | None] | None = None
    """Of `best`, where it has no head; None: as `read`."""


def pair_accuracy(figures: Figures) -> float | None:
    """Pairs that the network judges rightly: by its head at one half, else at the threshold of validation pairs."""
    judged = figures.get("head") or figures.get("pairs")
    return None if judged is None else float(judged["accuracy"]["value"])


def threshold_accuracy(figures: Figures) -> float | None:
    """The other reading: by the distance, at the threshold that is best on validation pairs."""
    judged = figures.get("pairs")
    return None if judged is None else float(judged["accuracy"]["value"])


def training_accuracy(figures: Figures) -> float | None:
    """Pairs of the last epoch that the head judged rightly while it learned."""
    found = figures["training"]["training_accuracy"]
    return None if found is None else float(found)


def seconds_an_epoch(figures: Figures) -> float | None:
    """The median over epochs."""
    return float(figures["training"]["seconds_an_epoch"])


def at_five(measure: str, gallery: str = "searches") -> Callable[[Figures], float | None]:
    """A figure of the five nearest.

    Args:
        measure: `precision` or `hit`.
        gallery: `searches` among training pictures, or `searches_within` the test pictures.
    """

    def read(figures: Figures) -> float | None:
        at = (figures.get(gallery) or {}).get("at", [])
        return next((float(one[measure]["value"]) for one in at if one["k"] == 5), None)

    return read


def stated() -> tuple[Stated, ...]:
    """Every number that the papers state and that pictures can be held against."""
    pairs = [
        ("MNIST", 0.9911, "mnist", 0.998), ("Fashion-MNIST", 0.9165, "fashion", 0.97),
        ("CIFAR-10 (lossy copy)", 0.8164, "cifar10", 0.96),
    ]  # fmt: skip
    rows = [
        Stated(
            "SN-LeNet-5", f"pair accuracy, {name}", theirs, pair_accuracy, f"sn-lenet5-{key}", "", f"ours-{key}", aim
        )
        for name, theirs, key, aim in pairs
    ]
    for rate, theirs in (("1e-4", 0.9975), ("1e-3", 0.9995), ("1e-2", 0.9810)):
        rows.append(
            Stated("SN-LeNet-5", f"training accuracy, rate {rate}", theirs, training_accuracy,
                   "sn-lenet5-mnist-rates", f"rate-{rate}")
        )  # fmt: skip
    for size, theirs in ((32, 0.9993), (64, 0.9995), (96, 0.9983)):
        rows.append(
            Stated("SN-LeNet-5", f"training accuracy, batch {size}", theirs, training_accuracy,
                   "sn-lenet5-mnist-batches", f"batch-{size}")
        )  # fmt: skip
    rows.append(
        Stated("grid of convolutions", "pair accuracy, 3/16/3", 0.9972, pair_accuracy, "conv-grid", "cell-3-16-3",
               "ours-mnist", 0.999)
    )  # fmt: skip
    for name, measure, theirs, aim in (("precision@5", "precision", 0.818, 0.94), ("top-5", "hit", 0.93, 0.98)):
        rows.append(
            Stated("triplet CNN", f"{name}, Fashion-MNIST", theirs, at_five(measure), "triplet-fashion", "",
                   "ours-fashion", aim)
        )  # fmt: skip
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs' value."""

    mean: float
    deviation: float | None
    """None: there is one run."""
    runs: int

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the mean over seeds, by Student's distribution."""
        if self.deviation is None:
            return None
        return _STUDENT_95.get(self.runs - 1, 1.96) * self.deviation / math.sqrt(self.runs)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation; None where there is nothing."""
    if not values:
        return None
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def papers_json(ledger: Ledger) -> list[dict[str, object]]:
    """What stands in `docs/results/papers.json`."""
    found, rows = ledger.runs(), []
    for one in stated():
        ours = found.get((one.recipe, one.variant))
        rows.append(_json_row(f"{one.system}: {one.measure}", ours, one.read, one.theirs, one.recipe))
        if one.best:
            best = found.get((one.best, ""))
            rows.append(_json_row(f"our best: {one.measure}", best, one.best_read or one.read, one.aim, one.best))
    rows += [
        _json_row(f"{recipe}, {variant or 'alone'}: {name}", runs, read, None, recipe)
        for (recipe, variant), runs in sorted(found.items())
        for name, read in (("pair accuracy", pair_accuracy), ("seconds an epoch", seconds_an_epoch))
    ]
    return [row for row in rows if row["value"] is not None] + _speed_rows(ledger)


def _speed_rows(ledger: Ledger) -> list[dict[str, object]]:
    if ledger.speed is None:
        return []
    rows: list[dict[str, object]] = []
    for one, bar in zip(ledger.speed["readings"], SPEED_BARS, strict=True):
        ratio = one["siamese_s"] / one["plain_s"]
        rows.append(
            {
                "figure": f"10,000 test pictures, SN-LeNet-5 over plain LeNet-5: {one['reading']}",
                "value": ratio,
                "unit": "ratio",
                "bar": f"<= {bar}",
                "holds": ratio <= bar,
                "command": "tessera lab speed RUN RUN",
                "machine": ledger.speed["machine"],
            }
        )
    return rows


def _json_row(
    figure: str, runs: Runs | None, read: Callable[[Figures], float | None], bar: float | None, recipe: str
) -> dict[str, object]:
    found = spread(runs.values(read)) if runs is not None else None
    return {
        "figure": figure,
        "value": None if found is None else found.mean,
        "deviation": None if found is None else found.deviation,
        "unit": "s" if "seconds" in figure else "share",
        "runs": 0 if found is None else found.runs,
        "bar": "" if bar is None else f">= {bar}",
        "holds": None if bar is None or found is None else found.mean >= bar,
        "command": f"tessera lab train {recipe} --data DIR",
        "machine": "" if runs is None else runs.machine,
        "commit": "" if runs is None else runs.commit,
    }


# ---- the page


def papers_page(ledger: Ledger) -> str:
    """What stands in `docs/results/papers.md`."""
    found = ledger.runs()
    parts = [_HEAD, _main_table(found), _readings(found), _grid(found), _speed(ledger.speed), _ablations(found)]
    return "\n".join(part for part in parts if part)


_HEAD = """# The papers' systems, and ours

Made by `make bench-papers` of the ledger of runs (`papers-runs.json`), which keeps of each its recipe's digest, seed,
data, machine, commit and figures; run folders that are at hand are taken into it first. *Theirs* is what the paper
states. *Same protocol* is its network and loss, trained here by its settings. Mean and standard deviation are over
seeds. CIFAR-10 here is a lossy (JPEG) copy: each of its numbers is of that copy. A dash is a run that was not made.
"""


def _main_table(found: Mapping[tuple[str, str], Runs]) -> str:
    lines = ["| system | measure | theirs | ours, same protocol | reached | ours, best | aim |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for one in stated():
        ours, best = found.get((one.recipe, one.variant)), found.get((one.best, ""))
        same = spread(ours.values(one.read)) if ours else None
        own = spread(best.values(one.best_read or one.read)) if best else None
        reached = "-" if same is None else ("yes" if same.mean >= one.theirs else "no")
        aim = "" if one.aim is None else f"{percent(one.aim)} {'-' if own is None else _held(own.mean, one.aim)}"
        lines.append(
            f"| {one.system} | {one.measure} | {percent(one.theirs)} | {shown(same)} | {reached} "
            f"| {shown(own) if one.best else ''} | {aim} |"
        )
    return "\n".join([*lines, ""])


def _held(value: float, bar: float) -> str:
    return "(reached)" if value >= bar else "(not reached)"


def _readings(found: Mapping[tuple[str, str], Runs]) -> str:
    readings: list[tuple[str, str, Callable[[Figures], float | None]]] = [
        (
            f"pair accuracy, {key}: by distance, at the threshold of validation pairs",
            f"sn-lenet5-{key}",
            threshold_accuracy,
        )
        for key in ("mnist", "fashion", "cifar10")
    ]
    readings += [
        (f"{name} among the other test pictures", "triplet-fashion", at_five(measure, "searches_within"))
        for name, measure in (("precision@5", "precision"), ("top-5", "hit"))
    ]
    rows = [(told, spread(found[name, ""].values(read))) for told, name, read in readings if (name, "") in found]
    if not rows:
        return ""
    head = """## The other reading

"Recognition rate" and "accuracy" of pairs were read as the share of balanced test pairs that the network's own head
judges rightly at a probability of one half; "precision" and "top-5" as of searches of test pictures among training
pictures.

| measure | value |
|---|---|
"""
    return head + "\n".join(f"| {told} | {shown(value)} |" for told, value in rows) + "\n"


def _grid(found: Mapping[tuple[str, str], Runs]) -> str:
    cells = {variant: runs for (recipe, variant), runs in found.items() if recipe == "conv-grid"}
    sweeps = [(r, v, runs) for (r, v), runs in sorted(found.items()) if r.startswith("sn-lenet5-mnist-")]
    lines = []
    if cells:
        lines += [
            "## Layers, kernels, pools",
            "",
            "| layers/kernels/pools | pair accuracy | seconds an epoch |",
            "|---|---|---|",
        ]
        lines += [
            f"| {variant.removeprefix('cell-').replace('-', '/')} | {shown(spread(runs.values(pair_accuracy)))} "
            f"| {_seconds(runs)} |"
            for variant, runs in sorted(cells.items())
        ]
        lines.append("")
    if sweeps:
        lines += ["## Learning rates and batches", "", "| run | training accuracy | test pairs | seconds an epoch |",
                  "|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {variant} | {shown(spread(runs.values(training_accuracy)))} "
            f"| {shown(spread(runs.values(pair_accuracy)))} | {_seconds(runs)} |"
            for _, variant, runs in sweeps
        ]
        lines.append("")
    return "\n".join(lines)


def _seconds(runs: Runs) -> str:
    found = spread(runs.values(seconds_an_epoch))
    return "-" if found is None else f"{found.mean:.1f}"


def _speed(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return ""
    lines = [
        "## Time for 10,000 test pictures", "",
        "The paper: SN-LeNet-5 4.04 s, plain LeNet-5 9.37 s, a ratio of 0.43.", "",
        "| reading | SN-LeNet-5, s | plain LeNet-5, s | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for one in told["readings"]:
        siamese_s, plain_s = one["siamese_s"], one["plain_s"]
        lines.append(f"| {one['reading']} | {siamese_s:.3f} | {plain_s:.3f} | {siamese_s / plain_s:.3f} |")
    return "\n".join([*lines, "", f"Pictures: {told['pictures']:,}; {told['machine']}.", ""])


def _ablations(found: Mapping[tuple[str, str], Runs]) -> str:
    lines: list[str] = []
    for name in (one for one in available() if one.startswith(ABLATION)):
        study = load_study(name)
        rows = [(one.variant, found[name, one.variant]) for one in study.recipes if (name, one.variant) in found]
        if rows:
            lines += [
                f"## {study.title}",
                "",
                "| data | variant | pair accuracy [95 % over seeds] | EER |",
                "|---|---|---|---|",
            ]
            lines += [_ablation_row(variant, runs) for variant, runs in rows]
            lines.append("")
    return "\n".join(lines)


def _ablation_row(variant: str, runs: Runs) -> str:
    data, _, what = variant.partition("-")
    accuracy = spread(runs.values(pair_accuracy))
    eer = spread(runs.values(lambda figures: float(figures["pairs"]["eer"]["value"])))
    told = "-"
    if accuracy is not None:
        half = accuracy.half
        within = (
            "" if half is None else f" [{percent(accuracy.mean - half)}, {percent(min(1.0, accuracy.mean + half))}]"
        )
        told = percent(accuracy.mean) + within
    return f"| {data} | {what} | {told} | {'-' if eer is None else percent(eer.mean)} |"


def percent(value: float) -> str:
    """A share as percent."""
    return f"{100.0 * value:.2f} %"


def shown(found: Spread | None) -> str:
    """A value over seeds: mean, deviation, how many."""
    if found is None:
        return "-"
    if found.deviation is None:
        return f"{percent(found.mean)} (one seed)"
    return f"{100.0 * found.mean:.2f} +- {100.0 * found.deviation:.2f} % ({found.runs} seeds)"
