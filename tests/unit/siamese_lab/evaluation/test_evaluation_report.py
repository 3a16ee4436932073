"""The page of a tiny run: every section is there, it parses, needs nothing else, and its numbers are the report's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from torch import nn

from siamese_lab.comparison import Comparison
from siamese_lab.data.sources import LabelledImages
from siamese_lab.evaluation.charts import round_steps
from siamese_lab.evaluation.cross_validation import CrossValidation
from siamese_lab.evaluation.evaluating import Extent, RunData, RunWords, Subject, evaluate
from siamese_lab.evaluation.figures import as_figures
from siamese_lab.evaluation.history import History, Series
from siamese_lab.evaluation.limits import cannot_say, summary
from siamese_lab.evaluation.report import render
from siamese_lab.evaluation.robustness import Ill
from siamese_lab.evaluation.values import RunReport, ValidatedFigure
from siamese_lab.networks.heads import DistanceHead
from siamese_lab.verification import Estimate
from tessera.domain.error_rates import Interval

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x00"
SECTIONS = (
    "pairs", "recognition", "searches", "retrieval", "maps", "training", "probability", "robustness", "attacks",
    "explanation", "dimensions", "folds", "limits", "method",
)  # fmt: skip
SMALL = Extent(
    pairs=200, ks=(1, 3), gallery=60, queries=40, mapped=40, harmed=10, important=20, retrievals=3, preferred=2,
    ills=(Ill.NOISE,), epsilons=(0.0, 0.1), tsne=False,
)  # fmt: skip


def shapes(count: int, seed: int, classes: tuple[int, ...] = (0, 1, 2)) -> LabelledImages:
    """Noisy bars: upright, level, slanting."""
    rng = np.random.default_rng(seed)
    labels = np.array(classes, np.int64)[np.arange(count) % len(classes)]
    y, x = np.mgrid[:12, :12] - 5.5
    bars = np.stack([np.abs(x) < 2, np.abs(y) < 2, np.abs(x - y) < 2.5, np.abs(x + y) < 2.5])
    images = np.clip(170 * bars[labels] + rng.normal(30, 25, (count, 12, 12)), 0, 255).astype(np.uint8)
    return LabelledImages(images[..., None], labels, ("upright", "level", HOSTILE, "falling"))


@pytest.fixture(scope="module")
def report() -> RunReport:
    """Everything is measured."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    history = History((1, 2), (Series("training_loss", (0.9, 0.4)), Series("validation_accuracy", (0.6, None))))
    folds = (
        ValidatedFigure("pair accuracy", "class", CrossValidation((0.9, 0.8), Estimate(0.85, Interval(0.2, 1.4)))),
    )
    return evaluate(
        Subject(network, Comparison.EUCLIDEAN, DistanceHead(5)),
        RunData(shapes(60, 1), shapes(30, 2), shapes(45, 3)),
        RunWords("tiny", "conv", HOSTILE, 7, "2026-11-22", "A paper", ("Drawn, and no photograph.",)),
        SMALL,
        history=history,
        folds=folds,
    )


