"""The sections of a run's page: each says what it shows, shows it, or says that it was not measured."""

from __future__ import annotations

from collections.abc import Sequence

from siamese_lab.evaluation.attacks import AttackCurve, AttackPoint
from siamese_lab.evaluation.charts import (
    HALF_WIDTH,
    LINE_STYLES,
    Axes,
    Line,
    confusion_chart,
    det_chart,
    hills_chart,
    importance_chart,
    line_chart,
    map_chart,
    reliability_chart,
    retrieval_chart,
    shapley_chart,
)
from siamese_lab.evaluation.history import History, Series
from siamese_lab.evaluation.neighbours import NeighbourFigures
from siamese_lab.evaluation.pairs import FnmrAtFmr, PairFigures
from siamese_lab.evaluation.parts import (
    cell,
    figure,
    lead,
    number_cell,
    rate_cell,
    row,
    section,
    table,
    tile,
    told,
)
from siamese_lab.evaluation.robustness import ILLS, RobustnessCurve
from siamese_lab.evaluation.values import ExplainedPair, RunReport, ShownPreferred
from siamese_lab.verification import Estimate
from tessera.report import numbers
from tessera.report.markup import Markup, element, together

_MOST_CLASSES_DRAWN = 30
_NOT_MEASURED = "Not measured."
_PAIR_FIGURES = (
    ("Accuracy", "of all pairs, those judged right"),
    ("Precision", "of pairs that match, those that are mated"),
    ("Recall", "of mated pairs, those that match: 1 less FNMR"),
    ("F1", "harmonic mean of precision and recall"),
    ("FMR", "of pairs of two classes, those that match"),
    ("FNMR", "of mated pairs, those that do not match"),
    ("EER", "both error rates, at the threshold where they are equal"),
    ("AUC", "how often a mated pair scores above another"),
)


def training_section(report: RunReport) -> Markup:
    """Loss and accuracy over the epochs."""
    title = "How the training went"
    history = report.history
    if history is None or len(history.epochs) < 2:
        return section("training", title, lead("Not known: no history of epochs came with the network."))
    pictures = [
        (_history_chart("loss", history, rates=False), "Loss"),
        (_history_chart("accuracy", history, rates=True), "Accuracy"),
    ]
    shown = [figure(picture, f"{name} by epoch.") for picture, name in pictures if picture]
    return section("training", title, lead("Where both lines part, the network learns its pictures by heart."), *shown)


def _history_chart(word: str, history: History, *, rates: bool) -> Markup:
    lines = [
        _series_line(history, one, style)
        for one, style in zip(_drawn_series(history, word), LINE_STYLES, strict=False)
    ]  # fmt: skip
    # What is called an accuracy and is given in percent, or is none, is drawn as a number.
    rates = rates and all(0.0 <= y <= 1.0 for line in lines for _, y in line.values if isinstance(y, float))
    if not lines:
        return Markup("")
    return line_chart(
        f"history-{word}", f"{word} by epoch", lines, Axes("Epoch", word.capitalize(), rates, x_whole=True)
    )


def _drawn_series(history: History, word: str) -> list[Series]:
    return [one for one in history.about(word) if sum(value is not None for value in one.values) > 1]


def _series_line(history: History, series: Series, style: str) -> Line:
    values = [(float(at), y) for at, y in zip(history.epochs, series.values, strict=True) if y is not None]
    return Line(series.name.replace("_", " "), tuple(values), style)


# ---- pairs


def pairs_section(report: RunReport) -> Markup:
    """Figures of pairs, their scores and their curve."""
    found = report.pairs
    judged = _judged(report)
    said = (
        f"{numbers.count(found.pairs)} pairs of test pictures, {numbers.count(found.mated)} of them mated. The "
        f"threshold was chosen on {report.facts.chosen_on} pairs. “Positive” is a match. Small print: 95 % intervals, "
        "which know that pairs share "
        f"{'classes' if report.facts.unseen_classes else 'pictures'}."
    )
    head = ("Figure", *[name for name, _ in judged], "What it counts")
    rows = [_pair_row(name, [one for _, one in judged], what) for name, what in _PAIR_FIGURES]
    flattered = (
        f"At the threshold that is best on these very pairs the accuracy would read "
        f"{numbers.percent(found.flattering_accuracy)}. It flatters, and is here only because papers may mean it."
    )
    return section(
        "pairs", "Pairs: are these two of one class?", lead(said), table("Figures of pairs", head, rows),
        lead(flattered),
        figure(hills_chart(report.histogram, found.threshold), "How scores are spread; both hills have the same area."),
        figure(det_chart(found), _det_caption(found)),
        table("What a stricter threshold costs", ("FMR asked for", "Threshold", "FMR measured", "FNMR"),
              [_strict_row(one, found) for one in found.fnmr_at]),
    )  # fmt: skip


