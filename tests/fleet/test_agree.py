"""Sampled inputs on a reference model: the right answers, honest shares, and one line for what cannot be."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.adapters.tflite import make_loader
from edge.sampled_inputs import SampledInputs
from edgeflock import main
from fleet.adapters import reference_run
from fleet.adapters.agreement_table import AgreementTable
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.agreeing import Against, Agreement, Rerun, agreement
from fleet.ingest import Arrival
from fleet.releasing import build
from fleet.requantizing import pairing, real, taken, unpacked
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.tiny_model import tiny_tflite
from wire.errors import DataError
from wire.manifest import TensorSpec
from wire.messages import Head, Samples

#: What the tiny model's int8 inputs hold at the most is 65; a reference of scale 0.25 ends at 31.75.
SURE, SATURATED = (1.0, 2.0, 3.0, 9.0), (40.0, 50.0, 0.0, 0.0)


def text_of(*values: float) -> str:
    codes = np.clip(np.rint(np.array(values) / 0.5 - 3), -128, 127).astype(np.int8)
    return base64.b64encode(codes.tobytes()).decode()


class Fleet:
    """A database with the release `tiny/1` and samples of it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.bundle = write_tiny_bundle(state / "tiny.bundle")
        self.database = Database(state).open()
        Registry(self.database).open().add_release(build(self.bundle.read_bytes(), name="tiny"))
        self.store = ReportStore(self.database).open()

    def sampled(self, device: str, *rows: tuple[float, ...], policy: str = "uniform", **columns: Any) -> None:
        """Let a device send its answers to `rows`; the model is a RELU, so they are the largest values."""
        now_s, count = time.time(), len(rows)
        said = Samples(
            release="tiny/1",
            rate=0.1,
            ids=tuple(f"{device}-{policy}-{i}" for i in range(count)),
            predicted=tuple(int(np.argmax(row)) for row in rows),
            confidence=(0.9,) * count,
            truth=columns.get("truth", (None,) * count),
            times_s=(now_s,) * count,
            policies=(policy,) * count,
            inputs=columns.get("inputs", tuple(text_of(*row) for row in rows)),
        )
        sequence = columns.get("sequence", 1)
        assert not self.store.take([Arrival(device, "samples", Head("b1", sequence, 1, now_s), said)]).refused

    def agree(self, reference: Path, *options: str, code: int = 0) -> None:
        command = ["fleet", "agree", "tiny/1", "--state", str(self.state), "--reference", str(reference)]
        assert main([*command, *options]) == code

    def reference(self, name: str = "float.tflite", scale: float = 0.0, **shape: int) -> Path:
        path = self.state / name
        path.write_bytes(tiny_tflite(scale, 0, **shape))
        return path


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.database.close()


