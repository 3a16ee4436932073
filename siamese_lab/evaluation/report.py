"""The page of a run: one file of HTML that needs nothing else, with everything that was measured and what was not.

Built from `tessera.report`'s pieces, so that it reads and prints as the calibration report does. Measures nothing;
names of runs, data and classes are hostile until `markup` has escaped them.
"""

from __future__ import annotations

from siamese_lab.evaluation import sections
from siamese_lab.evaluation.limits import cannot_say, summary
from siamese_lab.evaluation.parts import STYLE as OWN_STYLE
from siamese_lab.evaluation.parts import fact, lead, section
from siamese_lab.evaluation.values import RunReport
from tessera.report import numbers
from tessera.report.markup import Markup, element, styles, together
from tessera.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_WORDS = (
    ("Mated", "A pair of one class; of one person, where classes are people."),
    ("Score", "How alike two embeddings are: minus their distance, or their cosine. Higher is more alike."),
    ("FMR", "False match rate: pairs of two classes that match, of all such pairs."),
    ("FNMR", "False non-match rate: mated pairs that do not match, of all mated pairs. Recall is the rest."),
    ("EER", "Equal error rate: where both are the same."),
    ("mAP", "Mean average precision: how far up a ranking the right pictures stand, over all queries."),
    ("Interval", "Where the true figure lies, 95 times in 100, for other pictures of the same kind and this network."),
)
_SECTIONS = (
    sections.pairs_section,
    sections.recognition_section,
    sections.searches_section,
    sections.retrieval_section,
    sections.maps_section,
    sections.training_section,
    sections.probability_section,
    sections.robustness_section,
    sections.attacks_section,
    sections.explanation_section,
    sections.dimensions_section,
    sections.folds_section,
)


def render(report: RunReport) -> str:
    """Write the page.

    Args:
        report: what was measured.

    Returns:
        A whole HTML document.
    """
    head = element(
        "head", None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("title", None, f"Run report: {report.facts.name}"),
        styles(STYLE + OWN_STYLE),
    )  # fmt: skip
    parts = [_head(report), *(write(report) for write in _SECTIONS), _limits(report), _method(report)]
    body = element("body", None, element("main", None, *parts))
    return "<!doctype html>\n" + element("html", {"lang": "en"}, head, body) + "\n"


def _head(report: RunReport) -> Markup:
    facts = report.facts
    shown = [
        fact("Network", facts.network), fact("Dimensions", numbers.count(facts.dimensions)),
        fact("Comparison", facts.comparison), fact("Data", facts.data, wide=len(facts.data) > 24),
        fact("Classes", numbers.count(len(facts.classes))), fact("Gallery pictures", numbers.count(facts.gallery)),
        fact("Validation pictures", numbers.count(facts.validation)), fact("Test pictures", numbers.count(facts.test)),
        fact("Seed", str(facts.seed)), fact("Written", facts.written),
    ]  # fmt: skip
    if facts.paper:
        shown.append(fact("Reproduces", facts.paper, wide=True))
    said = [element("li", None, sentence) for sentence in summary(report)]
    notes = [element("p", {"class": "note"}, note) for note in facts.notes]
    return together([
        element("header", None, element("p", {"class": "kind"}, "Run report"), element("h1", None, facts.name),
                element("dl", {"class": "facts"}, *shown)),
        *notes,
        element("section", {"aria-label": "In short"}, element("ol", {"class": "summary"}, *said)),
    ])  # fmt: skip


def _limits(report: RunReport) -> Markup:
    told = [element("li", None, element("strong", None, one.name), " ", one.told) for one in cannot_say(report)]
    return section("limits", "What this data cannot say", element("ul", {"class": "limits"}, *told))


def _method(report: RunReport) -> Markup:
    words = together(together([element("dt", None, word), element("dd", None, said)]) for word, said in _WORDS)
    method = (
        f"Thresholds and probabilities are fitted on {report.facts.chosen_on} pictures and judged on test pictures. "
        "Intervals are 95 %; those of pairs are a jackknife or a bootstrap over what pairs share, those of searches "
        "are Wilson's over queries. Rates at a false match rate are told where three such errors would be expected "
        "(rule of 3)."
    )
    return together([
        section("method", "Words and method", element("dl", {"class": "words"}, words), lead(method)),
        element("footer", None, f"Tessera, the Siamese lab. Run {report.facts.name}."),
    ])  # fmt: skip
