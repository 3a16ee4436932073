"""NVIDIA's client of the Open Inference Protocol, in a process of its own: its messages and ours have the same names.

One JSON object a line on standard input, one answer a line on standard output.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = infer(client, **asked["infer"]) if "infer" in asked else plain(client, *asked["call"])
        except triton.InferenceServerException as error:
            answer = {"status": error.status(), "message": error.message()}
        print(json.dumps(answer), flush=True)


def plain(client: triton.InferenceServerClient, method: str, *arguments: str) -> Any:
    answer = getattr(client, method)(*arguments)
    return answer if isinstance(answer, bool) else MessageToDict(answer, preserving_proto_field_name=True)


def infer(
    client: triton.InferenceServerClient,
    model: str,
    pictures: list[str],
    *,
    name: str = "image",
    datatype: str = "BYTES",
    shape: list[int] | None = None,
    outputs: list[str] | None = None,
    **more: Any,
) -> Any:
    files = [base64.b64decode(picture) for picture in pictures]
    values = np.frombuffer(files[0], np.uint8) if datatype == "UINT8" else np.array([*files, None], object)[:-1]
    if datatype == "FP32":
        values = np.zeros(len(files), np.float32)
    values = values.reshape(shape or values.shape)
    tensor = triton.InferInput(name, values.shape, datatype)
    tensor.set_data_from_numpy(values)
    requested = None if outputs is None else [triton.InferRequestedOutput(output) for output in outputs]
    result = client.infer(model, [tensor], outputs=requested, **more)
    response = result.get_response()
    return {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "measures": [output.parameters["measures"].string_param for output in response.outputs if output.parameters],
        "outputs": {output.name: as_json(result.as_numpy(output.name)) for output in response.outputs},
    }


def as_json(values: np.ndarray) -> dict[str, Any]:
    return {"dtype": values.dtype.str, "shape": values.shape, "data": base64.b64encode(values.tobytes()).decode()}


if __name__ == "__main__":
    main()
