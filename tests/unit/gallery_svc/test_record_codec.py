"""The text of a record is part of the store's schema: it is the same from version to version, and reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.subject_records import SubjectProfile, SubjectRecord, TemplateRecord
from tessera.domain.calibration import RateKind, Threshold
from tessera.domain.decision import Outcome
from tessera.domain.error_rates import Interval
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import CalibrationId, CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason

AT = datetime(2026, 7, 31, 12, 0, 0, 250, tzinfo=UTC)
MODEL = ModelId("m@1")
SUBJECT = SubjectRecord(
    SubjectId("s"),
    CollectionId("people"),
    SubjectProfile("Zoë", labels=("a", "b"), metadata={"k": '"'}, valid_until=AT),
    (TemplateRecord(TemplateId("t"), MODEL, AT, Quality(0.9, 0.5, 0.4, 1.0, 0.8, 0.4, (Reason.NO_FACE,)), "ff"),),
    AT,
    AT,
    3,
)
SUBJECT_TEXT = (
    '{"~":"SubjectRecord","subject_id":"s","collection_id":"people","profile":{"~":"SubjectProfile","display_name":"Zoë"'
    ',"external_id":"","labels":["a","b"],"metadata":{"k":"\\""},"consent_reference":"","valid_from":null,"valid_until":'
    '"2026-07-31T12:00:00.000250+00:00","camera_ids":[],"distinct_from":[]},"templates":[{"~":"TemplateRecord",'
    '"template_id":"t","model_id"'
    ':"m@1","created_at":"2026-07-31T12:00:00.000250+00:00","quality":{"~":"Quality","sharpness":0.9,"brightness":0.5,'
    '"contrast":0.4,"size":1.0,"pose":0.8,"overall":0.4,"reasons":["NO_FACE"],"occlusion":null,"fidelity":null},'
    '"source_sha256":"ff"}],"created_at":"2026-07-31T12:00:00.000250+00:00","updated_at":'
    '"2026-07-31T12:00:00.000250+00:00","revision":3}'
)
THRESHOLD = Threshold(0.5, RateKind.FPIR, 0.01, 1e-6, Interval(1e-7, 2e-6), 10_000, MODEL, CalibrationId("c"))
AUDIT = AuditRecord(
    "Identify", AT, "ev-1", collection_id=CollectionId("people"), outcome=Outcome.MATCH, threshold=THRESHOLD
)


def test_the_text_of_a_subject_is_what_every_version_reads() -> None:
    """Letter by letter: what is sealed in a store outlives the program."""
    assert codec.dump(SUBJECT) == SUBJECT_TEXT


@pytest.mark.parametrize("record", [SUBJECT, AUDIT])
def test_a_record_reads_back(record: SubjectRecord | AuditRecord) -> None:
    """With the types that it had."""
    made = codec.load(type(record), codec.dump(record), "key")
    assert made == record
    assert codec.dump(made) == codec.dump(record)


def test_fields_that_a_text_has_not_get_their_defaults() -> None:
    """A record of an older version is still one."""
    text = SUBJECT_TEXT.replace('"consent_reference":"",', "").replace(',"occlusion":null', "")
    text = text.replace(',"distinct_from":[]', "")
    assert codec.load(SubjectRecord, text, "key") == SUBJECT


@dataclass(frozen=True)
class _One:
    value: int | None


@dataclass(frozen=True)
class _Either:
    what: _One | Interval


def test_what_is_one_of_several_is_told_by_its_name() -> None:
    """And a name that is none of them is no such record."""
    for made in (_Either(_One(None)), _Either(Interval(0.0, 1.0))):
        assert codec.load(_Either, codec.dump(made), "key") == made
    with pytest.raises(StoreCorruptError, match="key"):
        codec.load(_Either, '{"what":{"~":"Nobody","value":1}}', "key")


@pytest.mark.parametrize("text", ["", "[]", "null", '"~"', "{}", SUBJECT_TEXT[:-1], SUBJECT_TEXT.replace("2026-", "x")])
def test_what_is_no_record_is_told_with_its_place(text: str) -> None:
    """So that somebody can look."""
    with pytest.raises(StoreCorruptError, match="shelf"):
        codec.load(SubjectRecord, text, "shelf")


def test_what_has_no_place_in_a_record_is_refused() -> None:
    """Bytes would be text that nobody reads back."""
    with pytest.raises(TypeError, match="bytes"):
        codec.dump(_One(b"1"))  # type: ignore[arg-type] # it is what must be refused


@dataclass(frozen=True)
class _Anything:
    text: str
    number: float
    count: int
    flag: bool
    at: datetime
    names: Mapping[str, str | None]
    several: tuple[float, ...]


@given(
    st.builds(
        _Anything,
        text=st.text(),
        number=st.floats(),
        count=st.integers(),
        flag=st.booleans(),
        at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(0), "Z")])),
        names=st.dictionaries(st.text(), st.none() | st.text()),
        several=st.lists(st.floats()).map(tuple),
    )
)
def test_a_text_is_what_jsons_own_encoder_writes(record: _Anything) -> None:
    """Whatever the values are: a store holds texts of both ways to write them."""
    plain = {"~": "_Anything"} | vars(record) | {"at": record.at.isoformat()}
    assert codec.dump(record) == json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def test_equal_times_of_two_zones_are_two_texts() -> None:
    """A text is not kept for another time that is equal to its own."""
    elsewhere = AT.astimezone(timezone(timedelta(hours=2)))
    assert elsewhere == AT
    assert [codec.time_text(at) for at in (AT, elsewhere, AT)] == [at.isoformat() for at in (AT, elsewhere, AT)]
