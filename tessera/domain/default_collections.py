"""The collections that a gallery makes by itself when somebody is enrolled or seen in them, one for each modality."""

from __future__ import annotations

from collections.abc import Mapping

from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId

DEFAULT_COLLECTIONS: Mapping[Modality, CollectionId] = {
    Modality.FACE: CollectionId("default"),
    Modality.SIGNATURE: CollectionId("signatures"),
    Modality.PERSON: CollectionId("persons"),
}
