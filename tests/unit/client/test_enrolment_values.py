"""Policies, gates, enrolments and corrections between messages and the SDK's values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.client.fake_messages import decision, subject
from unit.client.fake_services import Script, serving

from tessera.client import DecisionPolicy, DuplicatePolicy, OutlierPolicy, QualityGate, Tessera, Verdict
from tessera.client import collection_wire as w
from tessera.client.answers import CorrectionAction
from tessera.client.errors import DuplicateSubject
from tessera.domain import errors as e
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, subject_pb2

RATES = st.floats(1e-9, 0.999)
BOUNDS = st.none() | st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
POLICIES = st.builds(DecisionPolicy, RATES, RATES, st.integers(0, 10_000_000), st.integers(1, 100), st.booleans())
GATES = st.builds(QualityGate, BOUNDS, BOUNDS, BOUNDS, BOUNDS, BOUNDS, BOUNDS)


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def tessera(script: Script) -> Iterator[Tessera]:
    """A connection to the fake services."""
    with serving(script) as address, Tessera(address) as connected:
        yield connected


@given(POLICIES, GATES, st.dictionaries(st.text(min_size=1, max_size=5), POLICIES, max_size=3))
def test_what_was_wanted_is_what_is_told(
    policy: DecisionPolicy, gate: QualityGate, cameras: dict[str, DecisionPolicy]
) -> None:
    """A policy, a gate and cameras' policies come back as they went, bit for bit."""
    message = collection_pb2.Collection(
        policy=w.policy_to_wire(policy),
        quality_gate=w.gate_to_wire(gate),
        camera_policies=w.camera_policies_to_wire(cameras),
        retention=w.retention_to_wire(timedelta(hours=36)),
    )
    told = w.collection_from_wire(collection_pb2.Collection.FromString(message.SerializeToString()))
    assert (told.policy, told.quality_gate, dict(told.camera_policies)) == (policy, gate, cameras)
    assert told.retention == timedelta(hours=36)


def test_a_gallery_that_tells_no_policies_has_the_defaults() -> None:
    """An earlier one: FMR 1e-4, FPIR 1e-2, duplicates reported, outliers rejected, kept for ever."""
    told = w.collection_from_wire(collection_pb2.Collection(collection_id="staff"))
    assert told.policy == DecisionPolicy(1e-4, 1e-2, 0, 2, allow_extrapolation=False)
    assert (told.duplicate_policy, told.outlier_policy) == (DuplicatePolicy.REPORT, OutlierPolicy.REJECT)
    assert (told.quality_gate, told.retention) == (QualityGate(), None)


def test_both_sides_know_the_same_policies() -> None:
    """Every number has its word and comes back; none is unspecified."""
    for duplicate in DuplicatePolicy:
        number = w.duplicate_policy_to_wire(duplicate)
        assert w.collection_from_wire(collection_pb2.Collection(duplicate_policy=number)).duplicate_policy is duplicate
    for outlier in OutlierPolicy:
        number = w.outlier_policy_to_wire(outlier)
        assert w.collection_from_wire(collection_pb2.Collection(outlier_policy=number)).outlier_policy is outlier
    assert len(DuplicatePolicy) == len(collection_pb2.DuplicatePolicy.keys()) - 1
    assert len(OutlierPolicy) == len(collection_pb2.OutlierPolicy.keys()) - 1


def test_a_policy_may_be_its_word_and_must_be_one(tessera: Tessera, script: Script) -> None:
    """ "REJECT" is taken for the member; another word is refused by its field, and nothing is sent."""
    script.answers["EnrollSubject"] = subject_pb2.EnrollSubjectResponse(subject=subject("ada"))
    tessera.enroll("ada", b"jpeg", duplicate_policy="REJECT")  # type: ignore[arg-type] # what a script may do
    assert script.requests[0].duplicate_policy == collection_pb2.DUPLICATE_POLICY_REJECT
    assert script.requests[0].outlier_policy == collection_pb2.OUTLIER_POLICY_UNSPECIFIED
    with pytest.raises(InvalidInputError, match=r"outlier_policy.*REPORT"):
        tessera.enroll("ada", b"jpeg", outlier_policy="perhaps")  # type: ignore[arg-type] # what a script may do
    with pytest.raises(InvalidInputError, match=r"verdict.*NOT_THIS_SUBJECT"):
        tessera.correct("ada", b"jpeg", "maybe")  # type: ignore[arg-type] # what a script may do
    assert len(script.requests) == 1


