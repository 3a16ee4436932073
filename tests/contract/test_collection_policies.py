"""What a collection says of itself beyond its rates: kept, told again, changed, and refused where it cannot hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import duration_pb2, field_mask_pb2

from tessera.v1 import collection_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, person, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory that looks for subjects whose time is over all the time."""
    async with running_world("memory", retention_interval_s=0.02) as world:
        await eventually(world.is_ready)
        yield world


def wanted(**fields: object) -> collection_pb2.CreateCollectionRequest:
    """A collection of staff."""
    return collection_pb2.CreateCollectionRequest(
        collection=collection_pb2.Collection(collection_id="staff", **fields)  # type: ignore[arg-type] # a test's own
    )


async def test_policies_come_back_as_they_went_in(world: World) -> None:
    """Duplicates, outliers, retention, cameras and extrapolation are told by GetCollection as they were asked for."""
    made = await world.stub.CreateCollection(
        wanted(
            duplicate_policy=collection_pb2.DUPLICATE_POLICY_MERGE,
            outlier_policy=collection_pb2.OUTLIER_POLICY_REPORT,
            retention=duration_pb2.Duration(seconds=7200),
            policy=collection_pb2.DecisionPolicy(verify_target_fmr=1e-3, allow_extrapolation=True),
            camera_policies={"door": collection_pb2.DecisionPolicy(identify_target_fpir=0.05, min_tracklet_frames=4)},
        )
    )
    found = await world.stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id="staff"))
    assert found.collection == made.collection
    assert found.collection.duplicate_policy == collection_pb2.DUPLICATE_POLICY_MERGE
    assert found.collection.outlier_policy == collection_pb2.OUTLIER_POLICY_REPORT
    assert found.collection.retention.seconds == 7200
    assert found.collection.policy.allow_extrapolation
    door = found.collection.camera_policies["door"]
    assert (door.identify_target_fpir, door.min_tracklet_frames, door.verify_target_fmr) == (0.05, 4, 1e-4)


async def test_unset_policies_are_told_by_name(world: World) -> None:
    """A collection that says nothing reports duplicates, rejects outliers, and keeps its subjects."""
    made = (await world.stub.CreateCollection(wanted())).collection
    assert made.duplicate_policy == collection_pb2.DUPLICATE_POLICY_REPORT
    assert made.outlier_policy == collection_pb2.OUTLIER_POLICY_REJECT
    assert not made.HasField("retention")


async def test_policies_can_be_changed(world: World) -> None:
    """An update with their names in its mask changes them, and what the mask leaves out stays."""
    await world.stub.CreateCollection(wanted(retention=duration_pb2.Duration(seconds=7200)))
    change = collection_pb2.Collection(collection_id="staff", duplicate_policy=collection_pb2.DUPLICATE_POLICY_REJECT)
    mask = field_mask_pb2.FieldMask(paths=["duplicate_policy"])
    changed = await world.stub.UpdateCollection(
        collection_pb2.UpdateCollectionRequest(collection=change, update_mask=mask)
    )
    assert changed.collection.duplicate_policy == collection_pb2.DUPLICATE_POLICY_REJECT
    assert changed.collection.retention.seconds == 7200


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"retention": duration_pb2.Duration(seconds=60)}, "retention"),
        ({"retention": duration_pb2.Duration(seconds=-1)}, "retention"),
        ({"duplicate_policy": 99}, "duplicate_policy"),
        ({"outlier_policy": 99}, "outlier_policy"),
        ({"camera_policies": {"a door": collection_pb2.DecisionPolicy()}}, "camera_policies"),
        (
            {"camera_policies": {"door": collection_pb2.DecisionPolicy(min_tracklet_frames=101)}},
            "camera_policies[door].min_tracklet_frames",
        ),
        (
            {"camera_policies": {str(n): collection_pb2.DecisionPolicy() for n in range(257)}},
            "camera_policies",
        ),
    ],
)
async def test_what_cannot_hold_is_refused_by_name(world: World, fields: dict[str, object], named: str) -> None:
    """A wrong value is refused with its field, and nothing is made."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.CreateCollection(wanted(**fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in str(refused.value.details())
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await world.stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id="staff"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_camera_policy_that_the_calibration_cannot_carry_is_refused(world: World) -> None:
    """The rates of each camera are held to the data, as those of the collection are."""
    strict = {"door": collection_pb2.DecisionPolicy(verify_target_fmr=1e-9)}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.CreateCollection(wanted(camera_policies=strict))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_subject_of_an_hour_ago_is_not_erased_before_its_time(world: World) -> None:
    """Looks that come all the time leave a subject alone whose retention is not over."""
    await world.stub.CreateCollection(wanted(retention=duration_pb2.Duration(seconds=3600)))
    await enroll(world, "ada", embedded(person(1)), collection_id="staff")
    question = subject_pb2.GetSubjectRequest(collection_id="staff", subject_id="ada")
    assert (await world.stub.GetSubject(question)).subject.subject_id == "ada"
