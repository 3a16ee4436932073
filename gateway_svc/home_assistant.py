"""MQTT discovery for Home Assistant: a device for each camera, with its alerts as events and its state as a sensor.

Source: https://www.home-assistant.io/integrations/mqtt#mqtt-discovery, `event.mqtt`, `binary_sensor.mqtt`
"""

from __future__ import annotations

import re
import zlib

from tessera import __version__

EVENT_TYPES = ("alert", "update", "late", "replayed")
"""An automation that asks for `alert` is never started by the others."""

_OTHER = re.compile(r"[^A-Za-z0-9_-]")


def discovery(discovery_prefix: str, prefix: str, camera_id: str) -> dict[str, dict[str, object]]:
    """Discovery messages of one camera, by topic; all of them are retained."""
    name = _object_id(camera_id)
    shared: dict[str, object] = {
        "availability_topic": f"{prefix}/gateway/status",
        "device": {"identifiers": [f"{prefix}_{camera_id}"], "name": camera_id, "manufacturer": "Tessera"},
        "origin": {"name": "Tessera", "sw_version": __version__},
    }
    return {
        f"{discovery_prefix}/event/{prefix}_{name}/alert/config": {
            "name": "Alert",
            "unique_id": f"{prefix}_{camera_id}_alert",
            "state_topic": f"{prefix}/events/alert/{camera_id}",
            "event_types": list(EVENT_TYPES),
            "qos": 1,
            **shared,
        },
        f"{discovery_prefix}/binary_sensor/{prefix}_{name}/online/config": {
            "name": "Online",
            "unique_id": f"{prefix}_{camera_id}_online",
            "device_class": "connectivity",
            "state_topic": f"{prefix}/state/camera/{camera_id}",
            "value_template": "{{ 'ON' if value_json.state == 'ONLINE' else 'OFF' }}",
            "qos": 1,
            **shared,
        },
    }


def _object_id(camera_id: str) -> str:
    """As Home Assistant allows; two cameras never share one."""
    plain = _OTHER.sub("_", camera_id)
    return plain if plain == camera_id else f"{plain}_{zlib.crc32(camera_id.encode()):08x}"
