"""Calibrations know whose false matches their rates count, and so does every threshold that comes out of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gallery_svc.store import codec
from gallery_svc.store.collection_records import PolicyRecord
from gallery_svc.thresholds import Thresholds
from tessera.client.collection_values import DecisionPolicy
from tessera.client.collection_wire import policy_to_wire
from tessera.client.wire import impostors_from_wire, impostors_to_wire, threshold_from_wire, threshold_to_wire
from tessera.domain.artifact import (
    SKILLED_CALIBRATION_FILE,
    available_encoders,
    load_calibrations_for,
    parse_calibration,
)
from tessera.domain.calibration import (
    PERSON_TARGET_FMR,
    USUAL_IMPOSTORS,
    Impostors,
    dump_calibration,
    load_calibration,
)
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, InvalidInputError, NoCalibrationError
from tests.signature_world import MANIFEST, RANDOM, SKILLED, thresholds


def test_a_calibration_keeps_its_impostors() -> None:
    """Written and read; one that was written before there were any is against random ones."""
    assert load_calibration(dump_calibration(SKILLED), "here") == SKILLED
    raw = json.loads(dump_calibration(RANDOM))
    del raw["impostors"]
    assert load_calibration(json.dumps(raw), "here").impostors is Impostors.RANDOM
    with pytest.raises(ArtifactError, match="NOBODY"):
        load_calibration(json.dumps(raw | {"impostors": "NOBODY"}), "here")


@pytest.mark.parametrize("calibration", [RANDOM, SKILLED])
def test_a_threshold_says_against_whom(calibration: object) -> None:
    """Of one comparison and of a search; over the wire too."""
    assert calibration in (RANDOM, SKILLED)
    chosen = RANDOM if calibration is RANDOM else SKILLED
    for threshold in (chosen.threshold_for_fmr(0.05, templates=3), chosen.threshold_for_fpir(0.1, 2)):
        assert threshold.impostors is chosen.impostors
        assert threshold_from_wire(threshold_to_wire(threshold), chosen.model_id).impostors is chosen.impostors


def test_each_kind_decides_for_itself() -> None:
    """A skilled threshold is the higher one; a search is against random ones; what is chosen later is random."""
    known = thresholds(RANDOM, SKILLED)
    model_id = MANIFEST.model_id
    strict = known.for_comparison(model_id, 0.01, impostors=Impostors.SKILLED)
    assert strict.score > known.for_comparison(model_id, 0.01).score
    assert known.for_search(model_id, 0.1, 1).impostors is Impostors.RANDOM
    known.choose(model_id, replace(RANDOM, points=RANDOM.points[:1]))
    assert known.for_comparison(model_id, 0.01, impostors=Impostors.SKILLED) == strict
    known.withhold(model_id)
    with pytest.raises(NoCalibrationError):
        known.for_comparison(model_id, 0.01)
    assert known.for_comparison(model_id, 0.01, impostors=Impostors.SKILLED) == strict


def test_no_other_kind_stands_in() -> None:
    """A model without a calibration against forgers decides nothing against them, and the error says so."""
    only = Thresholds([RANDOM], {Modality.SIGNATURE: MANIFEST.model_id}, {})
    with pytest.raises(NoCalibrationError, match="against skilled impostors"):
        only.for_comparison(MANIFEST.model_id, 0.05, impostors=Impostors.SKILLED)


def test_a_file_has_the_impostors_of_its_name() -> None:
    """A table against strangers in the place of one against forgers would open desks: it is refused."""
    text = dump_calibration(RANDOM)
    with pytest.raises(ArtifactError, match="against RANDOM impostors"):
        parse_calibration(text, SKILLED_CALIBRATION_FILE, MANIFEST.model_id, Impostors.SKILLED)


def test_what_ships_is_in_its_place() -> None:
    """At most one of each kind for each encoder, and of signatures both."""
    for name in available_encoders():
        kinds = [one.impostors for one in load_calibrations_for(name)]
        assert len(kinds) == len(set(kinds))
        if name.startswith("signature-"):
            assert set(kinds) == set(Impostors)


@pytest.mark.parametrize("modality", list(Modality))
def test_a_policy_has_the_usual_impostors_of_its_modality(modality: Modality) -> None:
    """With their own rate, persons with a looser one; store and wire keep them, and an older record has random ones."""
    policy = PolicyRecord.usual(modality)
    assert policy.impostors is USUAL_IMPOSTORS[modality]
    usual = PERSON_TARGET_FMR if modality is Modality.PERSON else policy.impostors.default_target_fmr
    assert policy.verify_target_fmr == usual
    assert codec.load(PolicyRecord, codec.dump(policy), "here") == policy
    older = json.loads(codec.dump(policy))
    del older["impostors"]
    assert codec.load(PolicyRecord, json.dumps(older), "here").impostors is Impostors.RANDOM
    assert policy_to_wire(DecisionPolicy.usual(modality)).impostors == impostors_to_wire(policy.impostors)


def test_unknown_impostors_are_refused_and_unsaid_ones_have_a_default() -> None:
    """A number of a later version is not taken for something else."""
    assert impostors_from_wire(impostors_to_wire(None), Impostors.SKILLED) is Impostors.SKILLED
    with pytest.raises(InvalidInputError, match="RANDOM, SKILLED"):
        impostors_from_wire(99)


def test_a_folder_is_read_with_both(tmp_path: Path) -> None:
    """The one against forgers need not be there."""
    assert {one.impostors for one in load_calibrations_for("face-sface-2", [tmp_path])} == {Impostors.RANDOM}
