"""Names in messages: as they are when something is told, and nowhere else."""

from __future__ import annotations

from gateway_svc.happenings import Happening, Kind
from gateway_svc.naming import REMEMBERED_S, RememberedNames
from gateway_svc.notifications import dump_notification
from gateway_svc.wire import happening_from_wire
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import UnavailableError
from tessera.v1 import events_pb2 as pb
from tests.gateway_world import START, owed


class NameBook:
    """Names that a test changes."""

    def __init__(self, **names: str) -> None:
        self.names = names
        self.is_away = False
        self.asked = 0

    async def name(self, collection_id: str, subject_id: str) -> str:
        self.asked += 1
        if self.is_away:
            raise UnavailableError("gallery", "away")
        return self.names.get(subject_id, "")


def told_of(*subject_ids: str, kind: Kind = Kind.ALERT) -> Happening:
    """An alert, or a sighting, of somebody."""
    subjects = [{"collection_id": "staff", "subject_id": one} for one in subject_ids]
    facts = {"subjects": subjects} if kind is Kind.ALERT else subjects[0]
    return Happening(kind, "e1", 1, START, START, START, "yard", dict(facts))


async def test_each_subject_is_named_in_its_place() -> None:
    """Of an alert in its subjects, of a sighting beside its subject; what names nobody stays as it is."""
    names = RememberedNames(NameBook(s1="Ada", s2="Grace"), ManualClock(START))
    alert = await names.named(told_of("s1", "s2"))
    assert [one["display_name"] for one in alert.facts["subjects"]] == ["Ada", "Grace"]  # type: ignore[attr-defined]
    sighting = await names.named(told_of("s2", kind=Kind.SIGHTING))
    assert (sighting.facts["display_name"], sighting.summary) == ("Grace", "SIGHTING: Grace")
    nobody = Happening(Kind.CAMERA, "e2", 1, START, START, START, "yard", {"detail": "lost"})
    assert await names.named(nobody) == nobody


async def test_an_erased_name_is_soon_told_no_more() -> None:
    """It is remembered for a moment, so that the revisions of an alert ask once; then it is gone here, too."""
    book, clock = NameBook(s1="Ada"), ManualClock(START)
    names = RememberedNames(book, clock)
    await names.named(told_of("s1"))
    book.names.clear()
    clock.advance(REMEMBERED_S - 1)
    assert (await names.named(told_of("s1"))).facts["subjects"][0]["display_name"] == "Ada"  # type: ignore[index]
    assert book.asked == 1
    clock.advance(2)
    assert (await names.named(told_of("s1"))).facts["subjects"][0]["display_name"] == ""  # type: ignore[index]


async def test_an_alarm_does_not_wait_for_a_name() -> None:
    """With the gallery away it is told by its id; the next message asks again."""
    book = NameBook(s1="Ada")
    names = RememberedNames(book, ManualClock(START))
    book.is_away = True
    assert (await names.named(told_of("s1"))).facts["subjects"][0]["display_name"] == ""  # type: ignore[index]
    book.is_away = False
    assert (await names.named(told_of("s1"))).facts["subjects"][0]["display_name"] == "Ada"  # type: ignore[index]


def test_the_outbox_never_holds_a_name() -> None:
    """What the event log says of a name is left out of what is written down."""
    alert = pb.Alert(alert_id="a1", subjects=[pb.AlertSubject(subject_id="s1", display_name="Ada Lovelace")])
    sighting = pb.Sighting(tracklet_id="t1", subject_id="s1", display_name="Ada Lovelace")
    for event in (pb.Event(event_id="e1", alert=alert), pb.Event(event_id="e2", sighting=sighting)):
        happening = happening_from_wire(event)
        assert happening is not None
        written = dump_notification(owed(happening))
        assert "s1" in written
        assert "Lovelace" not in written
