"""The model in BentoML."""

# mypy: ignore-errors

import bentoml
from plain_model import Model


@bentoml.service(workers=1)
class Served:
    def __init__(self):
        self._run = Model()

    @bentoml.api
    def predict(self, inputs: list) -> dict:
        return {"output": self._run(inputs[0]["data"]).tolist()}
