"""Whether enrolments tell duplicates and wrong pictures: planted ones, in people whom the thresholds never saw.

Twelve times LFW's subjects are cut into two random halves. One calibrates, the other is enrolled, by the gallery's own
`Enroller` over the store in memory and the exact index, and its own checks answer, with the thresholds of that
calibration; then the other way round, since wrong labels that one half lacks are in the other. The shipped calibration
is not used: it was measured on all of these pictures.

Duplicates: 1,000 of the other half are enrolled with up to k pictures. Each of them who has m more is planted again
under a new id; found means that the check names this very subject. Then everybody of the half is looked at as a
stranger, with up to m pictures: those who are not enrolled, and those who are with their own id left out, as if they
were not. Whoever is named for one is a false alarm. k/m is 1/1, 2/2, 1/3 and 3/3, and what is asked for is asked of
each.

Wrong labels of LFW (one person under two names) are left in on both sides. They are most of what the calibrating half
has at so low a rate, so that its threshold, and with it what is found, differs from half to half by how many of them it
got. Some are proven: the same photograph under two names, or one name written in two ways. Alarms about these are no
false ones; the rate is told with them and without them, and the bar is held against both. All others stay in.

Outliers, in one half of each split: a picture of somebody else takes the place of one of the 3, 4 or 5 pictures of a
new subject, or is added to a subject that has 1, 2, 3 or 5 templates. Right pictures that are told are false alarms.
Beside the product's rule (the score with the mean embedding of the others) stand three others at the same threshold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import Indices, LabelledFaces, faces
from benchmarks.decisions.enrolling import CheckedGallery
from benchmarks.decisions.fpir import Half, calibrate, halves
from benchmarks.decisions.plan import Plan, Story
from gallery_svc.integrity import OUTLIER_FMR
from gallery_svc.thresholds import Thresholds
from tessera.chassis.logs import configure_logs
from tessera.domain.calibration import Calibration
from tessera.domain.dependence import jackknife_spread, subject_adjusted_wilson
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.error_rates import Interval

SPLITS = 12
ENROLLED = 1000
PAIRS = ((1, 1), (2, 2), (1, 3), (3, 3))
"""Pictures of whom is enrolled, and of the planted duplicate."""
FOUND_BAR, ALARM_BAR, OUTLIER_BAR = 0.98, 0.005, 0.95
BATCHES, OWN = (3, 4, 5), (1, 2, 3, 5)
PROVEN = frozenset(
    frozenset(pair)
    for pair in (
        ("Emmy_Rossum", "Eva_Amurri"),
        ("Gabrielle_Rose", "Martha_Bowen"),
        ("Andrew_Caldecott", "Andrew_Gilligan"),
        ("Chyung_Dai-chul", "Dai_Chul_Chyung"),
        ("Hasan_Wirayuda", "Hassan_Wirajuda"),
    )
)
"""One person under two names, whatever any face recognition says (docs/enrolment-checks.md)."""

PRODUCT = "mean embedding"
RULES: dict[str, Callable[[Vectors, Vectors], float]] = {
    "nearest": lambda sample, others: float((others @ sample).max()),
    "median score": lambda sample, others: float(np.median(others @ sample)),
    "mean score": lambda sample, others: float((others @ sample).mean()),
}
"""The rules that the product does not have."""


@dataclass(slots=True)
class Counts:
    """Trials and errors, by subject."""

    subject: list[int] = field(default_factory=list)
    error: list[bool] = field(default_factory=list)

    def add(self, subject: int, *, error: bool) -> None:
        """One more trial."""
        self.subject.append(subject)
        self.error.append(error)

    @property
    def share(self) -> float:
        """Of trials that erred."""
        return float(np.mean(self.error)) if self.error else float("nan")

    @property
    def interval(self) -> Interval:
        """95 %: trials of a subject hang together."""
        subjects = np.array(self.subject, np.intp)
        return subject_adjusted_wilson(np.bincount(subjects, self.error), np.bincount(subjects))


@dataclass(slots=True)
class Alarms:
    """Looks at strangers, and whom each was taken for."""

    stranger: list[int] = field(default_factory=list)
    named: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, stranger: int, named: tuple[int, ...]) -> None:
        """One more look."""
        self.stranger.append(stranger)
        self.named.append(named)

    def rate(self) -> float:
        """The share of looks that named somebody."""
        return sum(map(bool, self.named)) / len(self.named) if self.named else float("nan")

    def interval(self) -> Interval:
        """95 %, by leaving out each subject in turn: as a stranger, and as the only one who is named."""
        stranger, alarm = np.array(self.stranger, np.intp), np.array([bool(who) for who in self.named])
        size = 1 + max(self.stranger + [who for many in self.named for who in many])
        sole = [(a, who[0]) for a, who in zip(self.stranger, self.named, strict=True) if len(who) == 1]
        lost = np.bincount(stranger, alarm, size) + np.bincount([who for _, who in sole], minlength=size)
        looks, errors = np.bincount(stranger, minlength=size), int(alarm.sum())
        if not errors:
            return subject_adjusted_wilson(np.zeros(size), looks)
        pairs = np.unique(np.sort(np.array(sole, np.intp).reshape(-1, 2), axis=1), axis=0, return_counts=True)[1]
        twice = float((pairs.astype(np.float64) ** 2).sum()) / len(alarm) ** 2
        rate = errors / len(alarm)
        without = (errors - lost) / (len(alarm) - looks)
        return jackknife_spread(without, rate, len(alarm), twice, rate * (1 - rate) / len(alarm)).interval

    def without(self, proven: Callable[[int, int], bool]) -> Alarms:
        """The same, where those who are proven to be one person are not named for one another."""
        kept = Alarms()
        for stranger, named in zip(self.stranger, self.named, strict=True):
            kept.add(stranger, tuple(who for who in named if not proven(stranger, who)))
        return kept


@dataclass(slots=True)
class Duplicates:
    """What became of one kind of planting."""

    missed: Counts = field(default_factory=Counts)
    worst: float = 0.0
    """The largest share that was missed in one half."""
    alarms: Alarms = field(default_factory=Alarms)
    """Of all strangers, with as many pictures as they have, up to m."""
    full: Alarms = field(default_factory=Alarms)
    """Of strangers that have m."""


def integrity(plan: Plan) -> Story:
    """Planted duplicates, then planted wrong pictures."""
    configure_logs("benchmark", level="warning")  # each enrolment has a line of its own
    people, story, rng = faces(), Story(), plan.rng()
    planted = {pair: Duplicates() for pair in PAIRS}
    outliers: Tallies = {
        (kind, count, rule): (Counts(), Counts())
        for kind, counts in (("pictures", BATCHES), ("templates", OWN))
        for count in counts
        for rule in (PRODUCT, *RULES)
    }
    for _ in range(plan.count(SPLITS, 1)):
        one, other = halves(people, rng)
        for own, others in ((one, other), (other, one)):
            thresholds = decided_by(calibrate(own, people), people)
            for pair, told in planted.items():
                gallery = CheckedGallery(thresholds, people.model_id)
                asyncio.run(plant_duplicates(gallery, others, pair, told, rng))
        asyncio.run(plant_outliers(others, thresholds, outliers, rng))
    for pair, told in planted.items():
        _tell_duplicates(story, people, pair, told)
    for key, (missed, right) in outliers.items():
        _tell_outliers(story, key, missed, right)
    return story


def decided_by(calibration: Calibration, people: LabelledFaces) -> Thresholds:
    """A gallery's thresholds, of this one calibration."""
    dimensions = {people.model_id: int(people.vectors.shape[1])}
    return Thresholds([calibration], {Modality.FACE: people.model_id}, dimensions)


