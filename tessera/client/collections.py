"""Collections: who is searched together, and at which error rates."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.client import answers as a
from tessera.client import answers_wire, wire
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
        request = collection_pb2.CreateCollectionRequest(collection=collection, request_id=new_id())
        response = self._gallery.call(self._gallery_stub.CreateCollection, request)
        return answers_wire.collection_from_wire(response.collection)

    def get_collection(self, collection_id: str) -> a.Collection:
        """One collection.

        Raises:
            NotFound: there is none of that id.
        """
        request = collection_pb2.GetCollectionRequest(collection_id=collection_id)
        response = self._gallery.call(self._gallery_stub.GetCollection, request)
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
        return self._gallery.call(self._gallery_stub.DeleteCollection, request).subjects_deleted
