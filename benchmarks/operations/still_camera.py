"""An MJPEG camera of the scenario's own, whose pictures can be stopped: noise as long as it lives, one still after."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

RATE_HZ = 10.0
_HEIGHT, _WIDTH = 240, 320


class StillCamera:
    """What it shows."""

    def __init__(self) -> None:
        self.url = ""
        self._frozen = threading.Event()
        self.ended = threading.Event()
        self._picture = _noise(np.random.default_rng(0))

    def freeze(self) -> None:
        """From now on the same picture."""
        self._frozen.set()

    def picture(self, rng: np.random.Generator) -> bytes:
        """The next one, as a JPEG."""
        if not self._frozen.is_set():
            self._picture = _noise(rng)
        return self._picture


@contextmanager
def still_camera() -> Iterator[StillCamera]:
    """A camera on loopback until the block ends."""
    camera = StillCamera()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, camera))
    camera.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield camera
    finally:
        camera.ended.set()
        server.shutdown()
        server.server_close()


def _noise(rng: np.random.Generator) -> bytes:
    noise = rng.normal(0.0, 6.0, (_HEIGHT, _WIDTH, 1)) + np.linspace(60, 180, _WIDTH)[None, :, None]
    return cv2.imencode(".jpg", np.clip(noise, 0, 255).astype(np.uint8))[1].tobytes()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, camera: StillCamera, *request: Any) -> None:  # noqa: ANN401 - the base class's own
        self._camera = camera
        super().__init__(*request)

    def do_GET(self) -> None:
        """Pictures, until the reader leaves or the camera ends."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        rng = np.random.default_rng(int(time.monotonic() * 1e6))
        while not self._camera.ended.wait(1.0 / RATE_HZ):
            jpeg = self._camera.picture(rng)
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        """Nothing."""
