"""The bundle: a model with a zip behind it, checked against itself."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.bundle import GOLDEN, Bundle, pack, unpack
from wire.errors import BundleError
from wire.manifest import Golden, Manifest, TensorSpec

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 8
MANIFEST = Manifest(
    model="digits",
    version="1",
    recipe="int8",
    tflite_sha256=hashlib.sha256(TFLITE).hexdigest(),
    tflite_bytes=len(TFLITE),
    inputs=(TensorSpec("x", "int8", (1, 8, 8, 1), 0.0039, -128),),
    outputs=(TensorSpec("y", "int8", (1, 10), 0.0039, -128),),
    golden=Golden(2, 0.05),
    labels=2,
)
BUNDLE = Bundle(MANIFEST, TFLITE, ("zero", "öne"), b"golden")
PACKED = pack(BUNDLE)


def test_a_bundle_comes_back_as_it_was_and_packs_to_the_same_bytes() -> None:
    assert unpack(PACKED) == BUNDLE
    assert pack(unpack(PACKED)) == PACKED


def test_any_zip_tool_lists_it_and_any_tflite_tool_finds_the_model_in_front() -> None:
    with zipfile.ZipFile(io.BytesIO(PACKED)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["golden.npz", "labels.txt", "manifest.json"]
    assert PACKED.startswith(TFLITE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "not a TFLite model"),
        (TFLITE, "no readable zip"),
        (PACKED[:-30], "no readable zip"),
        (pack(replace(BUNDLE, labels=("one",))), "labels"),
        (pack(replace(BUNDLE, tflite=TFLITE[:-1] + b"!")), "damaged"),
    ],
)
def test_what_does_not_add_up_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        unpack(data)


def test_an_entry_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(BundleError, match="larger than"):
        unpack(pack(replace(BUNDLE, golden=bytes(40_000_000))))


def test_a_missing_entry_is_named() -> None:
    out = io.BytesIO(TFLITE)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr(GOLDEN, "")
    with pytest.raises(BundleError):
        unpack(out.getvalue())


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_no_flipped_byte_raises_anything_but_a_bundle_error(position: int, flip: int) -> None:
    broken = bytearray(PACKED)
    broken[position] ^= flip
    try:
        unpack(bytes(broken))
    except BundleError:
        return


@given(st.integers(0, len(PACKED) - 1))
def test_a_truncated_bundle_is_always_refused(length: int) -> None:
    with pytest.raises(BundleError):
        unpack(PACKED[:length])