def _judged(report: RunReport) -> list[tuple[str, PairFigures]]:
    own = [("the network's head", report.head)] if report.head is not None else []
    return [("at the threshold", report.pairs), *own]


def _pair_row(name: str, judged: Sequence[PairFigures], what: str) -> Markup:
    return row(name, *[rate_cell(_pair_rates(one)[name]) for one in judged], told(what))


def _pair_rates(one: PairFigures) -> dict[str, Estimate | None]:
    rates = (one.accuracy, one.precision, one.recall, one.f1, one.fmr, one.fnmr, one.eer, one.auc)
    return dict(zip(dict(_PAIR_FIGURES), rates, strict=True))


def _det_caption(found: PairFigures) -> str:
    return (
        f"The ROC curve, on normal-deviate axes (DET) so that the corner has room. Equal error rate "
        f"{numbers.percent(found.eer.value)} ({numbers.percent_between(found.eer.interval)}), where the broken line "
        "crosses."
    )


def _strict_row(one: FnmrAtFmr, found: PairFigures) -> Markup:
    name = numbers.one_in(one.target_fmr)
    if one.threshold is None:
        have = numbers.count(found.pairs - found.mated)
        needs = f"needs {numbers.count(one.needed)} pairs of two classes; there are {have}"
        return row(name, told(needs, 3), style="missing")
    threshold = cell(one.threshold, numbers.score(one.threshold))
    return row(name, threshold, rate_cell(one.fmr), rate_cell(one.fnmr))


def recognition_section(report: RunReport) -> Markup:
    """Both readings of "recognition rate"."""
    searches = report.searches or report.searches_within
    rows = [row("Pair accuracy", rate_cell(report.pairs.accuracy), told("pairs judged right, half of them mated"))]
    if searches is not None:
        rows += [
            row(f"Class accuracy, k = {one.k}", rate_cell(one.knn_accuracy),
                told("pictures whose nearest is of their class" if one.k == 1
                     else f"pictures whose {one.k} nearest vote for their class"))
            for one in searches.at
        ]  # fmt: skip
    said = (
        "Papers say “recognition rate” and “accuracy” for two things. A coin gets half of the pairs right, and "
        f"one class in {len(report.facts.classes)}: the same number is worth more as the second."
    )
    head = ("Reading", "Rate", "What it counts")
    return section("recognition", "Both readings of “recognition rate”", lead(said), table("Readings", head, rows))


# ---- searches


def searches_section(report: RunReport) -> Markup:
    """Neighbours and confusions."""
    title = "Searches: what is nearest?"
    told_of = [
        (f"Test pictures among {report.facts.gallery_of}", report.searches),
        ("Test pictures among each other", report.searches_within),
    ]
    known = [(name, one) for name, one in told_of if one is not None]
    if not known:
        return section("searches", title, lead(_NOT_MEASURED))
    drawn = report.searches or report.searches_within
    chart = _confusion(drawn, report.facts.classes) if drawn is not None else None
    said = "Every distance is computed. Precision, recall and hit are of the k nearest; mAP is of the whole ranking."
    return section("searches", title, lead(said), *[_search_table(name, one) for name, one in known], chart)


def _search_table(name: str, one: NeighbourFigures) -> Markup:
    caption = (
        f"{name}: {numbers.count(one.queries)} queries in {numbers.count(one.gallery)} pictures; "
        f"mAP {numbers.percent(one.mean_average_precision.value)} "
        f"({numbers.percent_between(one.mean_average_precision.interval)})"
    )
    if one.unanswerable:
        caption += f"; {numbers.count(one.unanswerable)} more have no picture of their class there and are left out"
    rows = [
        row(str(at.k), *[rate_cell(rate) for rate in (at.knn_accuracy, at.precision, at.recall, at.hit)])
        for at in one.at
    ]
    return table(caption, ("k", "k-NN accuracy", "Precision@k", "Recall@k", "Top-k hit"), rows)


def _confusion(figures: NeighbourFigures, names: Sequence[str]) -> Markup | None:
    if not 2 <= len(figures.confusion) <= min(_MOST_CLASSES_DRAWN, len(names)):
        return None
    caption = (
        f"Percent of each row's queries, by the vote of the {figures.at[-1].k} nearest. The colour shows the root."
    )
    return figure(confusion_chart(figures, names), caption)


