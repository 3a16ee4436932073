"""`GalleryService` as its callers see it: over real gRPC, on the store in memory and on a real Valkey."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis

from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import (
    calibration_pb2,
    collection_pb2,
    encoder_pb2,
    matching_pb2,
    subject_pb2,
)
from tests.eventually import eventually
from tests.gallery_world import (
    MODEL,
    World,
    embedded,
    emptied,
    enroll,
    identify,
    person,
    probe_of,
    refused,
    running_world,
    verify,
)
from tests.valkey import PrivateServer, forcing_server, running_server

# ---- verify


async def test_verify_answers_with_the_rate_it_stands_for(world: World) -> None:
    """The enrolled person matches at the policy's FMR; a stranger does not; neither answer shows a score."""
    await enroll(world, "ada", probe_of(person(0)))
    mated = await verify(world, "ada", probe_of(person(0, 0.5)))
    stranger = await verify(world, "ada", probe_of(person(7)))
    assert (mated.decision.outcome, stranger.decision.outcome) == (pb.OUTCOME_MATCH, pb.OUTCOME_NO_MATCH)
    threshold = mated.decision.threshold
    assert (threshold.score, threshold.target_fmr, threshold.fmr) == (0.5, 1e-4, 1e-4)
    assert (threshold.gallery_size, threshold.calibration_id) == (1, "cal-notes-1")
    assert not mated.decision.HasField("score")
    assert mated.decision.evidence_id != stranger.decision.evidence_id
    assert mated.template_id.startswith("template-")
    assert mated.probe_box.width_px == 100


async def test_a_score_is_shown_only_when_asked_for(world: World) -> None:
    """And is the cosine of the probe with the best template."""
    unlike = collection_pb2.OUTLIER_POLICY_IGNORE
    await enroll(world, "ada", probe_of(person(9)), probe_of(person(0)), outlier_policy=unlike)
    answer = await verify(world, "ada", embedded(person(0, 0.6)), with_score=True)
    assert answer.decision.score == pytest.approx(0.8, abs=1e-3)  # templates are kept as float16


async def test_verify_says_where_the_time_went(world: World) -> None:
    """The encoder's own stages for a picture, none for an embedding; the parts are inside the total."""
    await enroll(world, "ada", probe_of(person(0)))
    seen = (await verify(world, "ada", probe_of(person(0)))).times
    assert seen.encoder.total_ms == 2.0
    assert 0 < seen.encode_ms + seen.compare_ms + seen.store_ms <= seen.total_ms + 0.01
    assert not (await verify(world, "ada", embedded(person(0)))).times.HasField("encoder")


async def test_a_requested_rate_moves_the_threshold(world: World) -> None:
    """A looser FMR lets a weaker score pass; one that the calibration cannot carry is an error."""
    await enroll(world, "ada", probe_of(person(0)))
    weak = embedded(person(0, 0.9))  # scores 0.436
    assert (await verify(world, "ada", weak)).decision.outcome == pb.OUTCOME_NO_MATCH
    assert (await verify(world, "ada", weak, target_fmr=1e-3)).decision.outcome == pb.OUTCOME_MATCH
    told = await refused(verify(world, "ada", weak, target_fmr=1e-7))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALIBRATION_TOO_SMALL")
    told = await refused(verify(world, "ada", weak, target_fmr=2.0))
    assert (told.reason, told.metadata["field"]) == ("INVALID_FIELD", "target_fmr")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (probe_of(), pb.REASON_NO_FACE),
        (probe_of(person(0), person(1)), pb.REASON_EXCEEDS_MAX_FACES),
    ],
)
async def test_a_probe_without_one_face_is_inconclusive(world: World, probe: pb.Probe, reason: int) -> None:
    """No face and several are answers with their reason, not errors; the threshold is told all the same."""
    await enroll(world, "ada", probe_of(person(0)))
    decision = (await verify(world, "ada", probe)).decision
    assert (decision.outcome, list(decision.reasons)) == (pb.OUTCOME_INCONCLUSIVE, [reason])
    assert decision.HasField("threshold")


