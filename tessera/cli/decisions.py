"""Which events tell people something new: a tracklet is told again with each revision, its decision changes rarely."""

from __future__ import annotations

from collections import OrderedDict

from tessera.client.answers import Event

_REMEMBERED = 10_000


class DecisionChanges:
    """Passes an event when its decision is new or differs from the one told before."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def is_new(self, event: Event) -> bool:
        """Whether the event says something that was not said before; camera events always do."""
        if event.sighting is None:
            return True
        decision = (event.sighting.answer.outcome.value, event.sighting.subject_id)
        if self._told.get(event.event_id) == decision:
            return False
        self._told[event.event_id] = decision
        self._told.move_to_end(event.event_id)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True