# ---- duplicates


async def plant_duplicates(
    gallery: CheckedGallery, half: Half, pair: tuple[int, int], told: Duplicates, rng: np.random.Generator
) -> None:
    """Enrol a gallery, plant everybody in it who has pictures left, and look at everybody as a stranger."""
    k, m = pair
    everybody = list(shuffled(half, rng.permutation(np.unique(half.subjects)), rng))
    enrolled = everybody[:ENROLLED]
    async with gallery:
        for who, pictures in enrolled:
            await gallery.enrol(who, pictures[:k])
        planted = [(who, pictures[k : k + m]) for who, pictures in enrolled if len(pictures) >= k + m]
        missed = [who not in await gallery.duplicates(pictures) for who, pictures in planted]
        for (who, _), error in zip(planted, missed, strict=True):
            told.missed.add(who, error=error)
        told.worst = max(told.worst, float(np.mean(missed)) if missed else 0.0)
        for who, pictures in everybody:
            named = await gallery.duplicates(pictures[:m], left_out=who)
            told.alarms.add(who, named)
            if len(pictures) >= m:
                told.full.add(who, named)


def shuffled(half: Half, who: Indices, rng: np.random.Generator) -> Iterator[tuple[int, Vectors]]:
    """Of each of these subjects all pictures, in random order."""
    by_subject = np.argsort(half.subjects, kind="stable")
    begins = np.searchsorted(half.subjects[by_subject], [who, who + 1])
    for subject, begin, end in zip(who.tolist(), *begins.tolist(), strict=True):
        yield subject, half.vectors[rng.permutation(by_subject[begin:end])]


