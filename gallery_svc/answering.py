"""The parts that answer, put on their ground by hand: one for each kind of question that a servicer passes on.

Nothing here decides anything, or starts: constructors assign.
"""

from __future__ import annotations

from pathlib import Path

from gallery_svc.audit_query import AuditQuery
from gallery_svc.correcting import Corrector
from gallery_svc.enrolment import Enroller
from gallery_svc.enrolment_judging import EnrolmentJudge
from gallery_svc.explaining import MatchExplainer
from gallery_svc.exporting import Exporter
from gallery_svc.ground import Ground
from gallery_svc.importing import Importer
from gallery_svc.integrity import IntegrityChecks
from gallery_svc.joint_thresholds import JointThresholds
from gallery_svc.joint_verifying import JointVerifier
from gallery_svc.linking import Links, LinkSettings
from gallery_svc.matching import Matcher
from gallery_svc.person_servicer import PersonServicer
from gallery_svc.persons.appearances import PersonFinder
from gallery_svc.persons.erasure_calls import ErasureCalls
from gallery_svc.persons.identities import Identities
from gallery_svc.persons.naming import BodyNames
from gallery_svc.persons.own_face import OwnFaces
from gallery_svc.persons.placing import PersonPlacing
from gallery_svc.persons.rejudging import Rejudging
from gallery_svc.recording import Recorder
from gallery_svc.reembedding import Reembedder
from gallery_svc.reembedding_wire import ReembedMethod
from gallery_svc.rotating import Rotator
from gallery_svc.servicer import GalleryParts, LaterParts
from gallery_svc.sightings import Sightings
from gallery_svc.subjects import Subjects
from gallery_svc.upkeep_wire import UpkeepCalls
from gallery_svc.verify_failures import VerifyFailures


def parts_on(ground: Ground) -> GalleryParts:
    """All of them, joined."""
    store, replica, clock, metrics = ground.store, ground.replica, ground.clock, ground.metrics
    upkeep, subjects = _upkeep(ground), _subjects(ground)
    recorder = Recorder(ground.batcher, clock, ground.biometrics)
    failures = VerifyFailures(ground.events)
    checks = IntegrityChecks(store, ground.scatter, ground.thresholds)
    enroller = _enroller(ground, checks)
    return GalleryParts(
        collections=ground.collections,
        subjects=subjects,
        enroller=enroller,
        corrector=Corrector(
            store=store,
            replica=replica,
            probes=ground.probes,
            subjects=subjects,
            enroller=enroller,
            checks=checks,
            thresholds=ground.thresholds,
            clock=clock,
        ),
        calibrations=ground.calibrations,
        eraser=ground.eraser,
        audit=AuditQuery(store),
        matcher=Matcher(
            replica=replica,
            claims=ground.claims,
            probes=ground.probes,
            thresholds=ground.thresholds,
            scatter=ground.scatter,
            recorder=recorder,
            failures=failures,
            clock=clock,
        ),
        joint=JointVerifier(
            replica=replica,
            claims=ground.claims,
            probes=ground.probes,
            thresholds=JointThresholds(ground.thresholds),
            recorder=recorder,
            failures=failures,
        ),
        explainer=MatchExplainer(store, ground.encoder, ground.probes, recorder, clock),
        sightings=_sightings(ground),
        name_of=replica.name_of,
        metrics=metrics,
        clock=clock,
        max_deadline_s=ground.settings.max_deadline_s,
        explain_deadline_s=ground.settings.explain_deadline_s,
        closing=ground.closing,
        later=LaterParts(
            export=upkeep.export,
            import_=upkeep.import_file,
            rotate_keys=upkeep.rotate_keys,
            reembed=ReembedMethod(_reembedder(ground), clock),
        ),
    )


def _enroller(ground: Ground, checks: IntegrityChecks) -> Enroller:
    judge = EnrolmentJudge(
        store=ground.store, probes=ground.probes, checks=checks, apart=ground.apart, clock=ground.clock
    )
    return Enroller(
        store=ground.store,
        replica=ground.replica,
        collections=ground.collections,
        judge=judge,
        apart=ground.apart,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _subjects(ground: Ground) -> Subjects:
    return Subjects(
        store=ground.store,
        replica=ground.replica,
        apart=ground.apart,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _sightings(ground: Ground) -> Sightings:
    settings = ground.settings
    return Sightings(
        tracklets=ground.tracklets,
        replica=ground.replica,
        store=ground.store,
        events=ground.events,
        thresholds=ground.thresholds,
        scatter=ground.scatter,
        fences=ground.fences,
        links=Links(
            LinkSettings(settings.link_target_rate, settings.link_retention_s),
            ground.thresholds,
            ground.clock,
            ground.metrics,
        ),
        placing=PersonPlacing(
            keeper=ground.keeper,
            identities=Identities(ground.thresholds, ground.clock, ground.metrics),
            names=_body_names(ground),
            rejudging=Rejudging(ground.thresholds),
            clock=ground.clock,
            metrics=ground.metrics,
        ),
        collections=ground.collections,
        clock=ground.clock,
        metrics=ground.metrics,
        biometrics=ground.biometrics,
        time_to_live_s=settings.event_time_to_live_s,
        search_limit_s=settings.max_deadline_s,
    )


def _body_names(ground: Ground) -> BodyNames:
    thresholds = JointThresholds(ground.thresholds)
    faces = OwnFaces(ground.tracklets, ground.replica, ground.claims, thresholds, ground.clock)
    return BodyNames(ground.store, thresholds, faces)


def person_servicer_on(ground: Ground) -> PersonServicer:
    """What answers questions about persons across cameras."""
    recorder = Recorder(ground.batcher, ground.clock, ground.biometrics)
    finder = PersonFinder(
        replica=ground.replica,
        keeper=ground.keeper,
        names=_body_names(ground),
        probes=ground.probes,
        thresholds=ground.thresholds,
        recorder=recorder,
    )
    erasures = ErasureCalls(ground.replica, ground.person_eraser, recorder)
    return PersonServicer(finder, erasures, ground.replica, ground.clock, ground.settings.max_deadline_s)


def _reembedder(ground: Ground) -> Reembedder:
    return Reembedder(
        store=ground.store,
        replica=ground.replica,
        probes=ground.probes,
        thresholds=ground.thresholds,
        make_index=ground.make_index,
        clock=ground.clock,
        closing=ground.closing,
    )


def _upkeep(ground: Ground) -> UpkeepCalls:
    settings = ground.settings
    importer = Importer(
        store=ground.store,
        replica=ground.replica,
        collections=ground.collections,
        keyring=ground.keyring,
        clock=ground.clock,
        folder=Path(settings.import_dir) if settings.import_dir else None,
        max_bytes=settings.max_import_bytes,
    )
    return UpkeepCalls(
        Exporter(ground.store, ground.keyring, ground.clock), importer, Rotator(ground.store, ground.clock)
    )
