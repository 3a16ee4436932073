"""A head is kept only where people never seen are better off with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siamese_lab.adaptation import command as command_module
from siamese_lab.adaptation.closed_forms import centred, scatter, two_covariance, whitened, within_normalised
from siamese_lab.adaptation.command import adapt, command
from siamese_lab.adaptation.guard import AS_SERVED, Candidates, choose, deal, judge, paired_gains
from siamese_lab.adaptation.head import HEAD_FILE, Head, affine_head, load_head
from siamese_lab.adaptation.templates import LabelledTemplates, labelled_templates, read_templates, write_templates
from tessera.domain.errors import ArtifactError, CalibrationTooSmallError, InvalidInputError
from tests.unit.siamese_lab.adaptation.made_up_people import DIMENSIONS, made_up_people

FMRS = (1e-2, 1e-3)
WITHIN: Candidates = {"within": lambda templates: within_normalised(templates, 0.9)}


def spoiled(templates: LabelledTemplates) -> Head:
    """A head that drops most of what tells people apart."""
    return affine_head("spoiled", templates.model_id, np.diag([1.0] * 3 + [1e-3] * (DIMENSIONS - 3)), np.zeros(16))


def by_heart(templates: LabelledTemplates) -> Head:
    """A head that is perfect for the people it was fitted on and ruins the others: it believes whitening in full."""
    return whitened(templates, 1.0)


def test_what_helps_is_found_and_the_gain_holds_on_people_never_seen() -> None:
    """Where everybody is disturbed along the same directions, normalising them is chosen, and its gain is proven."""
    verdict = judge(
        made_up_people(300, 1, nuisance=2.0), WITHIN, np.random.default_rng(1), fmrs=FMRS, folds=3, replicates=100
    )
    assert verdict.helps
    assert set(verdict.chosen) == {"within"}
    assert all(gain.after < gain.before for gain in verdict.gains)
    head = within_normalised(made_up_people(300, 1, nuisance=2.0), 0.9)
    others = made_up_people(300, 99, nuisance=2.0)
    through = LabelledTemplates(head.apply(others.vectors), others.subjects, others.model_id)
    fresh = paired_gains([others], [through], FMRS, np.random.default_rng(2))
    assert all(gain.gain.interval.low > 0.0 for gain in fresh)


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_is_to_be_gained_the_guard_says_no(seed: int) -> None:
    """With nothing shared that disturbs, no head is proven to help, whatever is tried."""
    ways: Candidates = {**WITHIN, "whitened": by_heart, "centred": centred}
    verdict = judge(made_up_people(200, seed), ways, np.random.default_rng(seed), fmrs=FMRS, folds=3, replicates=100)
    assert not verdict.helps


def test_a_head_that_harms_is_shown_to_and_is_not_chosen() -> None:
    """Validation leaves it out, and the table says by how much it would have harmed."""
    verdict = judge(
        made_up_people(200, 1), {"spoiled": spoiled}, np.random.default_rng(1), fmrs=FMRS, folds=3, replicates=100
    )
    assert set(verdict.chosen) == {AS_SERVED}
    assert verdict.candidates["spoiled"][-1].gain.interval.high < 0.0
    assert verdict.gains[-1].gain.value == 0.0
    assert not verdict.helps


def test_nobody_is_judged_by_a_head_that_knew_them() -> None:
    """Of every fit within the guard, no person is among those whom its head is then asked about."""
    templates = made_up_people(90, 1)
    known = {tuple(np.round(row, 6)): int(who) for row, who in zip(templates.vectors, templates.subjects, strict=True)}

    def watched(learned: LabelledTemplates) -> Head:
        fitted_on = {known[tuple(np.round(row, 6))] for row in learned.vectors}
        head = affine_head("watched", learned.model_id, np.eye(DIMENSIONS), np.zeros(DIMENSIONS))
        asked: Callable[[np.ndarray], np.ndarray] = head.apply

        class Watched:
            def apply(self, vectors: np.ndarray) -> np.ndarray:
                assert not fitted_on & {known[tuple(np.round(row, 6))] for row in vectors}
                return asked(vectors)

        return Watched()  # type: ignore[return-value] # stands for a head

    judge(templates, {"watched": watched}, np.random.default_rng(1), fmrs=(1e-2,), folds=3, replicates=100)


def test_people_are_dealt_evenly_and_whole() -> None:
    """Each fold has as many people of each number of templates, give or take one, and every person one fold."""
    names = [f"{at:03d}" for at in range(60)] + [f"{at:03d}" for at in range(30) for _ in range(2)]
    vectors = np.eye(8, dtype=np.float32)[np.arange(len(names)) % 8]
    templates = labelled_templates(vectors, names, "e@1")
    dealt = deal(templates, 4, np.random.default_rng(1))
    counts = np.bincount(templates.subjects)
    for size in (1, 3):
        held = np.bincount(dealt[counts == size], minlength=4)
        assert held.max() - held.min() <= 1


def test_the_paired_interval_is_narrower_than_the_rates_own() -> None:
    """Who is asked moves FNMR before and after together: the difference is known better than either."""
    before = made_up_people(200, 1, nuisance=1.0)
    head = within_normalised(made_up_people(200, 2, nuisance=1.0), 0.2)
    after = LabelledTemplates(head.apply(before.vectors), before.subjects, before.model_id)
    other = made_up_people(200, 3, nuisance=1.0)
    rng = np.random.default_rng
    paired = paired_gains([before], [after], (1e-2,), rng(1), 100)[0].gain.interval
    apart = paired_gains([before], [other], (1e-2,), rng(1), 100)[0].gain.interval
    assert paired.high - paired.low < apart.high - apart.low


def test_too_few_people_carry_no_strict_rate() -> None:
    """Where the people of a fold make fewer comparisons than the rule of 3 asks for, the rate is refused."""
    with pytest.raises(CalibrationTooSmallError):
        judge(made_up_people(60, 1), WITHIN, np.random.default_rng(1), fmrs=(1e-4,), folds=5)


def test_of_equally_good_ways_the_first_is_taken() -> None:
    """A way that changes nothing is not chosen over leaving things as they are."""
    ways: Candidates = {
        AS_SERVED: lambda seen: affine_head("a", seen.model_id, np.eye(DIMENSIONS), np.zeros(DIMENSIONS)),
        "twice": lambda seen: affine_head("b", seen.model_id, 2 * np.eye(DIMENSIONS), np.zeros(DIMENSIONS)),
    }
    assert choose(made_up_people(60, 1), ways, np.random.default_rng(1), 1e-3) == AS_SERVED


def test_the_scatter_is_that_of_a_plain_loop() -> None:
    """Middle, within and means' covariance agree with sums person by person."""
    templates = made_up_people(40, 1, nuisance=0.5)
    rows = templates.vectors.astype(float)
    means, within, free = [], np.zeros((DIMENSIONS, DIMENSIONS)), 0
    for who in range(40):
        mine = rows[templates.subjects == who]
        means.append(mine.mean(axis=0))
        for row in mine:
            within += np.outer(row - means[-1], row - means[-1])
        free += len(mine) - 1
    seen = scatter(templates)
    assert seen.middle == pytest.approx(np.mean(means, axis=0))
    assert seen.within == pytest.approx(within / free)
    assert seen.of_means == pytest.approx(np.cov(np.array(means).T))


