"""Who may speak for a camera: whoever has its newest lease, as far as this process has heard.

A worker stops by itself before its lease ends. Where it could not, since it was paused at the wrong moment, its words
come with an older token than those of the worker that took the camera, and are refused here. What is known is kept in
memory: after a restart the first word of each camera counts, and galleries side by side learn each for itself.
"""

from __future__ import annotations

from collections import OrderedDict

from tessera.domain.errors import LeaseSupersededError
from tessera.domain.ids import CameraId

_MOST_CAMERAS = 10_000


class Fences:
    """The newest token of each camera. Used from one event loop."""

    def __init__(self) -> None:
        self._newest: OrderedDict[CameraId, int] = OrderedDict()

    def require(self, camera_id: CameraId, lease_token: int) -> None:
        """Refuse words under an older lease than the newest that was heard of.

        Args:
            camera_id: of which camera.
            lease_token: 0: from a worker without leases, which is heard.

        Raises:
            LeaseSupersededError: there is a newer one.
        """
        if lease_token == 0:
            return
        newest = self._newest.get(camera_id, 0)
        if lease_token < newest:
            raise LeaseSupersededError(camera_id, lease_token, newest)
        self._newest[camera_id] = lease_token
        self._newest.move_to_end(camera_id)
        if len(self._newest) > _MOST_CAMERAS:
            self._newest.popitem(last=False)
