"""A day of a site with forty cameras, made up from a seed, and two hundred rules over it.

Nobody recorded it: people come in two rushes, a tenth of them are unknown, sightings are told two or three times and
are revised now and then, cameras fall out, claims fail in bursts, and some events are recorded too late. What it is for
is that each kind of rule has work all day long, and that the same seed is the same day.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

from tessera.domain.alerting.happenings import CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome

DAY_S = 86_400.0
BEGAN_S = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
CAMERAS = tuple(f"cam{number:02d}" for number in range(40))
ZONES = ("gate", "yard", "hall", "vault")
LABELS = tuple(f"list{number}" for number in range(30))
_PEOPLE = 400
_ZONES_OF_TIME = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
_WORK = (Day.MON, Day.TUE, Day.WED, Day.THU, Day.FRI)


def day_of(seed: int, tracklets: int = 50_000) -> list[Happening]:
    """The day's events in the order of their recording: some 2.6 revisions a tracklet.

    Args:
        seed: the same seed is the same day.
        tracklets: people who walk past a camera.
    """
    chance = random.Random(seed)
    happenings = [each for number in range(tracklets) for each in _tracklet(chance, number)]
    happenings += [each for camera_id in CAMERAS for each in _falls_out(chance, camera_id)]
    happenings += [each for number in range(tracklets // 100) for each in _claims(chance, number)]
    return sorted(happenings, key=lambda each: (each.recorded_s, each.event_id, each.revision))


def rules() -> list[Rule]:
    """Two hundred: each kind, each way to group, in four time zones; most are of some cameras, some of all."""
    made = [
        Rule("everybody", RuleKind.WATCHLIST, collection_ids=("staff",), group_by=(), cooldown_s=60.0),
        Rule("nobody", RuleKind.UNKNOWN_PERSON, cooldown_s=0.0, remind_s=0.0, messages_per_hour=4),
    ]
    made += [Rule(f"list-{label}", RuleKind.WATCHLIST, Severity.CRITICAL, labels=(label,)) for label in LABELS]
    made += [_at_night(number, camera_id) for number, camera_id in enumerate(CAMERAS)]
    made += [
        Rule(f"tamper-{camera_id}", RuleKind.SCENE, camera_ids=(camera_id,), min_probability=0.4 + number / 100)
        for number, camera_id in enumerate(CAMERAS)
    ]
    made += map(_stays, range(20))
    made += map(_again, range(20))
    made += [
        Rule(f"guess-{number}", RuleKind.FAILED_VERIFIES, count=3 + number % 4, window_s=60.0 * (1 + number))
        for number in range(20)
    ]
    made += map(_lost, range(28))
    return sorted(made, key=lambda rule: rule.rule_id)  # as a gallery asks them


def _at_night(number: int, camera_id: str) -> Rule:
    zone = _ZONES_OF_TIME[number % len(_ZONES_OF_TIME)]
    hours = Schedule((Hours("07:00", "19:00", _WORK),), zone, outside=True)
    return Rule(f"night-{camera_id}", RuleKind.UNKNOWN_PERSON, camera_ids=(camera_id,), schedule=hours)


def _stays(number: int) -> Rule:
    return Rule(
        f"stays-{number}",
        RuleKind.UNKNOWN_PERSON,
        camera_ids=CAMERAS[2 * number : 2 * number + 2],
        zones=(ZONES[number % 4],),
        dwell_s=5.0 + number,
        group_by=(Grouping.CAMERA,),
        messages_per_hour=2,
    )


def _again(number: int) -> Rule:
    cameras, window_s = CAMERAS[number : number + 12], 120.0 + 30 * number
    return Rule(f"again-{number}", RuleKind.REIDENTIFIED, camera_ids=cameras, count=2 + number % 3, window_s=window_s)


def _lost(number: int) -> Rule:
    group_by = () if number % 2 else (Grouping.CAMERA,)
    lasting_s = 10.0 + 5 * number
    return Rule(f"lost-{number}", RuleKind.CAMERA_LOST, lasting_s=lasting_s, group_by=group_by, cooldown_s=600.0)


def _moment(chance: random.Random) -> float:
    """Within the day: half of all in two rushes."""
    rush = chance.random()
    if rush < 0.25:
        return min(DAY_S - 1, max(0.0, chance.gauss(8 * 3600, 1800)))
    if rush < 0.5:
        return min(DAY_S - 1, max(0.0, chance.gauss(17 * 3600, 1800)))
    return chance.random() * (DAY_S - 1)


def _tracklet(chance: random.Random, number: int) -> Iterator[Happening]:
    at_s, camera_id = BEGAN_S + _moment(chance), chance.choice(CAMERAS)
    known = chance.random() > 0.1
    who = f"p{chance.randrange(_PEOPLE)}" if known else ""
    link_id = "" if known or chance.random() < 0.3 else f"link{chance.randrange(200)}"
    zones = frozenset({chance.choice(ZONES)})
    is_late, lasts_s = chance.random() < 0.01, chance.random() * 40
    wrong_first = chance.random() < 0.02
    ends, recorded_s = 2 if chance.random() < 0.4 else 3, 0.0
    for revision in range(1, ends + 1):
        share = (revision - 1) / (ends - 1)
        subject_id = f"p{chance.randrange(_PEOPLE)}" if wrong_first and revision == 1 else who
        body = Seen(
            collection_id="staff",
            outcome=Outcome.MATCH if subject_id else Outcome.UNKNOWN,
            subject_id=subject_id,
            labels=_labels_of(subject_id),
            zones=zones,
            link_id="" if subject_id else link_id,
            lasted_s=round(share * lasts_s, 3),
            ended=revision == ends,
        )
        then_s = round(at_s + share * lasts_s, 3)
        delay_s = 20.0 if is_late else 0.1 + chance.random() * 0.3
        recorded_s = round(max(then_s + delay_s, recorded_s + 0.001), 3)  # one revision behind the other
        yield Happening(f"t{number}", revision, camera_id, then_s, recorded_s, then_s + 5, body)


def _labels_of(subject_id: str) -> frozenset[str]:
    """Every tenth person is on a list."""
    number = int(subject_id[1:]) if subject_id else 1
    return frozenset({LABELS[number // 10 % len(LABELS)]}) if number % 10 == 0 else frozenset()


def _falls_out(chance: random.Random, camera_id: str) -> Iterator[Happening]:
    """Lost and back, some times a day; and something that looks like tampering."""
    for number in range(chance.randrange(2, 6)):
        at_s = BEGAN_S + chance.random() * (DAY_S - 1000)
        back_s = at_s + chance.choice([4.0, 40.0, 400.0])
        yield _of_camera(camera_id, number, CameraEventKind.LOST, at_s)
        yield _of_camera(camera_id, number, CameraEventKind.ONLINE, back_s)
    for number in range(chance.randrange(0, 8)):
        kind = chance.choice([CameraEventKind.COVERED, CameraEventKind.MOVED, CameraEventKind.OBJECT_LEFT])
        yield _of_camera(camera_id, number, kind, BEGAN_S + chance.random() * DAY_S, chance.random())


def _of_camera(
    camera_id: str, number: int, kind: CameraEventKind, at_s: float, probability: float | None = None
) -> Happening:
    then_s = round(at_s, 3)
    body = CameraHappened(kind, probability)
    return Happening(f"{camera_id}-{kind}-{number}", 1, camera_id, then_s, round(then_s + 0.05, 3), then_s + 60, body)


def _claims(chance: random.Random, number: int) -> Iterator[Happening]:
    """Somebody tries a door: mostly once, now and then again and again."""
    at_s, subject_id = BEGAN_S + _moment(chance), f"p{chance.randrange(_PEOPLE)}"
    for attempt in range(chance.choice([1, 1, 1, 6])):
        then_s = round(at_s + 7.0 * attempt, 3)
        body = VerifyFailed("staff", subject_id)
        yield Happening(f"v{number}-{attempt}", 1, "door", then_s, then_s, then_s + 60, body)