async def test_a_weak_probe_may_match_but_proves_no_stranger(world: World) -> None:
    """A match stays one, with what weakened it; a non-match that rests on a weak probe is inconclusive."""
    await enroll(world, "ada", probe_of(person(0)))
    blurred = [Reason.LOW_SHARPNESS]
    mated = (await verify(world, "ada", probe_of(person(0), reasons=blurred))).decision
    other = (await verify(world, "ada", probe_of(person(7), reasons=blurred))).decision
    assert (mated.outcome, list(mated.reasons)) == (pb.OUTCOME_MATCH, [pb.REASON_LOW_SHARPNESS])
    assert (other.outcome, list(other.reasons)) == (pb.OUTCOME_INCONCLUSIVE, [pb.REASON_LOW_SHARPNESS])


async def test_verify_asks_the_encoder_first_in_line(world: World) -> None:
    """Interactive priority and the collection's own model; enrolment has its own priority."""
    await enroll(world, "ada", probe_of(person(0)))
    await verify(world, "ada", probe_of(person(0)))
    enrolled, verified = world.encoder.asked
    assert enrolled.priority == encoder_pb2.PRIORITY_ENROLMENT
    assert verified.priority == encoder_pb2.PRIORITY_INTERACTIVE
    assert verified.options.model_id == MODEL


async def test_what_does_not_exist_is_named(world: World) -> None:
    """Subject, collection, and fields that hold nothing of use, each with its own reason and field."""
    await enroll(world, "ada", probe_of(person(0)))
    cases = [
        (verify(world, "bob", probe_of(person(0))), "SUBJECT_NOT_FOUND", "subject_id"),
        (verify(world, "ada", probe_of(person(0)), collection_id="nowhere"), "COLLECTION_NOT_FOUND", "collection_id"),
        (verify(world, "", probe_of(person(0))), "INVALID_FIELD", "subject_id"),
        (verify(world, "a b", probe_of(person(0))), "INVALID_FIELD", "subject_id"),
        (verify(world, "ada", pb.Probe()), "INVALID_FIELD", "probe"),
        (verify(world, "ada", embedded([1.0, 0.0])), "INVALID_FIELD", "probe.embedding.values"),
        (verify(world, "ada", embedded(person(0), "other@1")), "MODEL_MISMATCH", "model_id"),
        (verify(world, "ada", probe_of(error="TRUNCATED_IMAGE")), "TRUNCATED_IMAGE", "probe.image"),
        (verify(world, "ada", probe_of(person(0)), request_id="r" * 129), "INVALID_FIELD", "request_id"),
        (identify(world, probe_of(person(0)), request_id="a b"), "INVALID_FIELD", "request_id"),
    ]
    for call, reason, field in cases:
        told = await refused(call)
        assert (told.reason, told.metadata["field"]) == (reason, field)


# ---- enrolment


async def test_enrolment_judges_each_sample(world: World) -> None:
    """The good one is taken; the others say why not, in order; the subject can be verified at once."""
    answer = await enroll(
        world,
        "ada",
        probe_of(person(0)),
        probe_of(person(0), reasons=[Reason.SMALL_BOUNDING_BOX]),
        probe_of(person(0), person(1)),
        probe_of(error="NOT_AN_IMAGE"),
        display_name="Ada",
        metadata={"floor": "3"},
    )
    assert [list(result.reasons) for result in answer.results] == [
        [],
        [pb.REASON_SMALL_BOUNDING_BOX],
        [pb.REASON_EXCEEDS_MAX_FACES],
        [pb.REASON_NOT_AN_IMAGE],
    ]
    assert [result.accepted for result in answer.results] == [True, False, False, False]
    assert answer.results[0].template_id == answer.subject.templates[0].template_id
    assert len(answer.subject.templates[0].source_sha256) == 64
    kept = (await world.stub.GetSubject(subject_pb2.GetSubjectRequest(subject_id="ada"))).subject
    assert kept == answer.subject
    answered = await verify(world, "ada", probe_of(person(0)), min_position=answer.position)
    assert answered.decision.outcome == pb.OUTCOME_MATCH