def retrieval_section(report: RunReport) -> Markup:
    """Queries with their nearest."""
    title = "Queries and what they find"
    if not report.retrievals:
        return section("retrieval", title, lead("Not drawn."))
    some = figure(
        retrieval_chart("retrievals", report.retrievals), "Drawn by chance, one of each class before any comes again."
    )
    wrong = report.wrong_retrievals
    caption = "Drawn by chance among the queries whose nearest picture is of another class."
    worst = (
        figure(retrieval_chart("wrong-retrievals", wrong), caption) if wrong else lead("No query's nearest is wrong.")
    )
    return section(
        "retrieval", title,
        lead("A broken frame and a cross mark an answer of another class. Examples are no measurement."),
        some, element("h3", None, "Where the nearest is wrong"), worst,
    )  # fmt: skip


def maps_section(report: RunReport) -> Markup:
    """Embeddings on a plane."""
    title = "The space on a plane"
    if not report.maps:
        return section("maps", title, lead("Not drawn."))
    shown = []
    for at, one in enumerate(report.maps):
        kept = f" It holds {numbers.percent(one.kept)} of the variance." if one.kept is not None else ""
        caption = f"{one.method}; {numbers.count(len(one.points))} pictures.{kept}"
        shown.append(figure(map_chart(f"map-{at}", one, report.facts.classes), caption))
    said = "Each point is a test picture, its colour the class. Read who is beside whom; distances are lost."
    return section("maps", title, lead(said), element("div", {"class": "halves"}, *shown))


# ---- probabilities


def probability_section(report: RunReport) -> Markup:
    """Scores as probabilities."""
    title = "Can a score be read as a probability?"
    if not report.probabilities:
        return section("probability", title, lead(_NOT_MEASURED))
    rows = [
        row(one.scaling.value, number_cell(one.cllr), cell(one.least_cllr, numbers.score(one.least_cllr)),
            rate_cell(one.ece))
        for one in report.probabilities
    ]  # fmt: skip
    said = (
        "Fitted on validation pairs, judged on test pairs, for a prior of "
        f"{numbers.percent(report.probabilities[0].prior)}. Cllr is in bits: 0 is perfect, 1 says nothing. The "
        "least is what no calibration can mend."
    )
    head = ("Map", "Cllr", "Least Cllr", "Expected calibration error")
    return section(
        "probability", title, lead(said), table("Costs of probabilities", head, rows),
        figure(reliability_chart(report.probabilities),
               "On the broken line what was told comes true. A large point has many pairs."),
    )  # fmt: skip


# ---- harm


def robustness_section(report: RunReport) -> Markup:
    """Ills at rising strength."""
    title = "Noise, blur, compression, movement"
    if not report.robustness:
        return section("robustness", title, lead(_NOT_MEASURED))
    said = (
        "The probe alone is degraded, one ill at a time; gallery and threshold stay as they were. The band is the 95 % "
        "interval."
    )
    shown = [figure(_ill_chart(one), f"{ILLS[one.ill].title}: {ILLS[one.ill].unit}.") for one in report.robustness]
    return section("robustness", title, lead(said), element("div", {"class": "halves"}, *shown))


def _ill_chart(one: RobustnessCurve) -> Markup:
    lines = [
        Line(name, tuple(zip(one.strengths, values, strict=True)), style)
        for (name, values), style in zip(one.figures.items(), LINE_STYLES, strict=False)
    ]
    return line_chart(f"ill-{one.ill.value}", ILLS[one.ill].title, lines, Axes("", "", whole=True), HALF_WIDTH)


def attacks_section(report: RunReport) -> Markup:
    """FGSM and PGD."""
    title = "Somebody who wants it to err"
    if not report.attacks:
        return section("attacks", title, lead("Not tried."))
    said = (
        "The attacker has the network and may change each value of the probe by so many of 255 levels, which nobody "
        "may see. FGSM takes one step, PGD many. What they find is the least harm that is possible."
    )
    targets = list(dict.fromkeys(curve.target for curve in report.attacks))
    shown = [_attack_figure(f"attack-{at}", name, report.attacks) for at, name in enumerate(targets)]
    return section(
        "attacks", title, lead(said), element("div", {"class": "halves"}, *shown),
        *[_attack_table(one) for one in report.attacks if one.points[0].fnmr is not None],
    )  # fmt: skip


def _attack_figure(name: str, target: str, attacks: Sequence[AttackCurve]) -> Markup:
    lines = [
        Line(one.method.value, tuple((255.0 * at.epsilon, at.accuracy) for at in one.points), style)
        for one, style in zip([one for one in attacks if one.target == target], LINE_STYLES, strict=False)
    ]
    chart = line_chart(name, f"Accuracy under attack: {target}", lines, Axes("", "", whole=True), HALF_WIDTH)
    return figure(chart, f"Accuracy ({target}) by levels of change.")


