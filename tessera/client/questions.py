"""What is asked of pictures: `verify`, `verify_jointly`, `identify`, `compare`; what in one an answer comes from."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.client import answers as a
from tessera.client import answers_wire, explanation_wire, wire
from tessera.client.calls import Caller
from tessera.client.connection import Connection
from tessera.client.explanations import EXPLAIN_DEADLINE_S, Explanation, MatchExplanation
from tessera.client.joint_answers import EvidencePiece, JointVerification, joint_from_wire, pieces_to_wire
from tessera.client.samples import Sample, image_of, new_id, probe_of
from tessera.domain.calibration import Impostors
from tessera.domain.embedding import Modality
from tessera.v1 import encoder_pb2, matching_pb2


class Questions(Connection):
    """Questions to the gallery and the encoder; they change nothing but the audit log."""

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
            target_fmr: in (0, 1); None: the collection's policy.
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
            probe=probe_of(image, model_id),
            target_fmr=target_fmr,
            with_score=with_score,
            min_position=min_position,
            min_positions=min_positions,
            camera_id=camera_id,
            request_id=request_id or new_id(),
        )
        return answers_wire.verification_from_wire(self._gallery.call(self._gallery_stub.Verify, request))

    def verify_jointly(
        self,
        subject_id: str,
        pieces: Sequence[EvidencePiece],
        *,
        target_fmr: float | None = None,
        require_all: bool = False,
        with_score: bool = False,
        camera_id: str = "",
        request_id: str = "",
    ) -> JointVerification:
        """Ask whether several pieces of evidence together show the person who is enrolled as `subject_id`.

        Args:
            subject_id: who it is claimed to be; a piece may name the person otherwise.
            pieces: two or three, each of a collection of another modality, in any order.
            target_fmr: in (0, 1), of the whole claim; None: the strictest of the collections' policies.
            require_all: INCONCLUSIVE unless every piece can be had; otherwise what cannot be had counts as 0.
            with_score: ask for the log-likelihood ratios too.
            camera_id: the camera that asks: subjects that it may not find are not there for it; empty: no camera.
            request_id: names the attempt in the audit log; empty: a new one.

        Raises:
            NotFound: no such collection, or the person is in none of them.
            NotAllowedNow: a calibration says nothing of how one person scores (NO_EVIDENCE), or cannot keep the rate.
            BadInput: a picture cannot be read, two pieces are of one modality, or a value is out of range.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.VerifyJointlyRequest(
            pieces=pieces_to_wire(pieces),
            subject_id=subject_id,
            target_fmr=target_fmr,
            require_all=require_all,
            with_score=with_score,
            camera_id=camera_id,
            request_id=request_id or new_id(),
        )
        return joint_from_wire(self._gallery.call(self._gallery_stub.VerifyJointly, request))

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
            probe=probe_of(image, model_id),
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
            request_id=new_id(),
        )
        return answers_wire.identifications_from_wire(self._gallery.call(self._gallery_stub.Identify, request))

    def compare(
        self,
        first: Sample,
        second: Sample,
        *,
        model_id: str = "",
        target_fmr: float | None = None,
        with_score: bool = False,
        modality: Modality = Modality.FACE,
        impostors: Impostors | None = None,
    ) -> a.Comparison:
        """Ask whether two pictures show the same person; uses no collection and keeps nothing.

        Args:
            first: one sample.
            second: the other.
            model_id: who made them, when they are bare arrays.
            target_fmr: in (0, 1); None: 1e-4 against random impostors, 0.05 against skilled ones.
            with_score: ask for the raw score too.
            modality: what they show.
            impostors: whose false matches the rate counts; None: skilled forgers for signatures, else random people.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.CompareRequest(
            first=probe_of(first, model_id),
            second=probe_of(second, model_id),
            target_fmr=target_fmr,
            with_score=with_score,
            modality=wire.modality_to_wire(modality),
            impostors=wire.impostors_to_wire(impostors),
        )
        return answers_wire.comparison_from_wire(self._gallery.call(self._gallery_stub.Compare, request))

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
            image=image_of(image),
            reference=probe_of(reference, model_id),
            modality=wire.modality_to_wire(modality),
            model_id=encoder,
            grid=grid,
        )
        caller = Caller("encoder", self._encoder.address, deadline_s)
        return explanation_wire.explanation_from_wire(caller.call(self._encoder_stub.Explain, request))

    def explain_match(
        self,
        subject_id: str,
        image: Sample,
        *,
        collection_id: str = "",
        camera_id: str = "",
        grid: int = 0,
        request_id: str = "",
        deadline_s: float = EXPLAIN_DEADLINE_S,
    ) -> MatchExplanation:
        """Ask what in a picture makes it look like, or unlike, somebody who is enrolled. It is in the audit log.

        Args:
            subject_id: who; the template that scores highest is taken.
            image: a picture with exactly one face.
            collection_id: empty: the collection "default".
            camera_id: the camera that asks: subjects that it may not find are not there for it; empty: no camera.
            grid: rows and columns of the map, 4 to 28; 0: 14.
            request_id: names the question in the audit log; empty: a new one.
            deadline_s: how long the answer is wanted: it is made behind all other work.

        Raises:
            NotFound: no such subject or collection, or not for this camera.
            BadInput: the picture cannot be used, has no face or several, or a value is out of range.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = matching_pb2.ExplainMatchRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            image=image_of(image),
            grid=grid,
            camera_id=camera_id,
            request_id=request_id or new_id(),
        )
        caller = Caller("gallery", self._gallery.address, deadline_s)
        return explanation_wire.match_explanation_from_wire(caller.call(self._gallery_stub.ExplainMatch, request))