def test_a_release_agrees_with_the_float_model_and_the_result_is_kept(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        fleet.sampled(f"pi-{i}", SURE, SATURATED, (5.0, 1.0, 1.0, 1.0))
    fleet.agree(fleet.reference())
    said = capsys.readouterr().out
    assert "tiny/1 and float.tflite, on 12 sampled inputs" in said
    assert "uniform: 12 of 12 agree, 100.0% [" in said
    assert "4 devices, by devices" in said
    assert "does not say who is right" in said
    (kept,) = AgreementTable(fleet.database).of("tiny/1")
    assert (kept.answers, kept.policies[0].agreeing, kept.against.file) == (12, 12, "float.tflite")


def test_what_disagrees_is_told_and_only_uniform_samples_give_a_share(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        fleet.sampled(f"pi-{i}", SURE, SATURATED, truth=(None, 1))
        fleet.sampled(f"pi-{i}", SATURATED, policy="low-confidence", sequence=2)
    reference = fleet.reference("narrow.tflite", 0.25)
    fleet.agree(reference, "--json")
    said = json.loads(capsys.readouterr().out)
    uniform, doubtful = said["policies"]
    assert (uniform["policy"], uniform["answers"], uniform["agreeing"]) == ("uniform", 6, 3)
    assert uniform["share"]["devices"] == 3
    assert (doubtful["answers"], doubtful["agreeing"], doubtful["share"]) == (3, 0, None)
    assert len(said["disagreeing"]) == 6
    assert {(one["answered"], one["reference"]) for one in said["disagreeing"]} == {(1, 0)}
    assert said["truths"] == {"release": 3}
    fleet.agree(reference)
    said = capsys.readouterr().out
    assert "low-confidence: 0 of 3 agree, of these only" in said
    assert "pi-0-low-confidence-0" in said
    assert "right where they differ and the truth is known: release 3" in said
    assert AgreementTable(fleet.database).of("tiny/1")[0].disagreeing == ()  # it goes when a device goes


def test_a_bundle_is_a_reference_too_and_the_newest_inputs_count(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    for sequence in range(1, 5):
        fleet.sampled("pi-1", SURE, SATURATED, sequence=sequence)
    fleet.agree(fleet.bundle, "--most", "5")
    said = capsys.readouterr().out
    assert "tiny/1 and tiny/1 (int8), on 5 sampled inputs" in said
    assert "1 devices, as if all answers were independent" in said


def test_inputs_that_cannot_be_run_are_counted(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.sampled("pi-1", *[SURE] * 4, inputs=(None, "nonsense!", "AAAA", text_of(*SURE)))
    fleet.agree(fleet.reference(), "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["left_out"] == {"sent without input": 1, "input that does not fit the release": 2}
    assert said["policies"][0]["answers"] == 1


def test_without_inputs_it_says_what_to_set(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.sampled("pi-1", SURE, inputs=())
    fleet.agree(fleet.reference(), code=1)
    said = capsys.readouterr().err
    assert "(1 sent without input)" in said
    assert "samples.inputs = true" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "not a TFLite model"), (b"\0\0\0\0TFL3" + b"\xff" * 200, "crashing.tflite: "),
     (tiny_tflite(0.5, 0, 5), "takes [1, 5]"), (None, "No such file")],
)  # fmt: skip
def test_a_reference_that_cannot_be_run_is_one_line(
    fleet: Fleet, content: bytes | None, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.sampled("pi-1", SURE)
    path = fleet.state / "crashing.tflite"
    if content is not None:
        path.write_bytes(content)
    fleet.agree(path, code=1)
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1
    assert AgreementTable(fleet.database).of("tiny/1") == []


def test_without_an_interpreter_it_says_what_to_install(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked" / "ai_edge_litert"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(blocked.parent))
    fleet.sampled("pi-1", SURE)
    fleet.agree(fleet.reference(), code=1)
    assert capsys.readouterr().err == "edgeflock: no ai-edge-litert here: pip install 'edgeflock[agree]'\n"


def test_an_interpreter_that_dies_is_an_error_and_not_our_end(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    monkeypatch.setattr(reference_run, "python_module", lambda *_: dying)
    fleet.sampled("pi-1", SURE)
    fleet.agree(fleet.reference(), code=1)
    assert "ended with SIGSEGV" in capsys.readouterr().err


def test_an_unknown_release_is_named(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fleet", "agree", "other/1", "--state", str(fleet.state), "--reference", str(fleet.bundle)]
    assert main(command) == 2
    assert "there is no release other/1 here: tiny/1" in capsys.readouterr().err


INT8 = TensorSpec("x", "int8", (1, 4), 0.5, -3)


def test_values_go_from_codes_to_codes_through_real_ones() -> None:
    codes = np.array([[-128, -3, 0, 127]], np.int8)
    values = real(codes, INT8)
    assert values.tolist() == [[-62.5, 0.0, 1.5, 65.0]]
    assert taken(values, INT8).tolist() == codes.tolist()
    assert taken(values, TensorSpec("x", "uint8", (4,), 0.25, 128)).tolist() == [0, 128, 134, 255]
    plain = taken(values, TensorSpec("x", "float32", (2, 2)))
    assert (plain.dtype, plain.tolist()) == (np.float32, [[-62.5, 0.0], [1.5, 65.0]])
    assert taken(np.array([1.5, np.nan, -np.inf]), TensorSpec("x", "int32", (3,))).tolist() == [
        2,
        0,
        -(2**31),
    ]


def test_inputs_belong_together_by_name_or_else_by_position() -> None:
    a, b = TensorSpec("a", "int8", (1, 4)), TensorSpec("b", "float32", (1, 2))
    assert pairing((a, b), (b, a)) == (1, 0)
    assert pairing((a, b), (TensorSpec("c", "float32", (4,)), TensorSpec("d", "int8", (2,)))) == (0, 1)
    for theirs in ((a,), (a, a)):
        with pytest.raises(DataError):
            pairing((a, b), theirs)


def test_several_inputs_lie_behind_one_another() -> None:
    specs = (INT8, TensorSpec("y", "float32", (1, 2)))
    raw = np.arange(4, dtype=np.int8).tobytes() + np.array([1.5, -2.0], np.float32).tobytes()
    found = unpacked(base64.b64encode(raw).decode(), specs)
    assert found is not None
    assert [part.tolist() for part in found] == [[[0, 1, 2, 3]], [[1.5, -2.0]]]
    assert unpacked(base64.b64encode(raw[:-1]).decode(), specs) is None


def test_a_device_that_sent_most_makes_the_share_uncertain() -> None:
    def runs(device: str, count: int, wrong: int) -> list[Rerun]:
        return [Rerun(device, str(i), 0.0, "uniform", 0, None, int(i < wrong), None) for i in range(count)]

    def found(*parts: list[Rerun]) -> Agreement:
        return agreement("m/1", Against("f", "0"), [one for part in parts for one in part], 0.0, {})

    even = found(*(runs(f"pi-{i}", 100, 2) for i in range(10))).policies[0].share
    lumped = found(runs("pi-0", 910, 20), *(runs(f"pi-{i}", 10, 0) for i in range(1, 10))).policies[0].share
    assert even is not None
    assert lumped is not None
    assert even.value == lumped.value == 0.98
    assert lumped.high - lumped.low > 2 * (even.high - even.low)


def test_what_a_device_samples_is_what_the_server_reads(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    tensors = make_loader()(path).inputs
    sample = SimpleNamespace(inputs=np.array(SATURATED, np.float32))
    result = SimpleNamespace(sample=sample, prediction=SimpleNamespace(release="tiny/1"))
    text = SampledInputs(lambda _: tensors, 1000)(SimpleNamespace(result=result))  # type: ignore[arg-type]
    assert text == text_of(*SATURATED)
    found = unpacked(text or "", (INT8,))
    assert found is not None
    assert real(found[0], INT8).tolist() == [list(SATURATED)]