def _attack_table(one: AttackCurve) -> Markup:
    head = ("Levels", "Accuracy", "Mated kept from matching", "Others made to match")
    return table(f"{one.method.value} on {one.target}", head, [_attack_row(at) for at in one.points])


def _attack_row(at: AttackPoint) -> Markup:
    return row(f"{255.0 * at.epsilon:.3g}", rate_cell(at.accuracy), rate_cell(at.fnmr), rate_cell(at.fmr))


# ---- explanations


def explanation_section(report: RunReport) -> Markup:
    """What drives a score."""
    title = "What drives a score"
    if not report.explained:
        return section("explanation", title, lead("Not drawn."))
    said = (
        "Red speaks for the match, blue against it; a white or black line runs around what is strong. The number "
        "is how many times more covering the map's strongest tenth changes the score than covering as much anywhere: "
        "at 1 and below the map tells nothing."
    )
    return section("explanation", title, lead(said), *[_explained(one) for one in report.explained], _preferred(report))


def _explained(one: ExplainedPair) -> Markup:
    verdict = "matches" if one.matched else "does not match"
    truth = "one class" if one.mated else "two classes"
    heading = element("h3", None, f"Score {numbers.score(one.score)}: {verdict}; in truth {truth}")
    both = [
        tile(one.picture.png, f"The picture: {one.picture.label}", f"The picture: {one.picture.label}"),
        tile(one.reference.png, f"The reference: {one.reference.label}", f"The reference: {one.reference.label}"),
    ]
    maps = [
        tile(each.png, f"Map by {each.method}", f"{each.method}: {numbers.ratio(each.faithfulness)}", smooth=True)
        for each in one.maps
    ]
    return together([heading, element("div", {"class": "tiles"}, *both, *maps)])


def _preferred(report: RunReport) -> Markup:
    if not report.preferred:
        return Markup("")
    said = (
        "Pictures that were climbed to from faint noise, so that the embedding goes far along a direction. They show "
        "what the network answers to, not what a class looks like."
    )
    tiles = [_preferred_tile(one) for one in report.preferred]
    return together([
        element("h3", None, "What it likes to see"), lead(said), element("div", {"class": "tiles"}, *tiles),
    ])  # fmt: skip


def _preferred_tile(one: ShownPreferred) -> Markup:
    caption = f"{one.picture.label}: {numbers.score(one.before)} to {numbers.score(one.after)}"
    return tile(one.picture.png, f"Made for {one.picture.label}", caption)


def dimensions_section(report: RunReport) -> Markup:
    """Single dimensions."""
    title = "Which dimensions carry the work"
    if not report.importance:
        return section("dimensions", title, lead(_NOT_MEASURED))
    said = (
        "What the class accuracy loses when one dimension is shuffled among the queries. Turn the space and every "
        "distance stays, but not this: it tells whether few dimensions do the work, not what they mean."
    )
    example = report.shapley
    shares = figure(
        shapley_chart(example),
        f"{example.told} The mean of the background is {numbers.score(example.start)}, the answer "
        f"{numbers.score(example.answer)}; the values share the difference (Shapley).",
    ) if example is not None else None  # fmt: skip
    return section(
        "dimensions", title, lead(said), figure(importance_chart(report.importance), "Permutation importance."), shares
    )


def folds_section(report: RunReport) -> Markup:
    """Figures over folds."""
    title = "Over folds"
    if not report.cross_validation:
        return section("folds", title, lead("Not measured: one partition of the data, one training."))
    rows = [
        row(f"{one.name}, by {one.by}", _free_cell(one.result.mean),
            told(", ".join(numbers.percent(value) for value in one.result.values)))
        for one in report.cross_validation
    ]  # fmt: skip
    said = (
        "Folds share most of their training data. The interval is widened for that (Nadeau and Bengio), and no proof."
    )
    return section("folds", title, lead(said), table("Each fold held out once", ("Figure", "Mean", "Folds"), rows))


def _free_cell(rate: Estimate) -> Markup:
    """An interval over folds may leave [0, 1]; what is shown does not."""
    interval = rate.interval
    within = f"{numbers.percent(max(0.0, interval.low))} to {numbers.percent(min(1.0, interval.high))}"
    small = element(
        "span", {"class": "within", "data-low": repr(interval.low), "data-high": repr(interval.high)}, within
    )
    return element("td", {"data-value": repr(rate.value)}, numbers.percent(rate.value), small)
