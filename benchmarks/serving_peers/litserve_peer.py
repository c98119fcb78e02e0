"""The model in litserve."""

# mypy: ignore-errors

import os

import litserve
from plain_model import Model


class Served(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002  # litserve's signature
        self._run = Model()

    def decode_request(self, request):
        return request["inputs"][0]["data"]

    def predict(self, values):
        return self._run(values)

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="error", generate_client_file=False
    )
