"""Manifests of other versions: old ones mean what they meant, newer ones are understood as far as known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.adapters import msgspec_codec
from wire import codec
from wire.manifest import Manifest, Postprocessing, Preprocessing

OLD = {
    "model": "m", "version": "1", "recipe": "int8", "tflite_sha256": "0", "tflite_bytes": 4,
    "inputs": [{"name": "x", "dtype": "int8", "shape": [1, 4, 4, 3], "scale": 0.5, "zero_point": 0}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": [1, 2]}],
    "golden": {"count": 1, "tolerance": 0.1},
    "preprocessing": {"kind": "image", "channels": 3, "scale": 0.5, "offset": -1.0},
}  # fmt: skip


@pytest.mark.parametrize("decode", [codec.decode, msgspec_codec.decode], ids=["device", "server"])
def test_a_manifest_from_before_postprocessing_means_what_it_meant(decode: Any) -> None:
    manifest = decode(Manifest, json.dumps(OLD).encode())
    assert manifest.preprocessing == Preprocessing("image", 3, 0.5, -1.0)
    assert (manifest.preprocessing.order, manifest.preprocessing.mean) == ("rgb", ())
    assert manifest.postprocessing == Postprocessing()
    assert decode(Manifest, codec.encode(manifest)) == manifest


def test_a_way_that_is_not_known_yet_is_read_and_refused_only_by_who_would_follow_it() -> None:
    newer = {**OLD, "postprocessing": {"kind": "masks", "resolution": 28}}
    assert codec.decode(Manifest, json.dumps(newer).encode()).postprocessing.kind == "masks"