async def test_an_enrolment_without_a_usable_sample_writes_nothing(world: World) -> None:
    """The error is the first sample's, and its metadata tells of each."""
    told = await refused(enroll(world, "ada", probe_of(), probe_of(person(0), reasons=[Reason.EXTREME_POSE])))
    assert (told.code, told.reason, told.metadata["field"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "NO_FACE",
        "samples[0]",
    )
    assert (told.metadata["samples[0]"], told.metadata["samples[1]"]) == ("NO_FACE", "EXTREME_POSE")
    told = await refused(world.stub.GetSubject(subject_pb2.GetSubjectRequest(subject_id="ada")))
    assert told.reason == "SUBJECT_NOT_FOUND"


async def test_require_all_refuses_the_good_with_the_bad(world: World) -> None:
    """The error names the sample that failed."""
    told = await refused(enroll(world, "ada", probe_of(person(0)), probe_of(), require_all=True))
    assert (told.reason, told.metadata["field"], told.metadata["samples[0]"]) == ("NO_FACE", "samples[1]", "usable")


async def test_a_retried_enrolment_gets_the_first_answer(world: World) -> None:
    """Same answer, marked as replayed, without the encoder; other content under the same id is refused."""
    first = await enroll(world, "", probe_of(person(0)), request_id="r1", display_name="Ada")
    asked = len(world.encoder.asked)
    again = await enroll(world, "", probe_of(person(0)), request_id="r1", display_name="Ada")
    assert again.replayed
    again.replayed = False
    assert again == first
    assert len(world.encoder.asked) == asked
    told = await refused(enroll(world, "", probe_of(person(1)), request_id="r1", display_name="Ada"))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    listed = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest())
    assert [subject.subject_id for subject in listed.subjects] == [first.subject.subject_id]


async def test_made_subject_ids_sort_by_time(world: World) -> None:
    """Two calls without an id are two subjects, the later one behind the earlier."""
    first = await enroll(world, "", probe_of(person(0)))
    await eventually(lambda: _is_later(first))
    second = await enroll(world, "", probe_of(person(0)))
    assert first.subject.subject_id < second.subject.subject_id


async def _is_later(answer: subject_pb2.EnrollSubjectResponse) -> bool:
    from datetime import UTC, datetime

    return (datetime.now(UTC) - answer.enrolled_at.ToDatetime(tzinfo=UTC)).total_seconds() > 0.002


async def test_bad_enrolments_are_refused_by_field(world: World) -> None:
    """Sizes, ids and embeddings are checked before anything is written."""
    too_long = "x" * 300
    cases = [
        (enroll(world, "ada"), "INVALID_FIELD", "samples"),
        (enroll(world, "ada", *[embedded(person(0))] * 17), "INVALID_FIELD", "samples"),
        (enroll(world, "ada", embedded(person(0)), display_name=too_long), "INVALID_FIELD", "display_name"),
        (enroll(world, "ada", embedded(person(0)), valid_from={"seconds": 1 << 50}), "INVALID_FIELD", "valid_from"),
        (enroll(world, "ada", embedded(person(0), "other@1")), "MODEL_MISMATCH", "model_id"),
        (enroll(world, "ada", embedded([0.0] * 32)), "INVALID_FIELD", "samples[0].embedding.values"),
        (enroll(world, "ada", embedded(person(0)), collection_id="nowhere"), "COLLECTION_NOT_FOUND", "collection_id"),
    ]
    for call, reason, field in cases:
        told = await refused(call)
        assert (told.reason, told.metadata["field"]) == (reason, field)


