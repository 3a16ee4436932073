"""The Python SDK: `Tessera`, blocking and safe to share between threads.

It sends pictures and reads decisions; it decides nothing itself and keeps nothing. Services call each other through
`tessera.client.encoder` and `tessera.client.streams` instead.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf import field_mask_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.chassis.limits import MAX_MESSAGE_BYTES
from tessera.client import answers as a
from tessera.client import answers_wire, explanation_wire, wire
from tessera.client.calibrations import Calibrations
from tessera.client.calls import Caller
from tessera.client.encoder import EncoderInfo, encoder_info
from tessera.client.errors import TesseraCallError
from tessera.client.events import FROM_NOW, EventKind, EventWatch, WatchFilter
from tessera.client.explanations import EXPLAIN_DEADLINE_S, Explanation, MatchExplanation
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.v1 import (
    biometrics_pb2,
    camera_pb2,
    camera_pb2_grpc,
    collection_pb2,
    encoder_pb2,
    encoder_pb2_grpc,
    gallery_pb2_grpc,
    matching_pb2,
    subject_pb2,
)

DEFAULT_ENCODER = "127.0.0.1:7001"
DEFAULT_GALLERY = "127.0.0.1:7002"
DEFAULT_INGEST = "127.0.0.1:7003"
DEFAULT_DEADLINE_S = 10.0

_HEALTH_DEADLINE_S = 2.0

Sample = Path | str | bytes | Embedding | npt.NDArray[np.floating[Any]]
"""A picture as a path or as the bytes of its file, or an embedding made earlier; a bare array needs its `model_id`."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One service: its channel and the calls to it."""

    channel: grpc.Channel
    caller: Caller


