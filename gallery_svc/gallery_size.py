"""How large a search is: what its threshold is chosen for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gallery_svc.coverage import subjects_of, templates_of
from gallery_svc.live import LiveCollection


@dataclass(frozen=True, slots=True)
class GallerySize:
    """How much a search compares a probe with."""

    subjects: int
    templates: int

    def compared(self, planned: int) -> int:
        """Samples that a probe is compared with: each of them may look like a stranger, not each subject once.

        The best of four templates of a person is reached by strangers some 3.5 times as often as one
        (docs/fusion.md), so that templates count as subjects do: a little too strict, and never too loose.

        Args:
            planned: subjects that the collection is planned for, with as many templates each as it has now.
        """
        each = self.templates / self.subjects if self.subjects else 1.0
        return max(1, self.templates, math.ceil(planned * each))


def size_of(live: LiveCollection) -> GallerySize:
    """Of a collection as it is searched now, whoever holds it."""
    return GallerySize(subjects_of(live), templates_of(live))
