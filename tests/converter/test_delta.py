"""What an update takes on the wire."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from converter.delta import difference, update_bytes


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_old_and_difference_make_the_new_file(old: bytes, new: bytes) -> None:
    made = difference(old, new)
    shared = min(len(old), len(new))
    again = bytes((a + b) % 256 for a, b in zip(old[:shared], made, strict=False)) + made[shared:]
    assert again == new


def test_a_file_that_hardly_changed_costs_hardly_anything() -> None:
    old = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8)
    new = old.copy()
    new[-500:] += 1
    assert update_bytes(old.tobytes(), new.tobytes(), b"") < 300
    assert update_bytes(b"", new.tobytes(), b"") > 49_000