class Tessera:
    """A connection to a Tessera: verify, identify, enrol, watch.

        with Tessera() as tessera:
            answer = tessera.verify("alice", Path("door.jpg"))
            if answer.is_match: ...

    Nothing is connected before the first call. May be used from several threads at once.

    Args:
        gallery: `host:port` of gallery_svc, which answers everything about people and events.
        ingest: `host:port` of camera_ingest, which watches cameras.
        encoder: `host:port` of encoder_svc; only `status` and what is about encoders ask it directly.
        deadline_s: a call without an answer after so long fails; a watch has no deadline.
    """

    def __init__(
        self,
        gallery: str = DEFAULT_GALLERY,
        *,
        ingest: str = DEFAULT_INGEST,
        encoder: str = DEFAULT_ENCODER,
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> None:
        self._channels = ExitStack()
        addresses = {"encoder": encoder, "gallery": gallery, "ingest": ingest}
        self._endpoints = {
            name: _Endpoint(
                self._channels.enter_context(open_blocking_channel(address)), Caller(name, address, deadline_s)
            )
            for name, address in addresses.items()
        }
        self._gallery = self._endpoints["gallery"].caller
        self._ingest = self._endpoints["ingest"].caller
        self._subjects = gallery_pb2_grpc.GalleryServiceStub(self._endpoints["gallery"].channel)
        self._cameras = camera_pb2_grpc.CameraServiceStub(self._endpoints["ingest"].channel)
        self._encoder = self._endpoints["encoder"].caller
        self._encoders = encoder_pb2_grpc.EncoderServiceStub(self._endpoints["encoder"].channel)
        self.calibrations = Calibrations(self._gallery, self._subjects)

    def __enter__(self) -> Tessera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._channels.close()

    # ---- comparisons

    def verify(
        self,
        subject_id: str,
        image: Sample,
        *,
        model_id: str = "",
        collection_id: str = "",
        target_fmr: float | None = None,
        with_score: bool = False,
        min_position: int = 0,
        min_positions: Sequence[int] = (),
        camera_id: str = "",
        request_id: str = "",
    ) -> a.Verification:
        """Ask whether a picture shows the person who is enrolled as `subject_id`.

        Args:
            subject_id: who it is claimed to be.
            image: the probe.
            model_id: who made it, when `image` is a bare array.
            collection_id: empty: the collection "default".
            target_fmr: in (0, 1); None: the collection's policy, 1e-4.
            with_score: ask for the raw score too.
            min_position: answer from a state that includes this enrolment (`Enrolment.position`).
            min_positions: the same for several.
            camera_id: the camera that asks: subjects that it may not find are not there for it; empty: no camera.
            request_id: names the attempt in the audit log; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
            BadInput: the picture cannot be read, or a value is out of range.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.VerifyRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            probe=_probe(image, model_id),
            target_fmr=target_fmr,
            with_score=with_score,
            min_position=min_position,
            min_positions=min_positions,
            camera_id=camera_id,
            request_id=request_id or _new_id(),
        )
        return answers_wire.verification_from_wire(self._gallery.call(self._subjects.Verify, request))

    def identify(
        self,
        image: Sample,
        *,
        model_id: str = "",
        collection_id: str = "",
        target_fpir: float | None = None,
        max_candidates: int = 0,
        max_faces: int = 0,
        with_score: bool = False,
        min_position: int = 0,
        min_positions: Sequence[int] = (),
        labels: Sequence[str] = (),
        camera_id: str = "",
        include_not_valid: bool = False,
        allow_partial: bool = False,
    ) -> tuple[a.Identification, ...]:
        """Ask who is in a picture, if anybody who is enrolled.

        Args:
            image: the probe.
            model_id: who made it, when `image` is a bare array.
            collection_id: empty: the collection "default".
            target_fpir: in (0, 1); None: the collection's policy, 1e-2.
            max_candidates: for each face, 1 to 100; 0: 5.
            max_faces: faces that are searched, 1 to 64; 0: 16.
            with_score: ask for raw scores too.
            min_position: answer from a state that includes this enrolment.
            min_positions: the same for several.
            labels: only subjects with all of these.
            camera_id: the camera that asks: subjects that it may not find are not there for it; empty: no camera.
            include_not_valid: find subjects outside of their validity too.
            allow_partial: take an answer from those parts of a spread gallery that answer in time.

        Returns:
            One for each face, largest first; a picture without a face gives one INCONCLUSIVE with NO_FACE.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.IdentifyRequest(
            collection_id=collection_id,
            probe=_probe(image, model_id),
            target_fpir=target_fpir,
            max_candidates=max_candidates,
            max_faces=max_faces,
            with_score=with_score,
            min_position=min_position,
            min_positions=min_positions,
            labels=labels,
            camera_id=camera_id,
            include_not_valid=include_not_valid,
            allow_partial=allow_partial,
            request_id=_new_id(),
        )
        return answers_wire.identifications_from_wire(self._gallery.call(self._subjects.Identify, request))

    def compare(
        self,
        first: Sample,
        second: Sample,
        *,
        model_id: str = "",
        target_fmr: float | None = None,
        with_score: bool = False,
        modality: Modality = Modality.FACE,
    ) -> a.Comparison:
        """Ask whether two pictures show the same person; uses no collection and keeps nothing.

        Args:
            first: one sample.
            second: the other.
            model_id: who made them, when they are bare arrays.
            target_fmr: in (0, 1); None: 1e-4.
            with_score: ask for the raw score too.
            modality: what they show.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.CompareRequest(
            first=_probe(first, model_id),
            second=_probe(second, model_id),
            target_fmr=target_fmr,
            with_score=with_score,
            modality=wire.modality_to_wire(modality),
        )
        return answers_wire.comparison_from_wire(self._gallery.call(self._subjects.Compare, request))

    # ---- explanations

    def explain(
        self,
        image: Sample,
        reference: Sample,
        *,
        model_id: str = "",
        encoder: str = "",
        modality: Modality = Modality.FACE,
        grid: int = 0,
        deadline_s: float = EXPLAIN_DEADLINE_S,
    ) -> Explanation:
        """Ask what in a picture makes it look like, or unlike, a reference. Decides nothing, and tells no score.

        Args:
            image: a picture with exactly one face.
            reference: another one, or an embedding.
            model_id: who made the reference, when it is a bare array.
            encoder: which one's score; empty: the modality's default.
            modality: what the pictures show.
            grid: rows and columns of the map, 4 to 28; 0: 14.
            deadline_s: how long the answer is wanted: it is made behind all other work.

        Raises:
            BadInput: a picture cannot be used, has no face or several, or a value is out of range.
            NotAllowedNow: the reference is of another model.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = encoder_pb2.ExplainRequest(
            image=_image(image),
            reference=_probe(reference, model_id),
            modality=wire.modality_to_wire(modality),
            model_id=encoder,
            grid=grid,
        )
        caller = Caller("encoder", self._encoder.address, deadline_s)
        return explanation_wire.explanation_from_wire(caller.call(self._encoders.Explain, request))

    def explain_match(
        self,
        subject_id: str,
        image: Sample,
        *,
        collection_id: str = "",
        grid: int = 0,
        request_id: str = "",
        deadline_s: float = EXPLAIN_DEADLINE_S,
    ) -> MatchExplanation:
        """Ask what in a picture makes it look like, or unlike, somebody who is enrolled. It is in the audit log.

        Args:
            subject_id: who; the template that scores highest is taken.
            image: a picture with exactly one face.
            collection_id: empty: the collection "default".
            grid: rows and columns of the map, 4 to 28; 0: 14.
            request_id: names the question in the audit log; empty: a new one.
            deadline_s: how long the answer is wanted: it is made behind all other work.

        Raises:
            NotFound: no such subject or collection.
            BadInput: the picture cannot be used, has no face or several, or a value is out of range.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.ExplainMatchRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            image=_image(image),
            grid=grid,
            request_id=request_id or _new_id(),
        )
        caller = Caller("gallery", self._gallery.address, deadline_s)
        return explanation_wire.match_explanation_from_wire(caller.call(self._subjects.ExplainMatch, request))

    # ---- subjects

    def enroll(
        self,
        subject_id: str,
        images: Sample | Sequence[Sample],
        *,
        model_id: str = "",
        collection_id: str = "",
        display_name: str = "",
        external_id: str = "",
        labels: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        consent_reference: str = "",
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        camera_ids: Sequence[str] = (),
        require_all: bool = False,
        request_id: str = "",
    ) -> a.Enrolment:
        """Add samples to a subject, and the subject itself when it is new. All of it is written, or nothing.

        When nobody can say whether it was written, the same id is sent again until the deadline: that settles it.

        Args:
            subject_id: who; empty: the service makes an id.
            images: 1 to 16 samples of this one person.
            model_id: who made them, when they are bare arrays.
            collection_id: empty: the collection "default".
            display_name: for people to read.
            external_id: the id in your own system.
            labels: such as "staff".
            metadata: your own keys and values.
            consent_reference: where the consent is recorded.
            valid_from: decisions find the subject from then on, with its zone; None: as it is, or always.
            valid_until: decisions find the subject before then, with its zone; None: as it is, or for ever.
            camera_ids: only these cameras find the subject; empty: as it is, or all.
            require_all: refuse the whole enrolment when one sample is not good enough.
            request_id: the same id with the same content writes once, however often it is sent; empty: a new one, so
                that this call's own retries write once.

        Raises:
            BadInput: no sample could be used; `reason` says why the first could not.
            AlreadyExists: the request id came before with other content.
            OutcomeUnknown: nobody could say until the deadline; call again with the id in `details["request_id"]`.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request_id = request_id or _new_id()
        samples = [images] if isinstance(images, Path | str | bytes | Embedding | np.ndarray) else images
        request = subject_pb2.EnrollSubjectRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            samples=[_probe(sample, model_id) for sample in samples],
            request_id=request_id,
            consent_reference=consent_reference,
            display_name=display_name,
            external_id=external_id,
            labels=labels,
            metadata=metadata,
            valid_from=wire.time_to_wire(valid_from) if valid_from else None,
            valid_until=wire.time_to_wire(valid_until) if valid_until else None,
            camera_ids=camera_ids,
            require_all=require_all,
        )
        response = self._gallery.settle(self._subjects.EnrollSubject, request)
        return answers_wire.enrolment_from_wire(response, request_id)

    def get_subject(self, subject_id: str, *, collection_id: str = "") -> a.Subject:
        """One subject and its templates.

        Raises:
            NotFound: no such subject or collection.
        """
        request = subject_pb2.GetSubjectRequest(collection_id=collection_id, subject_id=subject_id)
        return answers_wire.subject_from_wire(self._gallery.call(self._subjects.GetSubject, request).subject)

    def subjects(
        self, *, collection_id: str = "", labels: Sequence[str] = (), external_id: str = ""
    ) -> Iterator[a.Subject]:
        """Every subject of a collection by id, page after page.

        Args:
            collection_id: empty: the collection "default".
            labels: only subjects with all of these.
            external_id: only the subject with this one.

        Raises:
            NotFound: no such collection.
        """
        request = subject_pb2.ListSubjectsRequest(collection_id=collection_id, labels=labels, external_id=external_id)
        for page in self._gallery.pages(self._subjects.ListSubjects, request):
            yield from map(answers_wire.subject_from_wire, page.subjects)

    def update_subject(
        self,
        subject_id: str,
        *,
        collection_id: str = "",
        display_name: str | None = None,
        external_id: str | None = None,
        labels: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        consent_reference: str | None = None,
        valid_from: datetime | Literal["always"] | None = None,
        valid_until: datetime | Literal["always"] | None = None,
        camera_ids: Sequence[str] | None = None,
        expected_revision: int = 0,
        request_id: str = "",
    ) -> a.SubjectChange:
        """Change what is said of a subject; what is None stays as it is.

        Args:
            subject_id: who.
            collection_id: empty: the collection "default".
            display_name: for people to read.
            external_id: the id in your own system.
            labels: all of them, instead of those it has.
            metadata: all of it, instead of what it has.
            consent_reference: where the consent is recorded.
            valid_from: decisions find the subject from then on; "always": whenever it was enrolled.
            valid_until: decisions find the subject before then; "always": for ever.
            camera_ids: only these cameras find the subject; empty: all.
            expected_revision: refuse when the subject has another one (`Subject.revision`); 0: whatever it has.
            request_id: a retry with the same id writes once; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
            NotAllowedNow: it has another revision.
            BadInput: a value is out of range, or nothing was to be changed.
        """
        moments = {"valid_from": valid_from, "valid_until": valid_until}
        values: dict[str, Any] = {
            "display_name": display_name,
            "external_id": external_id,
            "labels": labels,
            "metadata": metadata,
            "consent_reference": consent_reference,
            "camera_ids": camera_ids,
            **{name: wire.time_to_wire(at) for name, at in moments.items() if isinstance(at, datetime)},
        }
        changed = {name: value for name, value in values.items() if value is not None}
        cleared = [name for name, at in moments.items() if at == "always"]
        request = subject_pb2.UpdateSubjectRequest(
            subject=subject_pb2.Subject(collection_id=collection_id, subject_id=subject_id, **changed),
            update_mask=field_mask_pb2.FieldMask(paths=[*changed, *cleared]),
            expected_revision=expected_revision,
            request_id=request_id or _new_id(),
        )
        response = self._gallery.settle(self._subjects.UpdateSubject, request)
        return a.SubjectChange(answers_wire.subject_from_wire(response.subject), response.position)

    def delete_template(
        self, subject_id: str, template_id: str, *, collection_id: str = "", request_id: str = ""
    ) -> a.SubjectChange:
        """Remove one template of a subject; the last one stays: erase the subject.

        Args:
            subject_id: who.
            template_id: which.
            collection_id: empty: the collection "default".
            request_id: a retry with the same id writes once; empty: a new one.

        Raises:
            NotFound: no such template, subject or collection.
            NotAllowedNow: it is the last one.
        """
        request = subject_pb2.DeleteTemplateRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            template_id=template_id,
            request_id=request_id or _new_id(),
        )
        response = self._gallery.settle(self._subjects.DeleteTemplate, request)
        return a.SubjectChange(answers_wire.subject_from_wire(response.subject), response.position)

    def delete_subject(self, subject_id: str, *, collection_id: str = "", request_id: str = "") -> a.ErasureReceipt:
        """Erase a subject with everything of it.

        Args:
            subject_id: who.
            collection_id: empty: the collection "default".
            request_id: a retry with the same id gets the same receipt; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
        """
        request = subject_pb2.DeleteSubjectRequest(
            collection_id=collection_id, subject_id=subject_id, request_id=request_id or _new_id()
        )
        return answers_wire.receipt_from_wire(self._gallery.settle(self._subjects.DeleteSubject, request).receipt)

    def erasure_receipt(self, receipt_id: str, *, collection_id: str = "") -> a.ErasureReceipt:
        """How far an erasure is, with a signature of its own; receipts are kept for 24 h.

        Raises:
            NotFound: no such receipt or collection.
        """
        request = subject_pb2.GetErasureReceiptRequest(collection_id=collection_id, receipt_id=receipt_id)
        return answers_wire.receipt_from_wire(self._gallery.call(self._subjects.GetErasureReceipt, request).receipt)

    # ---- collections

    def collections(self) -> Iterator[a.Collection]:
        """Every collection by id, page after page."""
        request = collection_pb2.ListCollectionsRequest()
        for page in self._gallery.pages(self._subjects.ListCollections, request):
            yield from map(answers_wire.collection_from_wire, page.collections)

    def create_collection(
        self,
        collection_id: str,
        *,
        display_name: str = "",
        modality: Modality = Modality.FACE,
        shard_count: int = 0,
        keep_source_images: bool = False,
    ) -> a.Collection:
        """Make a collection.

        Args:
            collection_id: its name.
            display_name: for people to read.
            modality: what its pictures show.
            shard_count: parts that its subjects are spread over, 1 to 64, for ever; 0: the gallery's setting.
            keep_source_images: keep pictures of templates, sealed, so that another encoder can embed them.

        Raises:
            AlreadyExists: there is one of that id.
        """
        collection = collection_pb2.Collection(
            collection_id=collection_id,
            display_name=display_name,
            modality=wire.modality_to_wire(modality),
            shard_count=shard_count,
            keep_source_images=keep_source_images,
        )
        request = collection_pb2.CreateCollectionRequest(collection=collection, request_id=_new_id())
        response = self._gallery.call(self._subjects.CreateCollection, request)
        return answers_wire.collection_from_wire(response.collection)

    def get_collection(self, collection_id: str) -> a.Collection:
        """One collection.

        Raises:
            NotFound: there is none of that id.
        """
        request = collection_pb2.GetCollectionRequest(collection_id=collection_id)
        response = self._gallery.call(self._subjects.GetCollection, request)
        return answers_wire.collection_from_wire(response.collection)

    def delete_collection(self, collection_id: str, *, force: bool = False) -> int:
        """Delete a collection.

        Args:
            collection_id: which.
            force: also when it has subjects.

        Returns:
            How many subjects went with it.

        Raises:
            NotFound: there is none of that id.
            NotAllowedNow: it has subjects, and `force` is false.
        """
        request = collection_pb2.DeleteCollectionRequest(collection_id=collection_id, force=force)
        return self._gallery.call(self._subjects.DeleteCollection, request).subjects_deleted

    # ---- cameras

    def add_camera(
        self, camera_id: str, url: str, *, sample_rate_hz: float = 0.0, collection_id: str = "", loop: bool = False
    ) -> a.Camera:
        """Watch a camera; it need not answer yet. The same camera with the same content may be added again.

        Args:
            camera_id: its name.
            url: rtsp://, rtsps://, http://, https://, a file path, v4l2:/dev/video0, folder:PATH or demo:.
            sample_rate_hz: frames a second to look at, at most 30; 0: 5.
            collection_id: where its people are looked for; empty: the collection "default".
            loop: files and folders start again at their end.

        Raises:
            BadInput: no camera can have such a URL.
            AlreadyExists: there is another camera of that name.
        """
        camera = camera_pb2.Camera(
            camera_id=camera_id, url=url, sample_rate_hz=sample_rate_hz, collection_id=collection_id, loop=loop
        )
        response = self._ingest.call(self._cameras.AddCamera, camera_pb2.AddCameraRequest(camera=camera))
        return answers_wire.camera_from_wire(response.camera)

    def cameras(self) -> Iterator[a.Camera]:
        """Every camera by id with its status, page after page."""
        for page in self._ingest.pages(self._cameras.ListCameras, camera_pb2.ListCamerasRequest()):
            yield from map(answers_wire.camera_entry_from_wire, page.entries)

    def remove_camera(self, camera_id: str) -> bool:
        """Stop watching a camera and forget it.

        Returns:
            False: it was not there.
        """
        request = camera_pb2.RemoveCameraRequest(camera_id=camera_id)
        return self._ingest.call(self._cameras.RemoveCamera, request).removed

    def camera_status(self, camera_id: str) -> a.CameraStatus:
        """How a camera does.

        Raises:
            NotFound: no such camera.
        """
        request = camera_pb2.GetCameraStatusRequest(camera_id=camera_id)
        return answers_wire.camera_status_from_wire(self._ingest.call(self._cameras.GetCameraStatus, request).status)

    def snapshot(self, camera_id: str) -> a.Snapshot:
        """The newest sampled frame of a camera.

        Raises:
            NotFound: no such camera.
            ServiceUnavailable: there is no frame yet.
        """
        request = camera_pb2.GetSnapshotRequest(camera_id=camera_id)
        response = self._ingest.call(self._cameras.GetSnapshot, request)
        return a.Snapshot(response.image.data, wire.time_from_wire(response.capture_time))

    # ---- events and services

    def watch(
        self,
        *,
        after_cursor: str = FROM_NOW,
        camera_ids: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        collection_id: str = "",
        patience_s: float | None = None,
    ) -> EventWatch:
        """Events as they happen; after a broken connection it goes on from the last one, and tells none twice.

        Args:
            after_cursor: `FROM_NOW`, `FROM_OLDEST`, or the cursor of the last event that you have seen.
            camera_ids: only these; empty: all.
            kinds: only these; empty: all.
            collection_id: only this one; empty: all.
            patience_s: how long a broken connection is tried again; None: for ever.
        """
        endpoint = self._endpoints["gallery"]
        wanted = WatchFilter(camera_ids, kinds, collection_id)
        return EventWatch(endpoint.channel, endpoint.caller.address, after_cursor, wanted, patience_s=patience_s)

    def encoders(self) -> tuple[EncoderInfo, ...]:
        """The encoders of the encoder service and their state.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        response = self._encoder.call(self._encoders.ListEncoders, encoder_pb2.ListEncodersRequest())
        return tuple(encoder_info(message) for message in response.encoders)

    def load_encoder(self, name: str, *, make_default: bool = False, priority: int | None = None) -> EncoderInfo:
        """Begin to load an encoder, or to load it anew, while the others go on; `encoders` tells how it goes.

        Args:
            name: of one that ships or was imported.
            make_default: make it its modality's default once it is ready.
            priority: among encoders that wait for the same device, lower goes first; None: what it had, else 0.

        Raises:
            NotFound: there is no such encoder.
            NotAllowedNow: it is being loaded.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = encoder_pb2.LoadEncoderRequest(name=name, priority=priority, make_default=make_default)
        return encoder_info(self._encoder.call(self._encoders.LoadEncoder, request).encoder)

    def unload_encoder(self, model_id: str) -> bool:
        """Take an encoder out of service; what it has begun is finished.

        Returns:
            False: it was not there.

        Raises:
            NotAllowedNow: it is its modality's default.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = encoder_pb2.UnloadEncoderRequest(model_id=model_id)
        return self._encoder.call(self._encoders.UnloadEncoder, request).unloaded

    def status(self) -> tuple[a.ServiceStatus, ...]:
        """Whether each service takes work; one that is away is an answer, not an error."""
        return tuple(self._service_status(name) for name in self._endpoints)

    def _service_status(self, name: str) -> a.ServiceStatus:
        endpoint = self._endpoints[name]
        caller = Caller(name, endpoint.caller.address, _HEALTH_DEADLINE_S)
        stub = health_pb2_grpc.HealthStub(endpoint.channel)
        try:
            response = caller.call(stub.Check, health_pb2.HealthCheckRequest())
        except TesseraCallError:
            return a.ServiceStatus(name, caller.address, a.ServiceState.UNREACHABLE)
        serving = response.status == health_pb2.HealthCheckResponse.SERVING
        state = a.ServiceState.SERVING if serving else a.ServiceState.NOT_SERVING
        return a.ServiceStatus(name, caller.address, state)


def _new_id() -> str:
    return uuid.uuid4().hex


def _image(sample: Sample) -> biometrics_pb2.Image:
    if not isinstance(sample, Path | str | bytes):
        raise InvalidInputError("image", type(sample).__name__, "a picture: a path, or the bytes of its file")
    return _probe(sample, "").image


def _probe(sample: Sample, model_id: str) -> biometrics_pb2.Probe:
    if isinstance(sample, Path | str):
        sample = Path(sample).read_bytes()
    if isinstance(sample, bytes):
        if len(sample) >= MAX_MESSAGE_BYTES:  # it would not leave this process; smaller ones the service judges
            allowed = f"a picture that fits a message: under {MAX_MESSAGE_BYTES:,} bytes"
            raise InvalidInputError("image", f"{len(sample):,} bytes", allowed)
        return biometrics_pb2.Probe(image=biometrics_pb2.Image(data=sample))
    if not isinstance(sample, Embedding):
        if not model_id:
            raise InvalidInputError("model_id", model_id, "the model that made the array")
        sample = Embedding.from_raw(sample, ModelId(model_id))
    return biometrics_pb2.Probe(embedding=wire.embedding_to_wire(sample))
