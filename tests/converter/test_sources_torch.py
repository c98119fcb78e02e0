"""PyTorch's environment is made wholly or not at all; and, at length, modules through it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from converter.adapters import torch_environment
from converter.adapters.sources import convert
from converter.adapters.torch_environment import environment_folder, make_environment, torch_python
from converter.adapters.torch_source import factory_file
from converter.refusals import not_lowered
from converter.source import SourceOptions
from wire.errors import DataError, ModelError, UnavailableError

_NETS = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.see, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.tell = nn.Dropout(0.5), nn.Linear(4 * 6 * 6, 3)
    def forward(self, image):
        seen = self.drop(torch.relu(self.norm(self.see(image))))
        return self.tell(seen.flatten(1)).softmax(-1)

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.known, self.tell = nn.Embedding(10, 4), nn.Linear(8, 2)
        self.read = nn.LSTM(4, 5, batch_first=True)
    def forward(self, words, features):
        read, _ = self.read(self.known(words))
        return {"told": self.tell(torch.cat([read[:, -1], features], -1)), "read": read[:, -1]}

class Decompose(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)

def net():
    torch.manual_seed(0)
    return Net(), torch.zeros(1, 1, 8, 8)

def words():
    torch.manual_seed(0)
    return Words(), (torch.zeros(1, 6, dtype=torch.int64), torch.zeros(1, 3))

def decompose():
    return Decompose(), torch.zeros(1, 4, 4)

def nothing():
    return 3

if __name__ == "__main__":
    module, example = net()
    module.eval()
    any_batch = ({0: torch.export.Dim("batch")},)
    images = torch.zeros(4, 1, 8, 8)
    torch.export.save(torch.export.export(module, (images,), dynamic_shapes=any_batch), "any.pt2")
    torch.export.save(torch.export.export(module, (images,)), "four.pt2")
"""


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("a/net.py:make", "a/net.py"),
        ("net.py", None),
        ("net.py:", None),
        ("a:b.pt2", None),
        ("m.keras", None),
    ],
)
def test_a_function_is_named_behind_its_file(path: str, file: str | None) -> None:
    assert factory_file(Path(path)) == (Path(file) if file else None)


def test_an_environment_is_named_by_what_is_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = environment_folder(("torch==1",))
    assert folder.parent == tmp_path / "edgeflock"
    assert folder == environment_folder(("torch==1",)) != environment_folder(("torch==2",))


def test_a_failed_environment_leaves_nothing_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "torch"
    folder.with_suffix(".making").mkdir()
    with pytest.raises(UnavailableError, match=r"could not be installed: ERROR: .*no such folder") as caught:
        make_environment(folder, ("--no-index", "/no such folder/of-ours"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_is_there_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch_environment, "_MODULES", ("no_such_module",))
    python = environment_folder(torch_environment.PINS) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert torch_python(pytest.fail) == python


def test_what_cannot_be_lowered_is_named() -> None:
    assert not_lowered("x: Lowering not found: aten.svd.default", "").startswith(
        "plain TFLite has no operator for aten.svd.default"
    )
    assert not_lowered("", "first") == "plain TFLite cannot express it: first"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_modules_and_programs_convert_in_their_own_environment(tmp_path: Path) -> None:
    nets = tmp_path / "nets.py"
    nets.write_text(_NETS)
    images = {"": np.random.default_rng(0).random((5, 1, 8, 8))}

    one, two = (convert(Path(f"{nets}:net"), images, SourceOptions()) for _ in range(2))
    assert one.tflite == two.tflite
    assert [(spec.name, spec.shape) for spec in one.inputs] == [("args_0", (1, 8, 8))]
    assert one.framework == "PyTorch"
    assert one.notes == ("args_0: axes stay as PyTorch has them, channels first",)
    np.testing.assert_allclose(_ran(one.tflite, one.rows)[0], one.answers[0], atol=1e-6)

    words = convert(Path(f"{nets}:words"), None, SourceOptions())
    assert [spec.dtype for spec in words.inputs] == ["int32", "float32"]
    assert (words.outputs, "recurrent" in words.traits) == (("told", "read"), True)
    for given, wanted in zip(_ran(words.tflite, words.rows), words.answers, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-6)

    subprocess.run([torch_python(print), nets], cwd=tmp_path, check=True)
    exported = convert(tmp_path / "any.pt2", images, SourceOptions())
    np.testing.assert_allclose(exported.answers[0], one.answers[0], atol=1e-6)

    for source, kind, line in (
        (tmp_path / "four.pt2", ModelError, "its batch is fixed at 4"),
        (Path(f"{nets}:decompose"), ModelError, "no operator for aten._linalg_svd"),
        (Path(f"{nets}:nothing"), ModelError, r"nothing\(\) returns int"),
        (Path(f"{nets}:none"), ModelError, "nets.py has no function none"),
    ):
        with pytest.raises(kind, match=line):
            convert(source, None, SourceOptions())
    with pytest.raises(DataError, match=r"a row is \[8, 8, 1\], the model takes \[1, 8, 8\]"):
        convert(Path(f"{nets}:net"), {"": np.ones((5, 8, 8, 1))}, SourceOptions())


def _ran(tflite: bytes, rows: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    from converter.adapters.interpreter import run

    return run(tflite, rows, timed_calls=0).answers
