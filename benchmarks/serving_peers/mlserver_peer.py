"""The model in mlserver."""

# mypy: ignore-errors

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from plain_model import Model


class Served(MLModel):
    async def load(self):
        self._run = Model()
        return True

    async def predict(self, payload):
        values = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("output", self._run(values))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