async def test_subjects_are_listed_in_pages_and_by_filter(world: World) -> None:
    """By id; only those with all the labels, or the external id."""
    for number, name in enumerate("cab"):
        labels = ["staff"] if name != "a" else ["staff", "night"]
        await enroll(world, name, embedded(person(number)), labels=labels, external_id=f"x-{name}")
    page = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(page_size=2))
    assert [subject.subject_id for subject in page.subjects] == ["a", "b"]
    rest = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(page_size=2, page_token=page.next_page_token))
    assert ([subject.subject_id for subject in rest.subjects], rest.next_page_token) == (["c"], "")
    night = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(labels=["night", "staff"]))
    assert [subject.subject_id for subject in night.subjects] == ["a"]
    found = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(external_id="x-b"))
    assert [subject.subject_id for subject in found.subjects] == ["b"]
    told = await refused(world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(page_size=1001)))
    assert told.metadata["field"] == "page_size"
    told = await refused(world.stub.ListSubjects(subject_pb2.ListSubjectsRequest(page_token="a b")))
    assert told.metadata["field"] == "page_token"


async def test_an_erased_subject_is_nowhere(world: World) -> None:
    """The receipt counts; verify and identify no longer know it; the same request gets the same receipt."""
    await enroll(world, "ada", embedded(person(0)), embedded(person(0, 0.1)))
    await enroll(world, "bob", embedded(person(9)))
    request = subject_pb2.DeleteSubjectRequest(subject_id="ada", request_id="erase-1")
    first = await world.stub.DeleteSubject(request)
    assert (first.receipt.templates_erased, first.position) == (2, 3)
    assert (await refused(verify(world, "ada", embedded(person(0))))).reason == "SUBJECT_NOT_FOUND"
    found = await identify(world, embedded(person(0)))
    assert found.identifications[0].decision.outcome == pb.OUTCOME_UNKNOWN
    assert await world.stub.DeleteSubject(request) == first
    told = await refused(world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada")))
    assert told.reason == "SUBJECT_NOT_FOUND"


# ---- identify


async def test_identify_finds_or_says_unknown(world: World) -> None:
    """One answer for each face, largest first; only candidates above the threshold are shown."""
    for number, name in enumerate(["ada", "bob", "eve"]):
        await enroll(world, name, embedded(person(number * 5)), display_name=name.title())
    answer = await identify(world, probe_of(person(5), person(20)))
    known, unknown = answer.identifications
    assert known.decision.outcome == pb.OUTCOME_MATCH
    assert [(c.subject_id, c.display_name) for c in known.candidates] == [("bob", "Bob")]
    assert (known.decision.threshold.target_fpir, known.decision.threshold.gallery_size) == (0.01, 3)
    assert (unknown.decision.outcome, list(unknown.candidates)) == (pb.OUTCOME_UNKNOWN, [])
    assert answer.position == 3


async def test_identify_shows_the_others_with_scores(world: World) -> None:
    """Best first, ties by subject id, each marked whether it reaches the threshold."""
    for name, number in (("zoe", 5), ("ada", 5), ("bob", 9)):
        await enroll(world, name, embedded(person(number)))
    candidates = (await identify(world, embedded(person(5)), with_score=True)).identifications[0].candidates
    assert [(c.subject_id, c.above_threshold, round(c.score, 3)) for c in candidates] == [
        ("ada", True, 1.0),
        ("zoe", True, 1.0),
        ("bob", False, 0.0),
    ]


async def test_identify_without_a_face_or_a_gallery_is_inconclusive(world: World) -> None:
    """Each with its reason."""
    empty = (await identify(world, embedded(person(0)))).identifications[0].decision
    assert (empty.outcome, list(empty.reasons)) == (pb.OUTCOME_INCONCLUSIVE, [pb.REASON_EMPTY_COLLECTION])
    await enroll(world, "ada", embedded(person(0)))
    nobody = (await identify(world, probe_of())).identifications
    assert [list(one.decision.reasons) for one in nobody] == [[pb.REASON_NO_FACE]]


async def test_a_gallery_that_outgrew_its_calibration_is_told_so(world: World) -> None:
    """By policy it is an answer, INCONCLUSIVE (CALIBRATION_TOO_SMALL); asked for by rate it is an error."""
    policy = collection_pb2.DecisionPolicy(identify_target_fpir=2e-5)
    collection = collection_pb2.Collection(collection_id="tight", policy=policy)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=collection))
    for number in range(4):
        await enroll(world, f"s{number}", embedded(person(number * 3)), collection_id="tight")
    grown = (await identify(world, embedded(person(0)), collection_id="tight")).identifications[0].decision
    assert (grown.outcome, list(grown.reasons)) == (pb.OUTCOME_INCONCLUSIVE, [pb.REASON_CALIBRATION_TOO_SMALL])
    told = await refused(identify(world, embedded(person(0)), collection_id="tight", target_fpir=1e-6))
    assert told.reason == "CALIBRATION_TOO_SMALL"


