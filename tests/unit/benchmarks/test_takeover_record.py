"""The record by which workers are judged: it finds a frame that two of them looked at, and blames no hand-over."""

from __future__ import annotations

from benchmarks.cameras.listening import Record, SeenFrame, SeenUpdate


def record_of(*frames: tuple[str, str, int, float]) -> Record:
    return Record([SeenFrame(camera, peer, 9.0 - taken_s, taken_s, stream) for camera, peer, stream, taken_s in frames])


def test_a_frame_within_another_workers_stream_is_found() -> None:
    """Each of them counts, in whichever order they came."""
    record = record_of(("a", "one", 1, 1.0), ("a", "one", 1, 1.6), ("a", "two", 2, 1.2), ("a", "two", 2, 1.4))
    assert record.watched_by_two() == 2


def test_a_hand_over_and_another_camera_are_no_overlap() -> None:
    """Nor is a camera that comes back soon, on another stream."""
    record = record_of(
        ("a", "one", 1, 1.0),
        ("b", "two", 2, 1.1),
        ("a", "one", 1, 1.2),
        ("a", "two", 3, 1.4),
        ("a", "two", 3, 1.6),
        ("a", "one", 4, 1.8),
    )
    assert record.watched_by_two() == 0


def test_an_older_lease_after_a_newer_one_is_found() -> None:
    """Of the same camera alone."""
    updates = [("a", 5), ("b", 3), ("a", 6), ("a", 5)]
    record = Record(updates=[SeenUpdate(camera, "one", token, float(at)) for at, (camera, token) in enumerate(updates)])
    assert record.older_leases() == 1