@dataclass
class Page(HTMLParser):
    """What a browser makes of it: elements that are closed in order, texts, attributes."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, text: str) -> Page:
        """Read a page; nothing may stay open."""
        page = cls()
        page.feed(text)
        page.close()
        assert page.open == []
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the last that began."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        if data.strip():
            self.texts.append(data)


def test_every_section_is_there_and_none_is_empty(report: RunReport) -> None:
    """In their order, each with its heading; nothing says that it was not measured."""
    text = render(report)
    assert tuple(re.findall(r'<section id="([a-z]+)"', text)) == SECTIONS
    assert not re.findall(r"Not (?:measured|drawn|known|tried)", text)
    assert len(re.findall("<svg", text)) >= 12
    assert len(re.findall("<img", text)) >= 10


def test_the_page_parses_and_needs_nothing_else(report: RunReport) -> None:
    """No script, no address but data and the name of a namespace; ids once, references lead; hostile names are text."""
    page = Page.of(render(report))
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in {"href", "src"}]
    assert all(value.startswith("data:image/png;base64,") for value in addresses)
    others = {value for name, value in page.attributes if "//" in value and name not in {"href", "src"}}
    assert others == {"http://www.w3.org/2000/svg"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {one for name, value in page.attributes if name == "aria-labelledby" for one in value.split()} <= set(ids)
    assert any("<script>" in text for text in page.texts)


def test_pictures_are_told_to_those_who_do_not_see_them(report: RunReport) -> None:
    """Each drawing is well-formed and has title and description, and no number that is none; each image has words."""
    text = render(report)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        root = ET.fromstring(drawing)  # noqa: S314 - our own page, which has no entities
        assert root[0].text
        assert root[1].text
        assert not re.search(r'="[^"]*\b(?:nan|inf)\b', re.sub(r'href="[^"]*"', "", drawing))
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall("<img[^>]*>", text))


def test_the_numbers_of_the_page_are_the_report_s(report: RunReport) -> None:
    """Whole, in the attributes of their cells; with their intervals."""
    page = Page.of(render(report))
    shown = {value for name, value in page.attributes if name == "data-value"}
    bounds = {value for name, value in page.attributes if name in {"data-low", "data-high"}}
    assert report.searches is not None
    rates = [
        report.pairs.accuracy, report.pairs.f1, report.pairs.eer, report.searches.at[0].knn_accuracy,
        report.attacks[0].points[-1].accuracy, report.probabilities[0].cllr, report.cross_validation[0].result.mean,
    ]  # fmt: skip
    for rate in rates:
        assert repr(rate.value) in shown
        assert {repr(rate.interval.low), repr(rate.interval.high)} <= bounds


def test_what_was_not_measured_is_said(report: RunReport) -> None:
    """A report without its optional parts still has every section, and says what is missing in each."""
    bare = RunReport(report.facts, report.pairs, report.histogram, None, None)
    text = render(bare)
    assert tuple(re.findall(r'<section id="([a-z]+)"', text)) == SECTIONS
    assert len(re.findall(r"Not (?:measured|drawn|known|tried)", text)) >= 9
    Page.of(text)
    assert len(summary(bare)) == 2


def test_the_page_names_what_the_data_cannot_say(report: RunReport) -> None:
    """Another training, unseen classes, rates beyond the pairs, stronger attacks; each as far as it applies."""
    names = " ".join(one.name for one in cannot_say(report))
    for word in ("Another training", "not trained", "below", "Stronger attacks", "labels", "Why the network"):
        assert word in names
    people = replace(report, facts=replace(report.facts, unseen_classes=True), attacks=(), explained=())
    names = " ".join(one.name for one in cannot_say(people))
    assert "not trained" not in names
    assert "Why the network" not in names
    assert "none was tried" in " ".join(one.told.lower() for one in cannot_say(people))


def test_figures_are_plain_numbers(report: RunReport) -> None:
    """They go through JSON and come back; each estimate has its interval, and no picture is among them."""
    figures = json.loads(json.dumps(as_figures(report)))
    accuracy = figures["pairs"]["accuracy"]
    assert accuracy["value"] == report.pairs.accuracy.value
    assert accuracy["interval"]["low"] == report.pairs.accuracy.interval.low
    assert figures["attacks"][0]["method"] == "FGSM"
    assert len(figures["searches"]["confusion"]) == 3
    assert "png" not in json.dumps(figures)


def test_the_same_run_gives_the_same_page(report: RunReport) -> None:
    """Nothing is drawn without the seed."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    data = RunData(shapes(30, 1), shapes(0, 2), shapes(24, 3))
    words = RunWords("tiny", "linear", "shapes", 0, "2026-11-22")
    extent = replace(SMALL, pairs=60, ks=(1,), preferred=1, retrievals=2, harmed=6)
    first, again = (render(evaluate(Subject(network, Comparison.COSINE), data, words, extent)) for _ in range(2))
    assert first == again
    assert "chosen on training pairs" in first


def test_classes_that_training_never_saw_are_searched_among_themselves() -> None:
    """The gallery is half of the test, and intervals count classes."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    data = RunData(shapes(30, 1, (0, 1)), shapes(20, 2, (0, 1)), shapes(40, 3, (2, 3)))
    extent = replace(SMALL, explained=False, ills=(), epsilons=(), preferred=0)
    found = evaluate(Subject(network, Comparison.EUCLIDEAN), data, RunWords("t", "n", "d", 0, "2026-11-22"), extent)
    assert found.facts.unseen_classes
    assert found.searches is not None
    assert (found.searches.gallery, found.searches.queries, found.searches.unanswerable) == (20, 20, 0)
    wide = found.pairs.accuracy.interval
    assert wide.high - wide.low > 0.2
    assert "pairs share classes" in render(found)


@pytest.mark.parametrize(("low", "high", "most"), [(0.0, 1.0, 5), (-0.3, 0.2, 8), (0.0, 3e-5, 6), (7.0, 1234.0, 4)])
def test_steps_are_round_and_inside(low: float, high: float, most: int) -> None:
    """At least two, at most as many as there is room for, evenly apart."""
    found = round_steps(low, high, most)
    assert 2 <= len(found) <= most + 1
    assert low - 1e-9 <= found[0] < found[-1] <= high + 1e-9
    assert np.ptp(np.diff(found)) == pytest.approx(0.0, abs=1e-9)
