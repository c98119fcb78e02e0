"""Sources: what is a sample becomes one, what is none is counted, and what may not be lost is not."""

from __future__ import annotations

import fcntl
import io
import itertools
import json
import os
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge import open_bundle
from edge.adapters.decoding import Decoder, Intake
from edge.adapters.source_audio import microphone_stream, wav_stream
from edge.adapters.source_folder import FolderSource
from edge.adapters.source_mqtt import mqtt_stream
from edge.adapters.sources import IDLE, line_stream, npz_stream
from edge.online.samples import check_finite, parse_json, parse_npy
from edge.online.streams import Address, file_kind, parse_sink, parse_source, payload_kind
from edge.online.tally import Tally
from edge.online.windows import Windowing
from edge.results import Sample
from tests.support.tiny_bundle import GREY_2X2, WAVE_OF_4, write_tiny_bundle
from wire.deadline import Deadline, wait_until
from wire.errors import DataError, InputError, SettingsError, UnavailableError
from wire.manifest import Preprocessing
from wire.memory_link import MemoryBroker


class Desk:
    """What a source works with, and what it has said."""

    def __init__(self, folder: Path, how: Preprocessing | None = None) -> None:
        self.said: list[str] = []
        self.tally = Tally(self.said.append)
        self.stop = threading.Event()
        self.runtime = open_bundle(write_tiny_bundle(folder / "tiny.bundle", how))
        self.intake = Intake(Decoder(self.runtime.prepare, lambda: 8000), self.tally, self.stop)

    def take(self, samples: Iterator[Sample], count: int, turns: int = 40) -> list[Sample]:
        """Return the next `count` samples, passing over at most `turns` turns without one."""
        found: list[Sample] = []
        for sample in itertools.islice(samples, turns):
            if sample is not IDLE:
                found.append(sample)
            if len(found) == count:
                break
        return found


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def make(how: Preprocessing | None = None) -> Desk:
        desks.append(Desk(tmp_path, how))
        return desks[-1]

    yield make
    for desk in desks:
        desk.stop.set()
        desk.runtime.close()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


# --- what is written on the command line --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stdin", Address("ndjson", "-")),
        ("npz:a:b.npz", Address("npz", "a:b.npz")),
        ("camera", Address("camera", "0")),
        ("camera:rtsp://door/1", Address("camera", "rtsp://door/1")),
        ("microphone:hw:1,0", Address("microphone", "hw:1,0")),
        ("mqtt:cameras/+", Address("mqtt", "cameras/+")),
    ],
)
def test_a_source_is_one_word(text: str, expected: Address) -> None:
    assert parse_source(text) == expected


