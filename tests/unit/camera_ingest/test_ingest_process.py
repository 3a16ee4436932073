"""The process around the cameras: it does not outlive a part that it cannot do without."""

from __future__ import annotations

import pytest

from camera_ingest.__main__ import serve
from camera_ingest.announcing import Announcer
from camera_ingest.settings import IngestSettings


async def test_a_part_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever supervises it starts it anew; without this it would serve on and tell nobody of anything."""

    async def failing(self: Announcer) -> None:
        raise LookupError("a defect of the announcer")

    monkeypatch.setattr(Announcer, "run", failing)
    settings = IngestSettings(port=0, metrics_port=0, store_url="memory", drain_s=0.1)
    with pytest.raises(LookupError, match="announcer"):
        await serve(settings)