async def test_a_planned_size_holds_the_threshold_still(world: World) -> None:
    """Planned for 1000 subjects, the threshold is that of 1000 from the first one on."""
    policy = collection_pb2.DecisionPolicy(planned_gallery_size=1000)
    collection = collection_pb2.Collection(collection_id="planned", policy=policy)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=collection))
    await enroll(world, "ada", embedded(person(0)), collection_id="planned")
    threshold = (
        (await identify(world, embedded(person(0)), collection_id="planned")).identifications[0].decision.threshold
    )
    assert (threshold.gallery_size, threshold.score) == (1000, 0.6)


# ---- compare


async def test_compare_needs_no_collection(world: World) -> None:
    """Two pictures, a picture and an embedding; weak or empty sides as in verify."""

    def ask(first: pb.Probe, second: pb.Probe) -> matching_pb2.CompareRequest:
        return matching_pb2.CompareRequest(first=first, second=second, with_score=True)

    same = await world.stub.Compare(ask(probe_of(person(0)), probe_of(person(0, 0.6))))
    assert (same.decision.outcome, round(same.decision.score, 6)) == (pb.OUTCOME_MATCH, 0.8)
    assert same.first_quality.overall == pytest.approx(0.9)
    mixed = await world.stub.Compare(ask(embedded(person(0)), probe_of(person(3))))
    assert mixed.decision.outcome == pb.OUTCOME_NO_MATCH
    assert not mixed.HasField("first_quality")
    nobody = await world.stub.Compare(ask(probe_of(), probe_of(person(0))))
    assert list(nobody.decision.reasons) == [pb.REASON_NO_FACE]
    told = await refused(world.stub.Compare(ask(embedded(person(0)), embedded(person(0), "other@1"))))
    assert told.reason == "MODEL_MISMATCH"
    told = await refused(world.stub.Compare(ask(embedded(person(0), "x@1"), embedded(person(0), "x@1"))))
    assert told.reason == "NO_CALIBRATION"
    request = ask(probe_of(person(0)), probe_of(person(0)))
    request.modality = pb.MODALITY_SIGNATURE
    assert (await refused(world.stub.Compare(request))).metadata["field"] == "modality"


# ---- collections, calibration, what is not built


async def test_collections_come_and_go(world: World) -> None:
    """The default is there from the start; others are made, counted, listed, and deleted when empty or by force."""
    stub = world.stub
    wanted = collection_pb2.Collection(collection_id="staff", display_name="Staff", labels={"site": "north"})
    request = collection_pb2.CreateCollectionRequest(collection=wanted, request_id="c1")
    made = (await stub.CreateCollection(request)).collection
    assert (made.model_id, made.policy.verify_target_fmr, made.policy.min_tracklet_frames) == (MODEL, 1e-4, 2)
    assert (await stub.CreateCollection(request)).collection == made
    again = collection_pb2.CreateCollectionRequest(collection=wanted)
    assert (await refused(stub.CreateCollection(again))).reason == "COLLECTION_EXISTS"
    await enroll(world, "ada", embedded(person(0)), collection_id="staff")
    got = (await stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id="staff"))).collection
    assert (got.subject_count, got.template_count, got.position) == (1, 1, 1)
    listed = await stub.ListCollections(collection_pb2.ListCollectionsRequest())
    assert [one.collection_id for one in listed.collections] == ["default", "staff"]
    delete = collection_pb2.DeleteCollectionRequest(collection_id="staff")
    assert (await refused(stub.DeleteCollection(delete))).reason == "COLLECTION_NOT_EMPTY"
    delete.force = True
    assert (await stub.DeleteCollection(delete)).subjects_deleted == 1
    assert (await refused(stub.DeleteCollection(delete))).reason == "COLLECTION_NOT_FOUND"


