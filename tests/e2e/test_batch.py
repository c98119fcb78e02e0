"""`edgeflock batch` as a user runs it: mixed inputs, kills, full disks, and every answer exactly once."""

from __future__ import annotations

import csv
import json
import random
import signal
import sqlite3
import subprocess
import sys
import wave
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import Counts
from tests.support.local_fleet import ROOT, edgeflock, run
from tests.support.tiny_bundle import GREY_2X2, WAVE_OF_4, write_tiny_bundle
from wire.bundle import pack, unpack
from wire.deadline import Deadline, wait_until
from wire.manifest import Postprocessing

ROWS = 12_000
OUTS = ["a.csv", "a.ndjson", "a.parquet", "sqlite:a.db?table=monday"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and below `in` enough rows for a second or two, with two bad ones in between."""
    folder = tmp_path_factory.mktemp("batch")
    write_tiny_bundle(folder / "tiny.bundle")
    inputs = folder / "in"
    (inputs / "sub").mkdir(parents=True)
    x = np.random.default_rng(1).normal(size=(ROWS, 4)).astype(np.float32) * 20
    np.savez(inputs / "a.npz", x=x)
    np.savez_compressed(inputs / "sub" / "c.npz", x=x[:500])
    x[[7, 4000]] = np.nan
    np.savetxt(inputs / "b.csv", x[:5000], delimiter=",", header="p,q,r,s", comments="", fmt="%.6g")
    (inputs / "sub" / "broken.npy").write_bytes(b"\x93NUMPY")
    return folder


def command(folder: Path, out: str, *options: str) -> list[str]:
    return edgeflock("batch", folder / "tiny.bundle", folder / "in", "--out", out, "--jobs", "2", *options)


def start(tmp_path: Path, folder: Path, out: str, *options: str) -> subprocess.Popen[str]:
    """Start a run whose checkpoints are close together, and wait for its first, or for its end."""
    process = subprocess.Popen(
        command(folder, place(tmp_path, out), "--resume", "--checkpoint-s", "0.02", *options),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def under_way() -> bool:
        return any(tmp_path.glob("*.unfinished/errors.ndjson")) or process.poll() is not None

    assert wait_until(under_way, Deadline.after(30), every_s=0.001)
    return process


def place(tmp_path: Path, out: str) -> str:
    kind, _, name = out.rpartition(":")
    return f"{kind}:{tmp_path / name}" if kind else str(tmp_path / name)


def answers(tmp_path: Path, out: str) -> list[tuple[object, ...]]:
    """Return all answers, whatever they are kept in."""
    if out.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "a.db")) as database:
            return list(database.execute("SELECT source, row, best, label, confidence FROM monday"))
    if out.endswith(".parquet"):
        return [tuple(row.values()) for row in pq.read_table(tmp_path / out).to_pylist()]
    if out.endswith(".csv"):
        rows = list(csv.reader((tmp_path / out).open(newline="", encoding="utf-8")))[1:]
        return [(r[0], int(r[1]), int(r[2]), r[3], float(r[4])) for r in rows]
    return [tuple(json.loads(line).values()) for line in (tmp_path / out).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The answers of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    done = subprocess.run(
        command(folder, str(out / "a.csv")), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "3 inputs have no answer: " + str(out / "a.csv.errors.ndjson") in done.stderr
    return answers(out, "a.csv")


def test_every_row_has_its_answer_in_the_order_of_the_inputs(whole: list[tuple[object, ...]]) -> None:
    given = [(str(source).rpartition("/in/")[2], row) for source, row, *_ in whole]
    table = [("b.csv", row) for row in range(5000) if row not in (7, 4000)]
    packed = [("sub/c.npz", row) for row in range(500)]
    assert given == [("a.npz", row) for row in range(ROWS)] + table + packed
    assert {label for *_, label, _ in whole} == set("abcd")


@pytest.mark.parametrize("out", OUTS)
def test_sigkill_at_any_moment_and_resume_give_each_answer_once(
    folder: Path, tmp_path: Path, whole: list[tuple[object, ...]], out: str, counts: Counts
) -> None:
    random_ = random.Random(out)
    for _ in range(counts.kills):
        with start(tmp_path, folder, out) as process:
            moment = Deadline.after(random_.uniform(0.0, 0.4))
            wait_until(lambda: moment.passed or process.poll() is not None, Deadline.after(30))  # noqa: B023
            process.kill()
    last = run(*command(folder, place(tmp_path, out), "--resume")[3:])
    assert last.returncode == 1, last.stderr
    assert answers(tmp_path, out) == whole
    (errors,) = tmp_path.glob("*.errors.ndjson")
    told = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [(e["input"].rpartition("/in/")[2], e["row"]) for e in told] == [
        ("b.csv", 7), ("b.csv", 4000), ("sub/broken.npy", None)
    ]  # fmt: skip
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_what_is_done_on_disk(
    folder: Path, tmp_path: Path, whole: list[tuple[object, ...]], number: signal.Signals
) -> None:
    with start(tmp_path, folder, "a.csv") as process:
        rows = tmp_path / "a.csv.unfinished" / "answers"
        assert wait_until(lambda: rows.stat().st_size > 1000, Deadline.after(30))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "go on with --resume" in stderr
    assert not (tmp_path / "a.csv").exists()
    assert rows.read_bytes().endswith(b"\n")
    last = run(*command(folder, str(tmp_path / "a.csv"), "--resume")[3:])
    assert "edgeflock: going on at " in last.stderr
    assert answers(tmp_path, "a.csv") == whole


@pytest.mark.parametrize("out", OUTS)
def test_a_full_disk_is_one_line_and_costs_nothing(
    folder: Path, tmp_path: Path, whole: list[tuple[object, ...]], out: str
) -> None:
    limited = [
        sys.executable,
        "-c",
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "os.execv(sys.argv[1], sys.argv[1:])",
    ]
    options = (place(tmp_path, out), "--checkpoint-s", "0.05")
    full = subprocess.run(
        [*limited, *command(folder, *options)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1, full.stdout
    lines = [line for line in full.stderr.splitlines() if "edgeflock: " in line]
    assert len(lines) == 1, full.stderr
    assert "--resume" in lines[0]
    assert str(tmp_path) in lines[0]
    last = run(*command(folder, *options, "--resume")[3:])
    assert last.returncode == 1, last.stderr
    assert answers(tmp_path, out) == whole


def test_batches_and_other_numbers_of_workers_answer_the_same(
    folder: Path, tmp_path: Path, whole: list[tuple[object, ...]]
) -> None:
    for options in (["--batch-size", "64"], ["--jobs", "5"]):
        done = run(*command(folder, str(tmp_path / "a.csv"), "--overwrite", *options)[3:])
        assert done.returncode == 1, done.stderr
        assert answers(tmp_path, "a.csv") == whole


def refused(folder: Path, *arguments: str, code: int = 2) -> str:
    done = run("batch", folder / "tiny.bundle", *arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("edgeflock: ")]
    assert (done.returncode, len(lines)) == (code, 1), done.stderr
    return lines[0]


def test_answers_that_are_there_and_changed_inputs_are_refused_in_one_line(
    folder: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "x.npy", tmp_path / "a.csv"
    np.save(data, np.ones((3, 4), np.float32))
    given = [str(data), "--out", str(out)]
    assert run("batch", folder / "tiny.bundle", *given).returncode == 0
    before = out.read_bytes()
    assert "a.csv is there already: --resume goes on with it, --overwrite begins anew" in refused(
        folder, *given
    )
    again = run("batch", folder / "tiny.bundle", *given, "--resume")
    assert (again.returncode, "is finished already: 3 rows" in again.stdout) == (0, True)
    assert "other options (--outputs not given, now yes)" in refused(folder, *given, "--resume", "--outputs")
    np.save(data, np.ones((4, 4), np.float32))
    assert "other inputs (1 files of 176 bytes, now 1 files of 192 bytes)" in refused(
        folder, *given, "--resume"
    )
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.csv.job.json", "x.npy"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{tmp}/no.csv", "--out", "{tmp}/a.csv"], "no.csv is not there"),
        (["{tmp}", "--out", "{tmp}/a.csv"], "nothing to answer"),
        (["{tmp}", "--out", "{tmp}/a.xlsx"], "end the name in .csv"),
        (["{tmp}", "--out", "{tmp}/no/a.csv"], "its folder is not there"),
        (["{tmp}", "--out", "{tmp}/a.csv", "--jobs", "-1"], "--jobs -1: 0 or more"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    assert reason in refused(folder, *(text.format(tmp=tmp_path) for text in arguments))
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_prepared_and_a_folder_is_their_truth(tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / "tiny.bundle", GREY_2X2, Postprocessing(kind="top-k", top_k=2))
    for name, bright in (("a", 0), ("d", 3), ("c", 3)):
        (tmp_path / "in" / name).mkdir(parents=True)
        pixels = np.zeros(4, np.uint8)
        pixels[bright] = 40
        Image.fromarray(pixels.reshape(2, 2)).save(tmp_path / "in" / name / "1.png")
    (tmp_path / "in" / "d" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "a.ndjson"
    done = run("batch", model, tmp_path / "in", "--out", out, "--truth", "folder", "--outputs")
    assert done.returncode == 1, done.stderr
    assert "3 rows, accuracy 66.67% of 3 judged" in done.stdout
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["label"], row["truth"], row["confidence"]) for row in rows] == [
        ("a", 0, 40.0), ("d", 2, 40.0), ("d", 3, 40.0)
    ]  # fmt: skip
    assert rows[0]["answer"][0] == {"label": "a", "class": 0, "score": 40.0}
    assert rows[0]["output.y"] == [40.0, 0.0, 0.0, 0.0]
    (error,) = map(json.loads, (tmp_path / "a.ndjson.errors.ndjson").read_text().splitlines())
    assert error["reason"].startswith("is no image that can be read")


def test_sounds_are_prepared_and_broken_ones_are_listed(tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / "tiny.bundle", replace(WAVE_OF_4, rate_hz=8000))
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([0, 2**14, 0, 0], "<i2").tobytes())
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    done = run("batch", model, tmp_path / "a.wav", tmp_path / "b.wav", "--out", tmp_path / "a.csv")
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "a.csv").read_text().splitlines()[1].endswith("a.wav,0,1,b,5.0")
    assert 'b.wav", "row": 0, "reason": "is no WAV file' in (tmp_path / "a.csv.errors.ndjson").read_text()


def test_a_regression_gives_its_values(tmp_path: Path) -> None:
    bundle = unpack(write_tiny_bundle(tmp_path / "tiny.bundle").read_bytes())
    manifest = replace(bundle.manifest, task="values", labels=0)
    (tmp_path / "tiny.bundle").write_bytes(pack(replace(bundle, manifest=manifest, labels=())))
    (tmp_path / "a.csv").write_text("a,b,c,d\n1,2,-3,4.5\n")
    done = run("batch", tmp_path / "tiny.bundle", tmp_path / "a.csv", "--out", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "source,row,value_0,value_1,value_2,value_3"
    assert row.endswith(",0,1.0,2.0,0.0,4.5")


def test_without_pillow_or_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / "tiny.bundle", GREY_2X2)
    for package in ("PIL", "pyarrow"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module', name='{package}')")
    (tmp_path / "a.png").write_bytes(b"x")
    for out, needs in (("a.csv", "edgeflock[media]"), ("a.parquet", "edgeflock[parquet]")):
        done = run(
            "batch", model, tmp_path / "a.png", "--out", tmp_path / out, PYTHONPATH=f"{tmp_path}:{ROOT}"
        )
        assert done.returncode == 1
        assert f"pip install '{needs}'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("stream", "code", "reason"),
    [("2>&-", 0, ""), (">/dev/full", 1, "edgeflock: standard output: No space left on device")],
)
def test_a_stream_that_takes_nothing_costs_no_answers(
    tmp_path: Path, stream: str, code: int, reason: str
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.float32))
    model, out = write_tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "a.csv"
    batch = edgeflock("batch", model, tmp_path / "x.npy", "--out", out)
    command = ["sh", "-c", f'exec "$@" {stream}', "sh", *batch]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert (done.stderr.splitlines() or [""])[-1] == reason
    assert len(out.read_text().splitlines()) == 4