@pytest.mark.parametrize("fit", [whitened, within_normalised, two_covariance])
def test_strengths_out_of_range_are_told(fit: Callable[[LabelledTemplates, float], Head]) -> None:
    """A strength is above 0 and at most 1."""
    for strength in (0.0, 1.5):
        with pytest.raises(InvalidInputError):
            fit(made_up_people(30, 1), strength)


def test_a_head_is_written_where_it_helps_and_goes_where_it_does_not(tmp_path: Path) -> None:
    """The head of an earlier run does not stay beside a report that says no."""
    helped = adapt(made_up_people(300, 1, nuisance=2.0), WITHIN, tmp_path, fmrs=FMRS, folds=3, replicates=100)
    assert helped.head is not None
    assert np.array_equal(load_head(tmp_path).matrix, helped.head.matrix)
    refused = adapt(made_up_people(200, 1), {"spoiled": spoiled}, tmp_path, fmrs=FMRS, folds=3, replicates=100)
    assert refused.head is None
    assert not (tmp_path / HEAD_FILE).exists()
    facts = json.loads((tmp_path / "adaptation.json").read_text())
    assert facts["helps"] is False
    assert facts["head"] is None


def test_the_command_says_what_came_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file of templates to a folder with a head, in words and with the interval."""
    monkeypatch.setattr(command_module, "all_candidates", lambda: WITHIN)
    templates = made_up_people(150, 1, nuisance=2.0)
    file = tmp_path / "templates.npz"
    write_templates(file, templates.vectors, [str(who) for who in templates.subjects], templates.model_id)
    arguments = ["--templates", str(file), "--out", str(tmp_path / "out"), "--fmr", "0.01", "--fmr", "0.001"]
    done = CliRunner().invoke(command, [*arguments, "--folds", "3"])
    assert done.exit_code == 0, done.output
    assert "Helps." in done.output
    assert (tmp_path / "out" / HEAD_FILE).is_file()


def test_templates_come_back_from_their_file_or_are_refused(tmp_path: Path) -> None:
    """A file is read as it was written; one that is no such file, and one of too few people, are errors."""
    templates = made_up_people(30, 1)
    file = tmp_path / "templates.npz"
    write_templates(file, templates.vectors, [f"{who:02d}" for who in templates.subjects], templates.model_id)
    back = read_templates(file)
    assert back.vectors == pytest.approx(templates.vectors, abs=1e-6)
    assert np.array_equal(back.subjects, templates.subjects)
    file.write_bytes(b"no archive")
    with pytest.raises(ArtifactError):
        read_templates(file)
    with pytest.raises(InvalidInputError):
        labelled_templates(templates.vectors[:30], [str(at) for at in range(30)], "e@1")
