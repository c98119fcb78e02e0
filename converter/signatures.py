"""What a source says it takes, as inputs of fixed size; and which of its signatures is meant. Pure.

A tensor of a device has one shape: a size that the source leaves open becomes that of the data's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from converter.source import Array, InputSpec
from wire.errors import DataError, ModelError

_DEFAULT: Final = "serving_default"


@dataclass(frozen=True)
class Slot:
    """An input as its source describes it, without the batch.

    A size of None is left open, so is the whole shape where it is None; dtype "" is not known.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str = ""

    @property
    def shown(self) -> str:
        """What messages call its shape: "[?, 3]"."""
        if self.shape is None:
            return "any shape"
        return f"[{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    @property
    def said(self) -> str:
        """What messages call it."""
        return "its input" if self.name == "input" else f"its input {self.name}"


def fixed(slots: Sequence[Slot], rows: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Return `slots` as inputs of fixed size; open sizes are taken from `rows`.

    `rows` are [n, ...] by input name, "" for the only one. Raises ModelError for a size that stays
    open and for an input that takes text, DataError for rows with another number of axes.
    """
    specs = []
    for position, slot in enumerate(slots):
        given = _rows_for(rows, slot.name, position, only=len(slots) == 1)
        specs.append(InputSpec(slot.name, _dtype(slot, given), _shape(slot, given)))
    return tuple(specs)


def settled(slots: Sequence[Slot], specs: Sequence[InputSpec]) -> list[str]:
    """Return a line for each input whose size its source leaves open."""
    return [
        f"{spec.name}: {slot.shown} is fixed at {list(spec.shape)}, the size of the data's rows"
        for slot, spec in zip(slots, specs, strict=True)
        if slot.shape is None or None in slot.shape
    ]


def choose_signature(names: Sequence[str], wanted: str | None) -> str:
    """Return the signature that is wanted, else `serving_default`, else the only one; raise ModelError."""
    if not names:
        raise ModelError("it has no signature: save it with tf.saved_model.save(…, signatures=…)")
    if wanted is not None and wanted not in names:
        raise ModelError(f"it has no signature {wanted}, only {', '.join(sorted(names))}")
    if wanted is None and _DEFAULT not in names and len(names) > 1:
        raise ModelError(f"name one of its signatures with --signature: {', '.join(sorted(names))}")
    return wanted or (_DEFAULT if _DEFAULT in names else names[0])


def _rows_for(rows: Mapping[str, Array] | None, name: str, position: int, *, only: bool) -> Array | None:
    """Return the rows meant for an input; None when there are none (binding tells what is missing)."""
    if rows is None:
        return None
    if only and len(rows) == 1:
        return next(iter(rows.values()))
    return rows.get(name, rows.get(str(position)))


def _shape(slot: Slot, given: Array | None) -> tuple[int, ...]:
    if slot.shape is not None and None not in slot.shape:
        return tuple(int(size) for size in slot.shape if size is not None)
    if given is None:
        raise ModelError(f"{slot.said} leaves sizes open, {slot.shown}: give data, it settles them")
    row: tuple[int, ...] = given.shape[1:]
    if slot.shape is None:
        return row
    if (missing := len(slot.shape) - len(row)) > 0:
        row += (1,) * missing
    if len(row) != len(slot.shape):
        raise DataError(f"x: a row is {list(given.shape[1:])}, the model takes {slot.shown}")
    return tuple(int(have if size is None else size) for size, have in zip(slot.shape, row, strict=True))


def _dtype(slot: Slot, given: Array | None) -> str:
    if not slot.dtype:
        return "int32" if given is not None and given.dtype.kind in "iu" else "float32"
    if slot.dtype == "string":
        raise ModelError(f"{slot.said} takes text: save the part behind the text's preprocessing")
    return "float32" if slot.dtype.startswith(("float", "bfloat")) else slot.dtype