def test_a_url_is_a_webhook() -> None:
    assert parse_sink("https://x.org/a") == parse_sink("webhook:https://x.org/a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("micropone", "did you mean microphone?"),
        ("tape", "choose npz, ndjson, mqtt"),
        ("npz", "write npz:FILE"),
        ("mqtt:", "write mqtt:TOPIC"),
    ],
)
def test_a_source_that_is_none_is_named(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_source(text)


# --- npz and lines ------------------------------------------------------------------------------


def test_an_npz_file_is_read_once_or_for_ever(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(6).reshape(3, 2), y=np.array([4, 5, 6]))
    once = list(npz_stream(tmp_path / "x.npz", repeat=False))
    again = list(itertools.islice(npz_stream(tmp_path / "x.npz"), 5))
    found = [(s.id, s.inputs.tolist(), s.truth) for s in once]
    assert found == [("0", [0, 1], 4), ("1", [2, 3], 5), ("2", [4, 5], 6)]
    assert [s.truth for s in again] == [4, 5, 6, 4, 5]


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"PK\x03\x04" + b"x" * 50, b"\x93NUMPY\x01\x00"])
def test_an_npz_file_that_is_none_is_refused_at_once(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.npz cannot be read as a source"):
        npz_stream(tmp_path / "x.npz")


def lines(desk: Desk, data: bytes) -> list[Sample]:
    return [
        s for s in line_stream(lambda: io.BytesIO(data), "the input", desk.tally, desk.stop) if s is not IDLE
    ]


def test_a_line_is_a_sample_with_its_id_and_truth(desk: Desk) -> None:
    good = b'{"id": 17, "input": [1, 2, 3, 4], "truth": 3}\n\n{"input": {"x": [[1.5]]}}'
    first, second = lines(desk, good)
    assert (first.id, first.inputs.tolist(), first.truth) == ("17", [1, 2, 3, 4], 3)
    assert (second.id, second.inputs["x"].tolist(), second.truth) == ("3", [[1.5]], None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"[1, 2]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"id": "x"}', "'input' is missing"),
        (b'{"input": [[1], [1, 2]]}', "inhomogeneous"),
        (b'{"input": [1], "truth": "cat"}', "cat"),
        (b'{"input": [1], "truth": Infinity}', "truth inf"),
        (b'{"input": \xff\xfe}', "utf-8"),
        (b'{"input": ' + b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_sample_is_counted_by_its_number_and_passed_over(
    desk: Desk, line: bytes, reason: str
) -> None:
    found = lines(desk, b'{"input": [1]}\n' + line + b'\n{"input": [2]}\n' + line + b"\n")
    assert [s.id for s in found] == ["1", "3"]
    (said,) = desk.said
    assert said.startswith("line 2 of the input is no sample: ")
    assert reason in said
    assert "\n" not in said
    assert desk.tally.refused == 2


def test_a_line_without_end_is_refused_and_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.adapters.sources.MAX_LINE_BYTES", 100)
    found = lines(desk, b"x" * 5000 + b"\n" + b'{"input": [2]}\n' + b"y" * 5000)
    assert [s.id for s in found] == ["2"]
    assert desk.tally.refused == 2


def test_a_model_that_is_behind_makes_the_writer_of_lines_wait(desk: Desk) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    stream = line_stream(lambda: os.fdopen(reader, "rb"), "the input", desk.tally, desk.stop)
    line, written = b'{"input": [1, 2, 3, 4]}' + b" " * 200 + b"\n", 0
    desk.take(stream, 0, turns=1)  # begins to read
    deadline, blocked = Deadline.after(10), 0
    while blocked < 20 and not deadline.passed:  # full again and again: the reader has had its share
        try:
            assert os.write(writer, line) == len(line)
            written, blocked = written + 1, 0
        except BlockingIOError:
            blocked += 1
            wait_until(lambda: False, Deadline.after(0.005))
    assert written < 2000  # the blocks that are read ahead hold some 280 lines each
    os.close(writer)
    rest = [s for s in stream if s is not IDLE]
    assert len(rest) == written


# --- a folder -----------------------------------------------------------------------------------


def watch(desk: Desk, folder: Path, *, settle_on_next: bool = True) -> FolderSource:
    source = FolderSource(folder, desk.intake, settle_on_next=settle_on_next)
    source.open()
    return source


def put_json(folder: Path, name: str, value: int = 1) -> Path:
    path = folder / name
    path.write_text(json.dumps({"input": [value, 0, 0, 0]}))
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_files_of_every_kind_are_samples(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    desk, folder = make_desk(GREY_2X2), tmp_path / "in"
    source = watch(desk, folder)
    Image.new("L", (2, 2), 60).save(folder / "a.png")
    Image.new("RGB", (4, 4), (60, 60, 60)).save(folder / "b.JPG", format="JPEG")
    np.save(folder / "c.npy", np.array([1.0, 2.0, 3.0, 4.0], np.float32))
    put_json(folder, "d.json", 9)
    found = {
        s.id: desk.runtime.predict(s.inputs).outputs["y"].ravel().tolist()
        for s in desk.take(source.samples(), 4)
    }
    assert found["a.png"] == [60, 60, 60, 60]
    assert found["b.JPG"] == pytest.approx([60, 60, 60, 60], abs=1)
    assert found["c.npy"] == [1, 2, 3, 4]
    assert found["d.json"] == [9, 0, 0, 0]


def test_a_wav_file_is_a_sample(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    desk, folder = make_desk(WAVE_OF_4), tmp_path / "in"
    source = watch(desk, folder)
    write_wav(folder / "a.wav", np.array([0.1, 0.2, 0.3, 0.4]), rate_hz=8000)
    (sample,) = desk.take(source.samples(), 1)
    assert sample.inputs == pytest.approx(np.array([1, 2, 3, 4]), abs=0.01)


def test_an_answered_file_moves_to_done_and_a_restart_leaves_it_there(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = watch(desk, folder)
    put_json(folder, "a.json")
    put_json(folder, "b.json")
    samples = source.samples()
    assert [s.id for s in desk.take(samples, 2)] == ["a.json", "b.json"]
    assert desk.take(samples, 1, turns=3) == []
    assert names(folder / "done") == ["a.json", "b.json"]
    assert desk.take(watch(desk, folder).samples(), 1, turns=3) == []


def test_a_file_whose_answer_was_not_safe_is_answered_by_the_next_start(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = watch(desk, folder, settle_on_next=False)
    put_json(folder, "a.json")
    put_json(folder, "b.json")
    samples = source.samples()
    given_once = desk.take(samples, 2)
    assert desk.take(samples, 1, turns=3) == []
    source.settle(given_once[0].token)
    assert [s.id for s in desk.take(watch(desk, folder).samples(), 2, turns=4)] == ["b.json"]


def test_two_files_that_say_the_same_id_have_each_its_own_fate(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = watch(desk, folder, settle_on_next=False)
    for name in ("a.json", "b.json"):
        (folder / name).write_text(json.dumps({"id": "same", "input": [1, 0, 0, 0]}))
    one, two = desk.take(source.samples(), 2)
    source.refuse(two.token)
    source.settle(one.token)
    assert (names(folder / "done"), names(folder / "refused")) == (["a.json"], ["b.json"])


def test_the_id_of_a_file_is_text_whatever_its_name_is(
    make_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    desk, folder = make_desk(GREY_2X2), tmp_path / "in"
    samples = watch(desk, folder).samples()
    Image.new("L", (2, 2)).save(folder / "a.png")
    (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    put_json(folder, "x.json").rename(folder / os.fsdecode(b"\xff.json"))
    assert sorted(s.id for s in desk.take(samples, 2)) == ["\\xff.json", "caf\\xe9.png"]
    desk.take(samples, 1, turns=3)
    assert len(names(folder / "done")) == 2


def test_a_file_that_is_still_written_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    samples = watch(desk, folder).samples()
    with (folder / "a.json").open("w") as file:
        file.write('{"input": [1, 0')
        file.flush()
        assert desk.take(samples, 1, turns=4) == []
        file.write(", 0, 0]}")
    assert [s.id for s in desk.take(samples, 1)] == ["a.json"]
    assert desk.tally.refused == 0


def test_a_file_that_is_no_sample_moves_to_refused(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    samples = watch(desk, folder).samples()
    (folder / "bad.png").write_bytes(b"\x89PNG nothing")
    (folder / "bad.npy").write_bytes(b"\x93NUMPY nothing")
    (folder / "bad.wav").write_bytes(b"")
    (folder / "bad.json").write_bytes(b"{")
    put_json(folder, "good.json")
    assert [s.id for s in desk.take(samples, 1)] == ["good.json"]
    assert names(folder / "refused") == ["bad.json", "bad.npy", "bad.png", "bad.wav"]
    assert desk.tally.refused == 4
    assert len(desk.said) == 1


def test_two_files_of_one_name_are_both_answered_and_both_kept(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    samples = watch(desk, folder).samples()
    for value in (1, 2):
        put_json(folder, "a.json", value)
        assert [s.inputs[0] for s in desk.take(samples, 1)] == [value]
        desk.take(samples, 1, turns=3)
    assert names(folder / "done") == ["a.json", "a~2.json"]


def test_a_file_that_replaces_an_answered_one_is_answered_too(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    samples = watch(desk, folder).samples()
    for value in (1, 2):  # the second comes before the first has moved away
        put_json(folder, "a.json", value)
        assert [s.inputs[0] for s in desk.take(samples, 1)] == [value]
    desk.take(samples, 1, turns=3)
    assert names(folder / "done") == ["a.json"]


def test_foreign_files_and_folders_are_left_alone(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    samples = watch(desk, folder).samples()
    (folder / "notes.txt").write_text("x")
    (folder / ".a.json.tmp").write_text("x")
    (folder / ".b.json").write_text("x")
    (folder / "sub.json").mkdir()
    assert desk.take(samples, 1, turns=4) == []
    assert names(folder) == [".a.json.tmp", ".b.json", "done", "notes.txt", "refused", "sub.json"]
    assert len(desk.said) == 1
    assert "notes.txt is left alone" in desk.said[0]


def test_a_folder_that_cannot_be_is_named(desk: Desk) -> None:
    with pytest.raises(SettingsError, match="/proc/nowhere cannot be watched"):
        watch(desk, Path("/proc/nowhere"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JPEG", "image"), ("a.b.wav", "wav"), ("a.json.tmp", None), (".a.json", None), ("json", None)],
)
def test_the_kind_of_a_file_is_the_end_of_its_name(name: str, kind: str | None) -> None:
    assert file_kind(name) == kind


# --- messages -----------------------------------------------------------------------------------


def encoded(image_format: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (2, 2), 60).save(out, format=image_format)
    return out.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "GIF", "WEBP"])
def test_a_message_may_be_a_picture(make_desk: Callable[..., Desk], image_format: str) -> None:
    payload = encoded(image_format)
    assert payload_kind(payload) == "image"
    sample = make_desk(GREY_2X2).intake.decoder.from_bytes(payload, "image", "message", "m")
    assert sample.inputs == pytest.approx(np.full(4, 60), abs=1)


def test_messages_are_samples_and_what_is_none_is_counted(desk: Desk) -> None:
    broker = MemoryBroker()
    stream = mqtt_stream(broker.link(), "in/+", 16, desk.intake)
    desk.take(stream, 0, turns=1)
    for payload in (
        b'{"id": "n", "input": [1, 2, 3, 4]}',
        npy(np.ones(4)),
        b"hello",
        b"",
        b"\xff\xd8\xff broken",
    ):
        broker.route("in/a", payload, retain=False)
    first, second = desk.take(stream, 2)
    assert (first.id, first.inputs.tolist()) == ("n", [1, 2, 3, 4])
    assert (second.id, second.inputs.tolist()) == ("in/a#2", [1, 1, 1, 1])
    assert wait_until(lambda: next(stream) is IDLE and desk.tally.refused == 3, Deadline.after(5))
    assert desk.said == [
        "message in/a#3 is neither JSON nor npy, an image or WAV (further ones are only counted)"
    ]
    stream.close()
    assert broker.links == []


def test_the_newest_messages_win_and_the_others_are_counted(desk: Desk) -> None:
    broker = MemoryBroker()
    stream = mqtt_stream(broker.link(), "in", 4, desk.intake)
    desk.take(stream, 0, turns=1)
    for n in range(100):
        broker.route("in", json.dumps({"id": n, "input": [n, 0, 0, 0]}).encode(), retain=False)
    assert wait_until(lambda: desk.tally.dropped == 96, Deadline.after(5))
    assert [s.id for s in desk.take(stream, 4)] == ["96", "97", "98", "99"]
    assert "dropped 96 (mqtt: newer message 96)" in desk.tally.summary()
    stream.close()


def test_messages_that_wait_at_the_end_are_counted(desk: Desk) -> None:
    broker = MemoryBroker()
    stream = mqtt_stream(broker.link(), "in", 100, desk.intake)
    desk.take(stream, 0, turns=1)
    for n in range(60):
        broker.route("in", json.dumps({"input": [n, 0, 0, 0]}).encode(), retain=False)
    assert len(desk.take(stream, 10)) == 10
    stream.close()
    assert "dropped 50 (mqtt: waiting at the end 50)" in desk.tally.summary()


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("[1, 2, 3, 4]", True),
        ("[1, 2, 3, 1e38]", True),
        ("[1, 2, 3, NaN]", False),
        ("[1, 2, 3, -Infinity]", False),
        ("[1, 2, 3, 1e39]", False),
        (f"[1, 2, 3, {10**39}]", False),
        ('{"x": [[1, 2, 3, 1e39]]}', False),
        ('["a", {}]', True),  # it is no input, which predict says better
    ],
)
def test_a_number_that_the_model_cannot_take_is_refused(desk: Desk, text: str, good: bool) -> None:
    sample = parse_json(f'{{"input": {text}}}', "line 1", "1")
    model = desk.runtime.model
    assert model is not None
    with nullcontext() if good else pytest.raises(InputError, match="too large for the model"):
        check_finite(sample.inputs, model.inputs)


@pytest.mark.parametrize(
    "payload",
    [
        npy(np.ones(4))[:-1],
        npy(np.ones(4)) + b"x",
        npy(np.ones(4)).replace(b"(4,)", b"(4000000000000,)"),
        npy(np.ones(4)).replace(b"(4,)", b"(-1,)"),
        npy(np.array([{}]), allow_pickle=True),
        b"\x93NUMPY\x01\x00\xff\xff{'descr'",
        b"\x93NUMPY\x09\x00v\x00",
        b"\x93NUMPY",
    ],
)
def test_an_npy_header_that_lies_is_refused_before_anything_is_allocated(desk: Desk, payload: bytes) -> None:
    with pytest.raises(DataError, match="message 1 is no npy file") as refusal:
        desk.intake.decoder.from_bytes(payload, payload_kind(payload), "message 1", "1")
    assert "\n" not in str(refusal.value)


@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda tail: npy(np.ones(4))[:90] + tail))
def test_whatever_bytes_come_the_outcome_is_a_sample_or_one_line(data: bytes) -> None:
    for parse in (lambda: parse_json(data, "message 1", "1"), lambda: parse_npy(data, "message 1")):
        told = ""
        try:
            parse()
        except DataError as error:
            told = str(error)
        assert not told or told.startswith("message 1 is no ")
        assert "\n" not in told


# --- sound --------------------------------------------------------------------------------------


def write_wav(path: Path, sound: np.ndarray[Any, Any], rate_hz: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.repeat(np.rint(sound * 32767).astype("<i2"), channels).tobytes())


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_file_is_cut_into_windows(
    make_desk: Callable[..., Desk], tmp_path: Path, channels: int
) -> None:
    desk = make_desk(WAVE_OF_4)
    write_wav(tmp_path / "a.wav", np.arange(10) / 100, 8, channels)
    found = list(wav_stream(tmp_path / "a.wav", lambda: Windowing(4, 3, 8), desk.intake))
    assert [s.id for s in found] == ["0.000", "0.375", "0.750"]
    assert np.concatenate([s.inputs for s in found]) == pytest.approx(
        np.array([0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9]) / 10, abs=0.001
    )


def test_a_wav_file_of_another_rate_is_resampled(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    desk = make_desk(WAVE_OF_4)
    write_wav(tmp_path / "a.wav", np.full(1600, 0.5), 1600)
    found = list(wav_stream(tmp_path / "a.wav", lambda: Windowing(4, 4, 8), desk.intake))
    assert [s.id for s in found] == ["0.000", "0.500"]


def test_a_wav_file_of_no_use_is_named(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF no")
    write_wav(tmp_path / "short.wav", np.zeros(3), 8)
    for name, reason in (
        ("none.wav", "is not there"),
        ("bad.wav", "no WAV file"),
        ("short.wav", "shorter than one window"),
    ):
        with pytest.raises(DataError, match=rf"{name}.*{reason}"):
            list(wav_stream(tmp_path / name, lambda: Windowing(4, 4, 8), desk.intake))


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A program called arecord, first in the path; it notes its arguments and process id."""

    def make(body: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "arecord"
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho $$ >> {tmp_path}/pids\n{body}\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return tmp_path

    return make


ENDLESS = "exec cat /dev/zero"


def test_a_microphone_is_heard_in_windows_and_its_process_ends_with_the_stream(
    make_desk: Callable[..., Desk], recorder: Callable[[str], Path]
) -> None:
    notes, desk = recorder(ENDLESS), make_desk(WAVE_OF_4)
    stream = microphone_stream("hw:1", lambda: Windowing(4, 4, 8), 2, desk.intake)
    assert [s.inputs.tolist() for s in desk.take(stream, 2)] == [[0, 0, 0, 0]] * 2
    assert (notes / "arguments").read_text() == "-q -D hw:1 -t raw -f S16_LE -c 1 -r 8 -\n"
    assert wait_until(lambda: desk.tally.dropped > 100, Deadline.after(10))  # sound does not wait
    assert "microphone: newer window" in desk.tally.summary()
    stream.close()
    pid = (notes / "pids").read_text().split()[0]
    assert not Path(f"/proc/{pid}").exists()


def test_a_microphone_that_is_unplugged_is_started_again(
    make_desk: Callable[..., Desk], recorder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.source_audio._RESTART_S", 0.05)
    notes = recorder(
        "head -c 16 /dev/zero; echo 'overrun!!! (at least 3 ms long)' >&2; echo 'arecord: no such device' >&2"
    )
    desk = make_desk(WAVE_OF_4)
    stream = microphone_stream("default", lambda: Windowing(4, 4, 8), 8, desk.intake)
    assert len(desk.take(stream, 4)) == 4
    assert len((notes / "pids").read_text().split()) >= 2
    assert wait_until(lambda: next(stream) is not None and desk.tally.dropped >= 1, Deadline.after(5))
    stream.close()
    assert any("no such device" in line for line in desk.said)
    assert "microphone: overrun" in desk.tally.summary()


def test_a_microphone_that_never_gives_sound_is_said_once_and_tried_ever_later(
    make_desk: Callable[..., Desk], recorder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.source_audio._RESTART_S", 0.05)
    notes, desk = recorder("echo 'arecord: no such device' >&2; exit 1"), make_desk(WAVE_OF_4)
    stream = microphone_stream("default", lambda: Windowing(4, 4, 8), 8, desk.intake)
    start_s = time.monotonic()

    def starts() -> int:
        next(stream)
        return len((notes / "pids").read_text().split()) if (notes / "pids").exists() else 0

    assert wait_until(lambda: starts() >= 4, Deadline.after(30))
    assert time.monotonic() - start_s > 0.1 + 0.2 + 0.4
    stream.close()
    assert sorted(desk.said) == [
        "arecord: no such device",
        "the microphone gives no sound; starting arecord again",
    ]


def test_a_machine_without_arecord_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match="apt-get install alsa-utils"):
        microphone_stream("default", lambda: Windowing(4, 4, 8), 8, desk.intake)


def test_a_file_that_is_none_is_named_with_the_reason_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope.npz cannot be read as a source: No such file or directory$"):
        npz_stream(tmp_path / "nope.npz")


@pytest.mark.parametrize(("path", "reason"), [("/dev/null", "no regular file"), ("nope.wav", "not there")])
def test_a_device_is_no_wav_file(path: str, reason: str, tmp_path: Path) -> None:
    def windowing() -> Windowing:
        raise AssertionError("nothing to cut")

    with open_bundle(write_tiny_bundle(tmp_path / "t")) as runtime:
        intake = Intake(Decoder(runtime.prepare, lambda: 16_000), Tally(print), threading.Event())
        with pytest.raises(DataError, match=f"{path} is {reason}$"):
            wav_stream(Path(path), windowing, intake)