def test_what_an_enrolment_found_is_told(tessera: Tessera, script: Script) -> None:
    """Duplicates with the threshold of the check, whether they were merged, and outliers that were accepted."""
    script.answers["EnrollSubject"] = subject_pb2.EnrollSubjectResponse(
        subject=subject("ada"),
        results=[subject_pb2.SampleResult(accepted=True, reasons=[pb.REASON_OUTLIER], template_id="t1")],
        duplicates=[
            subject_pb2.DuplicateCandidate(subject_id="ada", decision=decision("MATCH", fpir=True)),
            subject_pb2.DuplicateCandidate(subject_id="eve"),
        ],
        merged=True,
    )
    enrolment = tessera.enroll("bob", b"jpeg", duplicate_policy=DuplicatePolicy.MERGE)
    ada, eve = enrolment.duplicates
    assert (enrolment.merged, ada.subject_id, eve.threshold) == (True, "ada", None)
    assert ada.threshold is not None
    assert ada.threshold.target_rate == 1e-2
    assert (enrolment.accepted, enrolment.results[0].is_outlier) == (1, True)


def test_a_duplicate_that_is_refused_names_all_whom_it_looks_like(tessera: Tessera, script: Script) -> None:
    """Best first, as an attribute and in the details."""
    script.answers["EnrollSubject"] = e.DuplicateSubjectError(["ada", "eve"])
    with pytest.raises(DuplicateSubject) as refused:
        tessera.enroll("bob", b"jpeg")
    assert refused.value.subject_ids == ("ada", "eve")
    assert refused.value.details["subject_ids"] == "ada,eve"


def test_a_correction_is_sent_whole_and_told_by_template(tessera: Tessera, script: Script) -> None:
    """Verdict, evidence and the wish to look only; an action of a later version is survived."""
    script.answers["CorrectSubject"] = subject_pb2.CorrectSubjectResponse(
        subject=subject("ada"),
        corrections=[
            subject_pb2.TemplateCorrection(
                template_id="t1",
                action=subject_pb2.CORRECTION_ACTION_REMOVED,
                reasons=[pb.REASON_OUTLIER],
                detail="odd",
            ),
            subject_pb2.TemplateCorrection(template_id="t2", action=99),  # type: ignore[arg-type] # of a later version
        ],
        position=7,
    )
    told = tessera.correct("ada", b"jpeg", Verdict.NOT_THIS_SUBJECT, dry_run=True, evidence_id="ev-1")
    (asked,) = script.requests
    assert (asked.verdict, asked.dry_run, asked.evidence_id) == (subject_pb2.VERDICT_NOT_THIS_SUBJECT, True, "ev-1")
    assert asked.sample.image.data == b"jpeg"
    assert asked.request_id
    removed, later = told.corrections
    assert (removed.action, removed.reasons, removed.detail) == (CorrectionAction.REMOVED, (Reason.OUTLIER,), "odd")
    assert later.action is CorrectionAction.UNSPECIFIED
    assert (told.having(CorrectionAction.REMOVED), told.position) == ((removed,), 7)


def test_a_change_of_a_collection_names_only_what_it_changes(tessera: Tessera, script: Script) -> None:
    """What is not given stays; empty values, False and "unlimited" are values."""
    script.answers["UpdateCollection"] = collection_pb2.UpdateCollectionResponse()
    tessera.update_collection("staff", display_name="", retention="unlimited", labels={}, keep_source_images=False)
    tessera.update_collection("staff", outlier_policy=OutlierPolicy.IGNORE, retention=timedelta(days=1))
    first, second = script.requests
    assert set(first.update_mask.paths) == {"display_name", "retention", "labels", "keep_source_images"}
    assert not first.collection.HasField("retention")
    assert set(second.update_mask.paths) == {"outlier_policy", "retention"}
    assert second.collection.retention.seconds == 86_400
