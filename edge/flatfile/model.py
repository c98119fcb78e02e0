"""Walks a whole .tflite in pure Python: each table, list, offset and index, in the order of the schema.

What interpreters trust is checked: an old one reads whatever offset it finds, and ends its process.
Besides the structure: constants are as large as their shapes, operators read what was written
before and write to nothing constant, and no graph runs itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from edge.flatfile import schema
from edge.flatfile.reader import INT8, INT32, INT64, UINT8, UINT32, UINT64, DamageError, Reader, Table
from wire.manifest import TensorSpec

_MIN_RUNTIME: Final = "min_runtime_version"
_OPTIONAL: Final = -1
#: numpy has no views of more dimensions, and no kernel takes them.
_MOST_DIMENSIONS: Final = 32
#: Graphs within graphs: each level is a level of the interpreter's own stack.
_DEEPEST: Final = 32


Level = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """A kind of operator in the file: its name (a custom one's own) and version."""

    name: str
    version: int
    custom: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Signature:
    """A named way to call one of the graphs; the tensors carry the signature's names.

    `aliases` are pairs of a tensor's own name and what the signature calls it.
    """

    key: str
    subgraph: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    aliases: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Peek:
    """What a file says about itself. `inputs` and `outputs` are those of the first graph, by tensor name.

    `min_runtime` is empty where the file does not say. `dynamic` holds the names of outputs whose
    shape is known only when the model has run. A `stateful` model keeps something from one call to the
    next. `largest` is the largest tensor that the file declares, with its bytes. `steered` holds the names
    of operators that read more than one tensor which is no constant: an axis or a shape may be among them.
    """

    version: int
    operators: tuple[Operator, ...]
    min_runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dynamic: frozenset[str]
    signatures: tuple[Signature, ...]
    stateful: bool
    largest: tuple[str, int]
    steered: frozenset[str] = frozenset()

    @property
    def custom(self) -> tuple[str, ...]:
        """The names of its custom operators."""
        return tuple(operator.name for operator in self.operators if operator.custom)


@dataclass(frozen=True)
class _Tensor:
    spec: TensorSpec
    size_bytes: int
    constant: bool
    variable: bool
    dynamic: bool


@dataclass(frozen=True)
class _Graph:
    tensors: list[_Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kinds: frozenset[int]
    calls: frozenset[int]
    steered: frozenset[int]


def read(reader: Reader) -> Peek:
    """Return what the file says about itself; raise DamageError where it makes no sense."""
    return _File(reader).peek()


def level_of(version: str) -> Level:
    """Return "2.17.0" as (2, 17, 0); what is no version as ()."""
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


class _File:
    """One file on its way through."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._codes: list[Operator] = []
        self._buffers: list[tuple[int, int]] = []
        self._subgraphs = 0

    def peek(self) -> Peek:
        reader = self._reader
        model = reader.root()
        version = reader.scalar(model, 0, UINT32)
        if version != 3:
            raise DamageError(f"it is of schema {version}, interpreters read 3")
        self._codes = reader.each(model, 1, "operator kind", self._code)
        self._buffers = reader.each(model, 4, "buffer", self._buffer)
        self._subgraphs = reader.vector(model, 2, 4)[1]
        graphs = reader.each(model, 2, "graph", self._graph)
        if not graphs:
            raise DamageError("it has no graph")
        _check_calls([graph.calls for graph in graphs])
        metadata = dict(reader.each(model, 6, "metadata", self._metadata))
        reader.numbers(model, 5)
        reader.text(model, 3)
        signatures = reader.each(model, 7, "signature", functools.partial(self._signature, graphs))
        kinds = {kind: self._codes[kind] for graph in graphs for kind in sorted(graph.kinds)}
        main = graphs[0]
        inputs, outputs = ([main.tensors[i] for i in side] for side in (main.inputs, main.outputs))
        every = [tensor for graph in graphs for tensor in graph.tensors]
        largest = max(every, key=lambda t: t.size_bytes, default=None)
        return Peek(
            version=version,
            operators=tuple(kinds.values()),
            min_runtime=self._min_runtime(metadata),
            inputs=tuple(tensor.spec for tensor in inputs),
            outputs=tuple(tensor.spec for tensor in outputs),
            dynamic=frozenset(tensor.spec.name for tensor in outputs if tensor.dynamic),
            signatures=tuple(signatures),
            stateful=any(t.variable for t in every) or any(k.name in schema.KEEPERS for k in kinds.values()),
            largest=(largest.spec.name, largest.size_bytes) if largest else ("", 0),
            steered=frozenset(self._codes[kind].name for graph in graphs for kind in graph.steered),
        )

    def _code(self, table: Table) -> Operator:
        reader = self._reader
        # Numbers above 126 do not fit the first field, which old files have alone.
        number = max(reader.scalar(table, 0, INT8), reader.scalar(table, 3, INT32))
        name, version = reader.text(table, 1), reader.scalar(table, 2, INT32, 1)
        if number == schema.CUSTOM:
            return Operator(name or "(without a name)", version, custom=True)
        if not 0 <= number < len(schema.OPERATORS):
            raise DamageError(f"number {number} is unknown")
        return Operator(schema.OPERATORS[number], version)

    def _buffer(self, table: Table) -> tuple[int, int]:
        """Return where a buffer's bytes are, and how many; large files keep them behind the tables."""
        reader = self._reader
        start, count = reader.vector(table, 0, 1)
        outside, size = reader.scalar(table, 1, UINT64), reader.scalar(table, 2, UINT64)
        if outside > 1:  # 0 and 1 are left by writers that changed their mind
            if outside + size > reader.size:
                raise DamageError("its bytes run past the end of the file")
            return outside, size
        return start, count

    def _graph(self, table: Table) -> _Graph:
        reader = self._reader
        tensors = reader.each(table, 0, "tensor", self._tensor)
        inputs, outputs = reader.numbers(table, 1), reader.numbers(table, 2)
        for side in (inputs, outputs):
            _check_indices(side, len(tensors))
        if bad := [i for i in inputs if tensors[i].constant]:
            raise DamageError(f"its input {tensors[bad[0]].spec.name!r} is a constant")
        walk = _Walk(tensors, {*inputs, *(i for i, t in enumerate(tensors) if t.constant or t.variable)})
        reader.each(table, 3, "operator", functools.partial(self._operator, walk))
        if missing := [i for i in outputs if i not in walk.ready]:
            raise DamageError(f"nothing writes its output {tensors[missing[0]].spec.name!r}")
        reader.text(table, 4)
        sets = (frozenset(found) for found in (walk.kinds, walk.calls, walk.steered))
        return _Graph(tensors, inputs, outputs, *sets)

    def _tensor(self, table: Table) -> _Tensor:
        reader = self._reader
        shape, open_shape = reader.numbers(table, 0), reader.numbers(table, 7)
        kind, buffer = reader.scalar(table, 1, INT8), reader.scalar(table, 2, UINT32)
        if not 0 <= kind < len(schema.TYPES):
            raise DamageError(f"type {kind} is unknown")
        if buffer >= len(self._buffers):
            raise DamageError(f"buffer {buffer} of {len(self._buffers)} does not exist")
        if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < -1:
            raise DamageError(f"its shape {list(shape[:8])} makes no sense")
        dtype, bits = schema.TYPES[kind]
        size_bytes = max(0, (prod(shape) * bits + 7) // 8)
        held, sparse = self._buffers[buffer][1], self._sparsity(table)
        if held and bits and not sparse and held < size_bytes:
            raise DamageError(f"its shape {list(shape)} needs {size_bytes} bytes, its buffer has {held}")
        scale, zero_point = self._quantization(table)
        reader.each(table, 9, "variant", lambda sub: reader.numbers(sub, 0))
        return _Tensor(
            TensorSpec(reader.text(table, 3), dtype, shape, scale, zero_point),
            size_bytes,
            constant=bool(held) or (bits > 0 and not size_bytes),
            variable=bool(reader.scalar(table, 5, UINT8)),
            dynamic=not shape or _OPTIONAL in shape or _OPTIONAL in open_shape,
        )

    def _quantization(self, table: Table) -> tuple[float | None, int | None]:
        """Return scale and zero point of a tensor that has one of each."""
        reader = self._reader
        if (quantization := reader.child(table, 4)) is None:
            return None, None
        counts = [reader.vector(quantization, field, width)[1] for field, width in enumerate((4, 4, 4, 8))]
        if (details := reader.child(quantization, 5)) and reader.scalar(quantization, 4, UINT8) == 1:
            reader.vector(details, 0, 1)
        if counts[2] != 1:
            return None, None
        zero_points = reader.numbers(quantization, 3, INT64) if counts[3] == 1 else (0,)
        scale = reader.first_float(quantization, 2)
        return (scale, zero_points[0]) if scale else (None, None)

    def _sparsity(self, table: Table) -> bool:
        reader = self._reader
        if (sparsity := reader.child(table, 6)) is None:
            return False
        reader.numbers(sparsity, 0)
        reader.numbers(sparsity, 1)
        reader.each(sparsity, 2, "dimension", self._dimension)
        return True

    def _dimension(self, table: Table) -> None:
        for kind, values in ((2, 3), (4, 5)):
            width = {1: 4, 2: 2, 3: 1}.get(self._reader.scalar(table, kind, UINT8), 0)
            if (child := self._reader.child(table, values)) and width:
                self._reader.vector(child, 0, width)

    def _operator(self, walk: _Walk, table: Table) -> None:
        reader = self._reader
        kind = reader.scalar(table, 0, UINT32)
        if kind >= len(self._codes):
            raise DamageError(f"its kind {kind} of {len(self._codes)} does not exist")
        walk.kinds.add(kind)
        try:
            reads = reader.numbers(table, 1)
            walk.step(reads, reader.numbers(table, 2))
            if sum(i != _OPTIONAL and not walk.tensors[i].constant for i in reads) > 1:
                walk.steered.add(kind)
            _check_indices(reader.numbers(table, 8), len(walk.tensors), _OPTIONAL)
            walk.calls |= self._options(table, 3, schema.LISTS, schema.CALLS)
            walk.calls |= self._options(table, 11, schema.LISTS_2, schema.CALLS_2)
        except DamageError as damage:
            raise DamageError(f"({self._codes[kind].name}) {damage}") from damage
        reader.vector(table, 5, 1)
        reader.vector(table, 7, 1)
        large, size = reader.scalar(table, 9, UINT64), reader.scalar(table, 10, UINT64)
        if large > 1 and large + size > reader.size:
            raise DamageError("its options run past the end of the file")

    def _options(
        self,
        table: Table,
        field: int,
        lists: Mapping[int, Mapping[int, int]],
        calls: Mapping[int, tuple[int, ...]],
    ) -> set[int]:
        """Check an operator's options; return the subgraphs that it runs."""
        reader = self._reader
        kind, options = reader.scalar(table, field, UINT8), reader.child(table, field + 1)
        if options is None:
            return set()
        for position, width in lists.get(kind, {}).items():
            reader.vector(options, position, width)
        called = {reader.scalar(options, position, INT32) for position in calls.get(kind, ())}
        _check_indices(called, self._subgraphs, what="graph")
        return called

    def _metadata(self, table: Table) -> tuple[str, int]:
        buffer = self._reader.scalar(table, 1, UINT32)
        if buffer >= len(self._buffers):
            raise DamageError(f"buffer {buffer} of {len(self._buffers)} does not exist")
        return self._reader.text(table, 0), buffer

    def _min_runtime(self, metadata: Mapping[str, int]) -> str:
        if _MIN_RUNTIME not in metadata:
            return ""
        start, count = self._buffers[metadata[_MIN_RUNTIME]]
        text = self._reader.bytes_at(start, min(count, 32)).partition(b"\0")[0].decode("ascii", "replace")
        return text if level_of(text) else ""

    def _signature(self, graphs: list[_Graph], table: Table) -> Signature:
        reader = self._reader
        number = reader.scalar(table, 4, UINT32)
        _check_indices({number}, len(graphs), what="graph")
        tensors = graphs[number].tensors
        aliases = set()

        def read(entry: Table) -> TensorSpec:
            index, name = reader.scalar(entry, 1, UINT32), reader.text(entry, 0)
            _check_indices({index}, len(tensors))
            aliases.add((tensors[index].spec.name, name))
            return replace(tensors[index].spec, name=name)

        inputs, outputs = (
            reader.each(table, field, name, read) for field, name in enumerate(("input", "output"))
        )
        return Signature(reader.text(table, 2), number, tuple(inputs), tuple(outputs), frozenset(aliases))


class _Walk:
    """Goes through a graph's operators in their order: what is read must have been written before."""

    def __init__(self, tensors: list[_Tensor], ready: set[int]) -> None:
        self.tensors = tensors
        self.ready = ready
        self.kinds: set[int] = set()
        self.calls: set[int] = set()
        self.steered: set[int] = set()

    def step(self, reads: tuple[int, ...], writes: tuple[int, ...]) -> None:
        for side in (reads, writes):
            _check_indices(side, len(self.tensors), _OPTIONAL)
        for index in reads:
            if index != _OPTIONAL and index not in self.ready:
                raise DamageError(f"reads tensor {self.tensors[index].spec.name!r}, which nothing wrote")
        for index in writes:
            if index != _OPTIONAL and self.tensors[index].constant and self.tensors[index].size_bytes:
                raise DamageError(f"writes to the constant {self.tensors[index].spec.name!r}")
        self.ready.update(writes)


def _check_indices(indices: Iterable[int], count: int, least: int = 0, *, what: str = "tensor") -> None:
    for index in indices:
        if not least <= index < count:
            raise DamageError(f"{what} {index} of {count} does not exist")


def _check_calls(calls: list[frozenset[int]]) -> None:
    """Refuse a graph that runs itself, or graphs nested without end: interpreters would recurse."""
    depths: dict[int, int] = {}

    def depth(graph: int, level: int) -> int:
        if level > _DEEPEST:
            raise DamageError(f"graph {graph} runs itself, or is nested too deeply")
        if graph not in depths:
            depths[graph] = 1 + max((depth(inner, level + 1) for inner in calls[graph]), default=0)
        return depths[graph]

    for graph in range(len(calls)):
        if depth(graph, 0) > _DEEPEST:
            raise DamageError(f"graph {graph} is nested too deeply")
