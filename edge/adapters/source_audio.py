"""Samples from sound: a WAV file or a microphone, cut into windows.

A WAV file waits for the model. A microphone is live: windows that the model does not get to are
dropped, the oldest first, and counted; so is every overrun that the driver reports. After one the
window begins anew, because a window must not bridge a gap.

The microphone is read through `arecord` (alsa-utils), a child process that writes raw samples into a
pipe: it needs no library, and ends with us. A window is named by its first moment in seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np

from edge.adapters.decoding import Intake
from edge.adapters.media import read_wav
from edge.adapters.sources import IDLE
from edge.online.live_queue import LiveQueue
from edge.online.tally import Tally
from edge.online.windows import Wave, Windower, Windowing, pcm_to_wave
from edge.results import Sample
from wire.adapters.processes import tied
from wire.errors import DataError, UnavailableError

_TURN_S: Final = 0.2
_BLOCK_S: Final = 0.05
_RESTART_S: Final = 1.0
_LONGEST_RESTART_S: Final = 30.0
_END_S: Final = 2.0
_FILE_BLOCK: Final = 65_536


def wav_stream(path: Path, windowing: Callable[[], Windowing], intake: Intake) -> Iterator[Sample]:
    """Yield the windows of a WAV file; raise DataError, before the first, when it is none."""
    if not path.is_file():
        raise DataError(f"{path} is {'no regular file' if path.exists() else 'not there'}")
    return _windows(path, windowing, intake)


def _windows(path: Path, windowing: Callable[[], Windowing], intake: Intake) -> Iterator[Sample]:
    how = windowing()
    windower = Windower(how)
    found = False
    for piece in _pieces(path, how.rate_hz):
        for start, window in windower.feed(piece):
            found = True
            if intake.stop.is_set():
                return
            yield intake.prepared("window", how.name(start), window)
    if not found:
        raise DataError(f"{path} is shorter than one window of {how.window / how.rate_hz:g} s")


def _pieces(path: Path, rate_hz: int) -> Iterator[Wave]:
    """Yield a file block by block if it is plain 16-bit sound at the rate; otherwise read it whole."""
    try:
        with wave.open(str(path)) as file:
            plain = (file.getsampwidth(), file.getframerate(), file.getcomptype()) == (2, rate_hz, "NONE")
            while plain and (block := file.readframes(_FILE_BLOCK)):
                channels = file.getnchannels()
                whole = block[: len(block) // (2 * channels) * 2 * channels]
                yield pcm_to_wave(whole).reshape(-1, channels).mean(axis=1, dtype=np.float32)
    except (wave.Error, EOFError, OSError):
        plain = False  # `wave` knows fewer kinds than read_wav, which also says what is wrong
    if not plain:
        yield read_wav(path, rate_hz)


def microphone_stream(
    device: str, windowing: Callable[[], Windowing], capacity: int, intake: Intake
) -> Iterator[Sample]:
    """Yield windows of what the ALSA device hears; at most `capacity` wait for the model.

    Raises UnavailableError, before the first, when there is no `arecord`.
    """
    program = shutil.which("arecord")
    if program is None:
        raise UnavailableError("a microphone needs arecord: sudo apt-get install alsa-utils")
    return _listen([program, "-q", "-D", device], windowing, capacity, intake)


def _listen(
    command: list[str], windowing: Callable[[], Windowing], capacity: int, intake: Intake
) -> Iterator[Sample]:
    how = windowing()
    waiting: LiveQueue[tuple[int, Wave]] = LiveQueue(capacity, "microphone: newer window", intake.tally.drop)
    intake.tally.watch(waiting)
    microphone = _Microphone(command, how, waiting, intake.tally)
    microphone.start()
    try:
        while not intake.stop.is_set():
            item = waiting.get(_TURN_S)
            yield IDLE if item is None else intake.prepared("window", how.name(item[0]), item[1])
    finally:
        microphone.close()
        waiting.abandon("microphone: waiting at the end")


class _Microphone:
    """The recording child and the thread that empties its pipe."""

    def __init__(
        self, command: list[str], how: Windowing, waiting: LiveQueue[tuple[int, Wave]], tally: Tally
    ) -> None:
        self._command = [*command, "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(how.rate_hz), "-"]
        self._how = how
        self._waiting = waiting
        self._tally = tally
        self._ended = threading.Event()
        self._overrun = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="microphone")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._child is not None:
            self._child.terminate()
        self._thread.join()

    def _run(self) -> None:
        windower = Windower(self._how)
        pause_s = _RESTART_S
        while not self._ended.is_set():
            heard = self._record(windower)
            windower.forget()
            if self._ended.is_set():
                return
            self._tally.tell("microphone", "the microphone gives no sound; starting arecord again")
            pause_s = _RESTART_S if heard else min(_LONGEST_RESTART_S, 2 * pause_s)
            self._ended.wait(pause_s)

    def _record(self, windower: Windower) -> bool:
        """Be with one child until its end; return whether anything was heard."""
        with subprocess.Popen(  # tied to this thread, which lives as long as the stream
            tied(self._command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            self._child = child
            if self._ended.is_set():
                child.terminate()
            assert child.stdout is not None
            assert child.stderr is not None
            errors = threading.Thread(target=self._read_errors, args=(child.stderr,), daemon=True)
            errors.start()
            heard = self._read_sound(child.stdout, windower)
            self._end(child)
            errors.join(_END_S)
        return heard

    def _read_sound(self, pipe: IO[bytes], windower: Windower) -> bool:
        size_bytes = 2 * max(1, int(self._how.rate_hz * _BLOCK_S))
        heard = False
        while not self._ended.is_set() and len(block := pipe.read(size_bytes)) == size_bytes:
            heard = True
            if self._overrun.is_set():
                self._overrun.clear()
                windower.forget()
            for item in windower.feed(pcm_to_wave(block)):
                self._waiting.put(item)
        return heard

    def _read_errors(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            text = raw.decode(errors="replace").strip()
            if "overrun" in text:
                self._tally.drop("microphone: overrun")
                self._overrun.set()
            elif text and not self._ended.is_set():
                self._tally.tell("arecord", text[:200])

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