async def test_a_collection_that_could_not_decide_is_not_made(world: World) -> None:
    """No calibration, a rate that cannot be kept, a modality without an encoder: each is refused with its reason."""
    cases = [
        (collection_pb2.Collection(collection_id="x", model_id="other@1"), "NO_CALIBRATION"),
        (
            collection_pb2.Collection(collection_id="x", policy=collection_pb2.DecisionPolicy(verify_target_fmr=1e-9)),
            "CALIBRATION_TOO_SMALL",
        ),
        (collection_pb2.Collection(collection_id="x", modality=pb.MODALITY_PERSON), "INVALID_FIELD"),
        (collection_pb2.Collection(collection_id="x y"), "INVALID_FIELD"),
    ]
    for collection, reason in cases:
        request = collection_pb2.CreateCollectionRequest(collection=collection)
        assert (await refused(world.stub.CreateCollection(request))).reason == reason


async def test_a_collections_own_gate_decides_for_its_measures(world: World) -> None:
    """A limit that is set replaces the encoder's; the sample has sharpness 0.9 and pose 0.9."""
    gate = collection_pb2.QualityGate(min_pose=0.95, min_sharpness=0.1)
    collection = collection_pb2.Collection(collection_id="gated", quality_gate=gate)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=collection))
    sample = probe_of(person(0), reasons=[Reason.LOW_SHARPNESS])
    told = await refused(enroll(world, "ada", sample, collection_id="gated"))
    assert told.metadata["samples[0]"] == "EXTREME_POSE"


async def test_the_calibration_can_be_read(world: World) -> None:
    """By model or by its own id, with every point; another is not found."""
    request = calibration_pb2.GetCalibrationRequest(model_id=MODEL)
    calibration = (await world.stub.GetCalibration(request)).calibration
    assert (calibration.calibration_id, calibration.active, len(calibration.points)) == ("cal-notes-1", True, 5)
    by_id = calibration_pb2.GetCalibrationRequest(calibration_id="cal-notes-1")
    assert (await world.stub.GetCalibration(by_id)).calibration == calibration
    other = calibration_pb2.GetCalibrationRequest(model_id="other@1")
    assert (await refused(world.stub.GetCalibration(other))).reason == "CALIBRATION_NOT_FOUND"


async def test_decisions_are_counted_by_outcome(world: World) -> None:
    """Metrics follow what was answered, and no label names a subject."""
    await enroll(world, "ada", embedded(person(0)))
    await verify(world, "ada", embedded(person(0)))
    assert world.value("tessera_gallery_decisions_total", method="verify", outcome="MATCH") == 1
    assert world.value("tessera_gallery_index_templates", collection="default") == 1
    samples = [sample for metric in world.gallery.metrics.registry.collect() for sample in metric.samples]
    assert not any("ada" in value for sample in samples for value in sample.labels.values())


# ---- the store comes and goes


async def _health(world: World) -> int:
    answer = await health_pb2_grpc.HealthStub(world.channel).Check(health_pb2.HealthCheckRequest())
    return int(answer.status)


async def test_the_gallery_survives_a_killed_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Away: not serving, calls say STORE_UNAVAILABLE, the process lives. Back: all that was acknowledged is there."""
    with forcing_server(tmp_path_factory.mktemp("killed")) as server:
        async with running_world(server.url) as world:
            await eventually(world.is_ready)
            await enroll(world, "ada", embedded(person(0)))
            server.kill()
            await eventually(lambda: _is(world, health_pb2.HealthCheckResponse.NOT_SERVING))
            call = world.stub.Verify(matching_pb2.VerifyRequest(subject_id="ada", probe=embedded(person(0))), timeout=5)
            told = await refused(call)
            assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert world.value("tessera_gallery_store_up") == 0
            server.start()
            await eventually(lambda: _is(world, health_pb2.HealthCheckResponse.SERVING))
            assert (await verify(world, "ada", embedded(person(0)))).decision.outcome == pb.OUTCOME_MATCH


async def _is(world: World, status: int) -> bool:
    return await _health(world) == status


async def test_a_store_that_comes_back_empty_is_believed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The index is loaded again from what the store holds now, and the default collection is made anew."""
    with running_server(tmp_path_factory.mktemp("first")) as server:
        async with running_world(server.url) as world:
            await eventually(world.is_ready)
            await enroll(world, "ada", embedded(person(0)))
            server.stop()
            server.folder = tmp_path_factory.mktemp("second")
            server.start()

            async def is_gone() -> bool:
                try:
                    await verify(world, "ada", embedded(person(0)))
                except grpc.aio.AioRpcError as error:
                    return error.code() is grpc.StatusCode.NOT_FOUND
                return False

            await eventually(is_gone)
            await eventually(world.is_ready)
            await enroll(world, "bob", embedded(person(1)))
            assert (await verify(world, "bob", embedded(person(1)))).decision.outcome == pb.OUTCOME_MATCH


