"""Collections: who is searched together, and at which error rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from google.protobuf import field_mask_pb2

from tessera.client import answers as a
from tessera.client import collection_wire, wire
from tessera.client.connection import Connection
from tessera.client.samples import new_id
from tessera.domain.embedding import Modality
from tessera.v1 import collection_pb2


class Collections(Connection):
    """Collections of the gallery."""

    def collections(self) -> Iterator[a.Collection]:
        """Every collection by id, page after page."""
        request = collection_pb2.ListCollectionsRequest()
        for page in self._gallery.pages(self._gallery_stub.ListCollections, request):
            yield from map(collection_wire.collection_from_wire, page.collections)

    def create_collection(
        self,
        collection_id: str,
        *,
        display_name: str = "",
        modality: Modality = Modality.FACE,
        model_id: str = "",
        policy: a.DecisionPolicy | None = None,
        quality_gate: a.QualityGate | None = None,
        duplicate_policy: a.DuplicatePolicy | None = None,
        outlier_policy: a.OutlierPolicy | None = None,
        retention: timedelta | None = None,
        labels: Mapping[str, str] | None = None,
        camera_policies: Mapping[str, a.DecisionPolicy] | None = None,
        shard_count: int = 0,
        keep_source_images: bool = False,
        allow_persistent_persons: bool = False,
        person_retention: timedelta | None = None,
    ) -> a.Collection:
        """Make a collection.

        Args:
            collection_id: its name.
            display_name: for people to read.
            modality: what its pictures show.
            model_id: the encoder whose embeddings it holds; empty: the modality's default.
            policy: the error rates of its decisions.
            quality_gate: what a sample must reach; None: the encoder's own gate.
            duplicate_policy: what enrolments do with samples that already are another subject's; None: REPORT.
            outlier_policy: what they do with a sample that does not look like the subject's others; None: REJECT.
            retention: subjects are erased so long after their last enrolment, at least an hour; None: they are kept.
            labels: such as {"site": "north"}.
            camera_policies: by camera, instead of `policy`.
            shard_count: parts that its subjects are spread over, 1 to 64, for ever; 0: the gallery's setting.
            keep_source_images: keep pictures of templates, sealed, so that another encoder can embed them.
            allow_persistent_persons: of persons: they can be enrolled, and looks at them kept for more than a day.
            person_retention: of persons: what is kept of them goes so long after they were seen, 60 s to 24 h, up to
                30 days with `allow_persistent_persons`; None: 8 h.

        Raises:
            AlreadyExists: there is one of that id.
            BadInput: a value is out of range.
            NotAllowedNow: the calibration's data cannot carry a rate, or there is no calibration.
        """
        collection = collection_pb2.Collection(
            collection_id=collection_id,
            display_name=display_name,
            modality=wire.modality_to_wire(modality),
            model_id=model_id,
            policy=collection_wire.policy_to_wire(policy) if policy is not None else None,
            quality_gate=collection_wire.gate_to_wire(quality_gate) if quality_gate is not None else None,
            duplicate_policy=collection_wire.duplicate_policy_to_wire(duplicate_policy),
            outlier_policy=collection_wire.outlier_policy_to_wire(outlier_policy),
            retention=collection_wire.retention_to_wire(retention) if retention is not None else None,
            labels=labels,
            camera_policies=collection_wire.camera_policies_to_wire(camera_policies or {}),
            shard_count=shard_count,
            keep_source_images=keep_source_images,
            allow_persistent_persons=allow_persistent_persons,
            person_retention=collection_wire.retention_to_wire(person_retention) if person_retention else None,
        )
        request = collection_pb2.CreateCollectionRequest(collection=collection, request_id=new_id())
        response = self._gallery.call(self._gallery_stub.CreateCollection, request)
        return collection_wire.collection_from_wire(response.collection)

    def update_collection(
        self,
        collection_id: str,
        *,
        display_name: str | None = None,
        policy: a.DecisionPolicy | None = None,
        quality_gate: a.QualityGate | None = None,
        duplicate_policy: a.DuplicatePolicy | None = None,
        outlier_policy: a.OutlierPolicy | None = None,
        retention: timedelta | Literal["unlimited"] | None = None,
        labels: Mapping[str, str] | None = None,
        camera_policies: Mapping[str, a.DecisionPolicy] | None = None,
        keep_source_images: bool | None = None,
        allow_persistent_persons: bool | None = None,
        person_retention: timedelta | None = None,
        expected_revision: int = 0,
    ) -> a.Collection:
        """Change what is said of a collection, and what holds in it from now on; what is None stays as it is.

        Args:
            collection_id: which.
            display_name: for people to read.
            policy: all of it, instead of what it has: `dataclasses.replace(collection.policy, ...)` changes a part.
            quality_gate: all of it, instead of what it has; those who are enrolled stay.
            duplicate_policy: of enrolments from now on.
            outlier_policy: of enrolments from now on.
            retention: subjects are erased so long after their last enrolment, those who are there too; "unlimited":
                they are kept.
            labels: all of them, instead of those it has.
            camera_policies: all of them, instead of those it has.
            keep_source_images: keep pictures of templates, sealed, of enrolments from now on.
            allow_persistent_persons: of persons; False is refused while some are enrolled.
            person_retention: of persons: what is kept of them already goes so long after they were seen, too.
            expected_revision: refuse when the collection has another one (`Collection.revision`); 0: whatever it has.

        Raises:
            NotFound: there is none of that id.
            NotAllowedNow: it has another revision, or the calibration's data cannot carry a rate.
            BadInput: a value is out of range, or nothing was to be changed.
        """
        values: dict[str, Any] = {
            "display_name": display_name,
            "policy": collection_wire.policy_to_wire(policy) if policy is not None else None,
            "quality_gate": collection_wire.gate_to_wire(quality_gate) if quality_gate is not None else None,
            "duplicate_policy": collection_wire.duplicate_policy_to_wire(duplicate_policy) or None,
            "outlier_policy": collection_wire.outlier_policy_to_wire(outlier_policy) or None,
            "retention": collection_wire.retention_to_wire(retention) if isinstance(retention, timedelta) else None,
            "labels": labels,
            "camera_policies": None
            if camera_policies is None
            else collection_wire.camera_policies_to_wire(camera_policies),
            "keep_source_images": keep_source_images,
            "allow_persistent_persons": allow_persistent_persons,
            "person_retention": None
            if person_retention is None
            else collection_wire.retention_to_wire(person_retention),
        }
        changed = {name: value for name, value in values.items() if value is not None}
        cleared = ["retention"] if retention == "unlimited" else []
        request = collection_pb2.UpdateCollectionRequest(
            collection=collection_pb2.Collection(collection_id=collection_id, **changed),
            update_mask=field_mask_pb2.FieldMask(paths=[*changed, *cleared]),
            expected_revision=expected_revision,
        )
        response = self._gallery.call(self._gallery_stub.UpdateCollection, request)
        return collection_wire.collection_from_wire(response.collection)

    def get_collection(self, collection_id: str) -> a.Collection:
        """One collection.

        Raises:
            NotFound: there is none of that id.
        """
        request = collection_pb2.GetCollectionRequest(collection_id=collection_id)
        response = self._gallery.call(self._gallery_stub.GetCollection, request)
        return collection_wire.collection_from_wire(response.collection)

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
        return self._gallery.call(self._gallery_stub.DeleteCollection, request).subjects_deleted
