"""`python -m benchmarks.encoder.peers.litserve_server PORT`: the networks behind LitServe, batched by it."""

from __future__ import annotations

import sys
from typing import Any

import litserve as ls

from benchmarks.encoder.faces import run_batch
from benchmarks.encoder.peers.setup import PeerSetup, as_json, load_in_worker, setup_from_environ
from encoder_svc.faces.found import FoundFaces

FORM_FIELD = "request"


class FacesAPI(ls.LitAPI):  # type: ignore[misc]  # LitServe has no types in our environment
    """A LitAPI as its documentation has it: decode the request, predict a batch, encode each answer."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - all of it is on the CPU
        """Load the networks."""
        self.pipeline = load_in_worker(setup_from_environ())

    def decode_request(self, request) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001 - see below
        """The JPEG of a multipart form. Without annotation, which LitServe would take as the type of the body."""
        data: bytes = request[FORM_FIELD].file.read()
        return data

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Pictures stay as they are: they are decoded with the batch."""
        return inputs

    def predict(self, batch: list[bytes] | bytes) -> Any:  # noqa: ANN401 - a list when it batches
        """Faces of each picture."""
        if isinstance(batch, list):
            return run_batch(self.pipeline, batch)
        return run_batch(self.pipeline, [batch])[0]

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One answer a picture."""
        return output

    def encode_response(self, output: FoundFaces) -> dict[str, Any]:
        """As JSON."""
        return as_json(output)


def main() -> None:
    """Serve until the process is ended."""
    setup: PeerSetup = setup_from_environ()
    api = FacesAPI(max_batch_size=setup.batch, batch_timeout=setup.wait_ms / 1000)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=setup.workers, timeout=60, fast_queue=setup.tuned)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