async def test_a_gallery_without_the_stores_key_does_not_start(valkey: PrivateServer, monkeypatch: Any) -> None:
    """It ends with the setting and the key's fingerprint; what is in the store stays as it is."""
    monkeypatch.setenv("TESSERA_OTHER_KEYS", f"other {base64.b64encode(bytes(range(32, 64))).decode()}")
    async with running_world(await emptied(valkey)) as world:
        await eventually(world.is_ready)
        await enroll(world, "ada", embedded(person(0)))
    with pytest.raises(InvalidInputError, match="put it back") as told:
        async with running_world(valkey.url, keys="env:TESSERA_OTHER_KEYS") as world:
            await asyncio.wait([world.gallery.following])
    assert told.value.field == "keys"
    async with running_world(valkey.url) as world:
        await eventually(world.is_ready)
        assert (await verify(world, "ada", embedded(person(0)))).decision.outcome == pb.OUTCOME_MATCH


async def test_a_store_with_half_of_a_write_is_refused(valkey: PrivateServer) -> None:
    """A gallery that starts on it ends and says what mends it; one that runs goes on answering and is not ready."""
    async with running_world(await emptied(valkey)) as running:
        await eventually(running.is_ready)
        await enroll(running, "ada", embedded(person(0)))
        async with Redis.from_url(valkey.url) as client:
            await client.hset("tessera:{default/00}:head", "pending", "2 bob")
        with pytest.raises(InvalidInputError, match="tessera store") as told:
            async with running_world(valkey.url) as world:
                await asyncio.wait([world.gallery.following])
        assert told.value.field == "store"
        told = await refused(enroll(running, "bob", embedded(person(5))))
        assert (told.code, told.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT")


async def test_a_second_gallery_sees_what_the_first_one_wrote(valkey: PrivateServer) -> None:
    """A query that carries the position is answered from a state that includes it; an erasure sticks."""
    await emptied(valkey)
    async with running_world(valkey.url) as one, running_world(valkey.url) as other:
        await asyncio.gather(eventually(one.is_ready), eventually(other.is_ready))
        answer = await enroll(one, "newcomer", embedded(person(2)))
        seen = await verify(other, "newcomer", embedded(person(2)), min_position=answer.position)
        assert seen.decision.outcome == pb.OUTCOME_MATCH
        await one.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="newcomer"))

        async def is_forgotten() -> bool:
            found = await identify(other, embedded(person(2)))
            return found.identifications[0].decision.outcome != pb.OUTCOME_MATCH

        await eventually(is_forgotten)


async def test_a_claim_against_several_templates_is_no_looser(world: World) -> None:
    """The more templates a stranger may hit, the higher the score that each must reach; the answer says how many."""
    await enroll(world, "one", embedded(person(0)))
    await enroll(world, "two", embedded(person(5)), embedded(person(5, 0.1)))
    one = (await verify(world, "one", embedded(person(0)), target_fmr=1e-3)).decision.threshold
    two = (await verify(world, "two", embedded(person(5)), target_fmr=1e-3)).decision.threshold
    assert (one.template_count, two.template_count) == (1, 2)
    assert one.score < two.score
    assert two.fmr <= 1e-3
