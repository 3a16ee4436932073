"""What a run's page says in sentences: a few for who is in a hurry, and all that the data cannot say."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_lab.evaluation.attacks import AttackCurve
from siamese_lab.evaluation.values import RunReport
from tessera.report import numbers


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that the data cannot say."""

    name: str
    """In a few words."""
    told: str
    """In sentences."""


def summary(report: RunReport) -> list[str]:
    """The sentences on top of the page."""
    return [one for one in (_pairs(report), _errors(report), _searches(report), _attack(report)) if one]


def _pairs(report: RunReport) -> str:
    found = report.pairs.accuracy
    return (
        f"{numbers.percent(found.value)} of pairs are judged right ({numbers.percent_between(found.interval)}), at a "
        f"threshold of {numbers.score(report.pairs.threshold)} that was chosen on other pictures."
    )


def _errors(report: RunReport) -> str:
    carried = [one for one in report.pairs.fnmr_at if one.fnmr is not None]
    equal = f"Where both errors are equal they are {numbers.percent(report.pairs.eer.value)}"
    if not carried or carried[-1].fnmr is None:
        return f"{equal}; the pairs are too few for any stricter rate."
    strict = carried[-1]
    return (
        f"{equal}; where {numbers.one_in(strict.target_fmr)} pairs of two classes matches, "
        f"{numbers.percent(carried[-1].fnmr.value)} of mated pairs do not."
    )


def _searches(report: RunReport) -> str:
    searches = report.searches or report.searches_within
    if searches is None:
        return ""
    first, last = searches.at[0], searches.at[-1]
    return (
        f"The {'nearest picture is' if first.k == 1 else f'{first.k} nearest vote'} of the right class for "
        f"{numbers.percent(first.knn_accuracy.value)} of queries, and of the {last.k} nearest "
        f"{numbers.percent(last.precision.value)} are, over {numbers.count(searches.queries)} queries."
    )


def _attack(report: RunReport) -> str:
    if not report.attacks:
        return ""
    worst = min(report.attacks, key=lambda curve: curve.points[-1].accuracy.value)
    return (
        f"Who has the network and may change each value by {_levels(worst.points[-1].epsilon)} of 255 levels brings "
        f"the accuracy ({worst.target}) down to {numbers.percent(worst.points[-1].accuracy.value)} from "
        f"{numbers.percent(worst.points[0].accuracy.value)}."
    )


def _levels(epsilon: float) -> str:
    return f"{255.0 * epsilon:.3g}"


# ---- what the data cannot say


def cannot_say(report: RunReport) -> list[Limit]:
    """In the order in which they matter."""
    found = [
        _other_training(report), _classes(report), _stricter(report), _prior(report), _labels(), _own_pictures(report),
        _stronger(report.attacks), _maps(report), _explanations(report), _ills(report),
    ]  # fmt: skip
    return [one for one in found if one is not None]


def _other_training(report: RunReport) -> Limit:
    folds = "The folds above say something of it." if report.cross_validation else "No fold and no second seed is here."
    return Limit(
        "Another training.",
        f"These are the figures of one network, trained once with seed {report.facts.seed}. The intervals hold for "
        f"other pictures, not for other trainings: the next seed may lie outside of them. {folds}",
    )


def _classes(report: RunReport) -> Limit:
    if report.facts.unseen_classes:
        return Limit(
            "Classes of another kind.",
            f"The test has {numbers.counted(len(report.facts.classes), 'class', 'classes')} that training did not see. "
            "Figures hold for more classes of the same kind, taken by the same means.",
        )
    return Limit(
        "Classes that were not trained.",
        f"The test shows the same {numbers.counted(len(report.facts.classes), 'class', 'classes')} as the training. "
        "Nothing here says how well pairs of a class are told that the network has never seen, which is what a "
        "verification of people needs.",
    )


def _stricter(report: RunReport) -> Limit | None:
    beyond = [one for one in report.pairs.fnmr_at if one.fnmr is None]
    if not beyond:
        return None
    others = report.pairs.pairs - report.pairs.mated
    return Limit(
        f"False match rates below {numbers.one_in(3.0 / others)}.",
        f"There are {numbers.count(others)} pairs of two classes. {numbers.one_in(beyond[0].target_fmr)} would need "
        f"{numbers.count(beyond[0].needed)} (rule of 3): such a rate is unknown here, not zero.",
    )


def _prior(report: RunReport) -> Limit:
    share = report.pairs.mated / report.pairs.pairs
    return Limit(
        "Accuracy where matches are rarer.",
        f"{numbers.percent(share)} of these pairs are mated. Accuracy, precision, F1 and every probability hang on "
        "that share; EER, FMR and FNMR do not. Where one in a thousand is mated, precision is another number.",
    )


def _labels() -> Limit:
    return Limit(
        "Errors in the labels.",
        "A wrong label looks like an error of the network. Labels were taken as they are, and near the top of the "
        "scale they may be most of what is counted.",
    )


def _own_pictures(report: RunReport) -> Limit:
    return Limit(
        "Other pictures than these.",
        f"Everything was measured on “{report.facts.data}”. Pictures of another camera, hand or time are another set.",
    )


def _stronger(attacks: tuple[AttackCurve, ...]) -> Limit:
    if not attacks:
        return Limit(
            "Attacks.", "None was tried; a network that was not trained against them mostly falls to the first."
        )
    return Limit(
        "Stronger attacks.",
        "The curves are what FGSM and PGD found, within their steps and with this network's gradients. They prove harm "
        "and never safety: more steps, other norms, or a printed pattern were not tried.",
    )


def _maps(report: RunReport) -> Limit | None:
    if not report.maps:
        return None
    return Limit(
        "Distances on a map.",
        "A plane holds little of a space of more dimensions. On a t-SNE map neither the size of a cluster nor the room "
        "between two means anything; only who is beside whom.",
    )


def _explanations(report: RunReport) -> Limit | None:
    if not report.explained:
        return None
    return Limit(
        "Why the network decides.",
        "A map says where covering or changing the picture moves the score, and its faithfulness whether that is more "
        "than chance. It says nothing of a reason, and nothing of other pairs.",
    )


def _ills(report: RunReport) -> Limit | None:
    if not report.robustness:
        return None
    return Limit(
        "Ills that come together.",
        "Each was tried alone and on the probe only. A dark, moved and compressed frame costs more than its parts.",
    )
