"""The command line: what it takes, and what it says when it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflock import main
from tests.support.training import Trained


def test_convert_writes_the_bundle_and_the_report_and_prints_both(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(
        ["convert", str(trained.v1), "--data", str(trained.data), "--version", "7", "--json", "r.json"]
    )
    out = capsys.readouterr().out
    assert code == 0
    assert (tmp_path / "v1-7.bundle").is_file()
    assert json.loads((tmp_path / "r.json").read_text())["version"] == "7"
    assert "v1/7: " in out
    assert "Recall by class" in out
    assert "wrote v1-7.bundle" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["my model.keras"], "edgeflock: model name (--name) 'my model': use 1 to 64 letters"),
        (["m.keras", "--name", "edgeflock-software"], "edgeflock: edgeflock-software is the name by which"),
        (["m.keras", "--version", "a/b"], "edgeflock: version (--version) 'a/b': use 1 to 64 letters"),
        (["m.keras", "--out", "no/such/folder"], "its folder is not there or cannot be written"),
        (["m.keras", "--out", "x", "--json", "x"], "--out and --json name the same file: x"),
        (["m.keras", "--budget", "speed=1"], "choose from accuracy, class, size, wire, latency"),
        (["m.keras", "--budget", "size=1kB", "--recipe", "int8"], "give one of the two"),
        (["m.keras", "--board", "8"], "are about a budget"),
        (["m.keras", "--budget", "size=1kB", "--board", "fast"], "--board 'fast': give a factor"),
        (["m.keras", "--compress", "prune80"], "--compress needs --recipe"),
        (["m.keras", "--compress", "squeeze"], "'squeeze' is unknown, write prune90"),
        (["m.keras", "--except", "SOFTMAX"], "write PATTERN=RECIPE"),
        (["m.keras", "--image-size", "big"], "give height and width, such as 96x96"),
        (["m.keras", "--base", "none.bundle"], "--base none.bundle: No such file"),
        (["m.keras", "--preprocess", "smell"], "--preprocess 'smell': choose image, wave, log-mel"),
        (["m.keras", "--preprocess", "image:", "--scale", "raw"], "write image:scale=1/255 and no --scale"),
        (["m.keras", "--top-k", "0"], "--top-k 0: give how many"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    arguments: list[str],
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments, "--data", "d.npz"]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
