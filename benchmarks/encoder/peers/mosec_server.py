"""`python -m benchmarks.encoder.peers.mosec_server --port PORT`: the networks behind mosec, batched by it."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker

from benchmarks.encoder.faces import run_batch
from benchmarks.encoder.peers.setup import as_json, load_in_worker, setup_from_environ


class FacesWorker(Worker):  # type: ignore[misc]  # mosec is not in our environment
    """A mosec worker as its documentation has it: bytes in, a batch forward, JSON out."""

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = load_in_worker(setup_from_environ())

    def deserialize(self, data: bytes) -> bytes:
        """The body is the JPEG."""
        return data

    def forward(self, data: list[bytes] | bytes) -> Any:  # noqa: ANN401 - a list when it batches
        """Faces of each picture."""
        if isinstance(data, list):
            return [as_json(found) for found in run_batch(self.pipeline, data)]
        return as_json(run_batch(self.pipeline, [data])[0])


def main() -> None:
    """Serve until the process is ended."""
    setup = setup_from_environ()
    server = Server()
    server.append_worker(
        FacesWorker, num=setup.workers, max_batch_size=setup.batch, max_wait_time=setup.wait_ms, timeout=60
    )
    server.run()


if __name__ == "__main__":
    main()