def _tell_duplicates(story: Story, people: LabelledFaces, pair: tuple[int, int], told: Duplicates) -> None:
    k, m = pair
    names = dict(zip(people.subjects.tolist(), people.people, strict=True))
    name = f"integrity: duplicates, {k} enrolled against {m}"
    found, missed = 1.0 - told.missed.share, told.missed.interval
    least, most = f"at least {FOUND_BAR:.0%}", f"at most {ALARM_BAR:.1%}"
    story.add(f"{name}: found", found, f"of {len(told.missed.error)}", least, found >= FOUND_BAR)
    story.add(f"{name}: found, 95 % interval", f"{1 - missed.high:.4f} to {1 - missed.low:.4f}", "share")
    story.add(f"{name}: found in the half with fewest", 1.0 - told.worst, "share")
    proven = told.alarms.without(lambda one, other: frozenset((names[one], names[other])) in PROVEN)
    story.add(f"{name}: false alarms", proven.rate(), f"of {len(proven.named)}", most, proven.rate() <= ALARM_BAR)
    _tell_interval(story, f"{name}: false alarms", proven.interval())
    labelled = told.alarms.rate()
    story.add(f"{name}: false alarms, by the labels as they are", labelled, "share", most, labelled <= ALARM_BAR)
    of_full = told.full.without(lambda one, other: frozenset((names[one], names[other])) in PROVEN)
    story.add(f"{name}: false alarms for strangers with {m}", of_full.rate(), f"of {len(of_full.named)}")
    _tell_interval(story, f"{name}: false alarms for strangers with {m}", of_full.interval())


def _tell_interval(story: Story, name: str, interval: Interval) -> None:
    story.add(f"{name}, 95 % interval", f"{interval.low:.4f} to {interval.high:.4f}", "share")


# ---- outliers

Tallies = dict[tuple[str, int, str], tuple[Counts, Counts]]
"""By kind, number of pictures or templates, and rule: wrong pictures that were missed, right ones that were told."""


async def plant_outliers(half: Half, thresholds: Thresholds, tallies: Tallies, rng: np.random.Generator) -> None:
    """A wrong picture for everybody who has enough right ones, in each way."""
    model_id = thresholds.default_model(Modality.FACE)
    least = thresholds.for_comparison(model_id, OUTLIER_FMR).score
    for count in BATCHES:
        async with CheckedGallery(thresholds, model_id) as gallery:
            for who, right in shuffled(half, np.unique(half.subjects), rng):
                if len(right) >= count - 1:
                    pictures, at = with_wrong(right[: count - 1], stranger(half, who, rng), rng)
                    verdicts = await gallery.outliers(None, pictures)
                    _count(tallies["pictures", count, PRODUCT], who, verdicts, at)
                    for rule, score in RULES.items():
                        odd = [score(row, np.delete(pictures, i, axis=0)) < least for i, row in enumerate(pictures)]
                        _count(tallies["pictures", count, rule], who, odd, at)
    for count in OWN:
        async with CheckedGallery(thresholds, model_id) as gallery:
            for who, right in shuffled(half, np.unique(half.subjects), rng):
                if len(right) > count:
                    await gallery.enrol(who, right[:count])
                    wrong = stranger(half, who, rng)
                    odd = [(await gallery.outliers(who, row[None]))[0] for row in (wrong, right[count])]
                    _count(tallies["templates", count, PRODUCT], who, odd, 0)
                    for rule, score in RULES.items():
                        odd = [score(row, right[:count]) < least for row in (wrong, right[count])]
                        _count(tallies["templates", count, rule], who, odd, 0)


def with_wrong(right: Vectors, wrong: npt.NDArray[np.float32], rng: np.random.Generator) -> tuple[Vectors, int]:
    """Right pictures with a wrong one among them, and where it is."""
    at = int(rng.integers(len(right) + 1))
    return np.insert(right, at, wrong, axis=0), at


def stranger(half: Half, who: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A picture of a random other subject."""
    subjects = np.unique(half.subjects)
    other = rng.choice(subjects[subjects != who])
    return np.asarray(half.vectors[rng.choice(np.flatnonzero(half.subjects == other))])


def _count(tallies: tuple[Counts, Counts], who: int, verdicts: Sequence[bool], wrong_at: int) -> None:
    missed, told = tallies
    for at, odd in enumerate(verdicts):
        if at == wrong_at:
            missed.add(who, error=not odd)
        else:
            told.add(who, error=odd)


def _tell_outliers(story: Story, key: tuple[str, int, str], missed: Counts, told: Counts) -> None:
    kind, count, rule = key
    where = (
        f"one of {count} pictures" if kind == "pictures" else f"a picture beside {count} template{'s' * (count > 1)}"
    )
    name, asked = f"integrity: outliers, {where}, {rule}", rule == PRODUCT
    found, interval = 1.0 - missed.share, missed.interval
    bar, holds = (f"at least {OUTLIER_BAR:.0%}", found >= OUTLIER_BAR) if asked else ("", None)
    story.add(f"{name}: found", found, f"of {len(missed.error)}", bar, holds)
    story.add(f"{name}: right ones told", told.share, f"of {len(told.error)}")
    if asked:
        story.add(f"{name}: found, 95 % interval", f"{1 - interval.high:.4f} to {1 - interval.low:.4f}", "share")
        _tell_interval(story, f"{name}: right ones told", told.interval)
