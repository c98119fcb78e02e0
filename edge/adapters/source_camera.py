"""Samples from a camera, through OpenCV.

A camera is a live source: a thread takes every frame, the newest waits for the model, and each frame
that a newer one replaces is counted. Without that thread frames pile up in the driver, and the model
sees the past. A video file waits for the model instead, and none of its frames is dropped.

A camera that is unplugged is opened again until it is back. Frames are named by their number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from edge.adapters.decoding import Intake
from edge.adapters.sources import IDLE
from edge.backend import Array
from edge.online.live_queue import LiveQueue
from edge.online.tally import Tally
from edge.results import Sample
from wire.errors import DataError, UnavailableError

_TURN_S: Final = 0.2
_REOPEN_S: Final = 1.0
_END_S: Final = 2.0
_MISSES: Final = 10  # reads without a frame, after which a camera is opened anew


def is_video_file(where: str) -> bool:
    """Return whether `where` is a file to be played, and no camera (a number, a device or a URL)."""
    return Path(where).is_file()


def video_stream(path: Path, intake: Intake) -> Iterator[Sample]:
    """Yield every frame of a video file; raise DataError, before the first, when it is none."""
    capture = _open(str(path))
    if capture is None:
        raise DataError(f"{path} is no video that can be read")
    return _play(capture, intake)


def _play(capture: Any, intake: Intake) -> Iterator[Sample]:
    number = 0
    try:
        while not intake.stop.is_set():
            there, frame = capture.read()
            if not there:
                return
            yield _sample(number, frame, intake)
            number += 1
    finally:
        capture.release()


def camera_stream(where: str, rate_hz: float, intake: Intake) -> Iterator[Sample]:
    """Yield the newest frame of a camera, at most `rate_hz` a second (0: each).

    `where` is a number (`0` is /dev/video0), a device file or the URL of a stream. Raises
    UnavailableError, before the first frame, when it cannot be opened.
    """
    capture = _open(where)
    if capture is None:
        raise UnavailableError(
            f"the camera {where} cannot be opened: is it there, and may this user read it?"
        )
    return _watch(capture, where, rate_hz, intake)


def _watch(capture: Any, where: str, rate_hz: float, intake: Intake) -> Iterator[Sample]:
    newest: LiveQueue[tuple[int, Array]] = LiveQueue(1, "camera: newer frame", intake.tally.drop)
    ended = threading.Event()
    thread = threading.Thread(target=_take, args=(capture, where, newest, intake.tally, ended), daemon=True)
    thread.start()
    due_s = time.monotonic()
    try:
        while not intake.stop.is_set():
            early_s = due_s - time.monotonic()
            if early_s > 0:
                intake.stop.wait(min(early_s, _TURN_S))
                yield IDLE
                continue
            item = newest.get(_TURN_S)
            if item is None:
                yield IDLE
                continue
            due_s = max(due_s, time.monotonic() - _TURN_S) + (1 / rate_hz if rate_hz else 0.0)
            yield _sample(*item, intake)
    finally:
        ended.set()
        thread.join(_END_S)  # a stream that is gone holds its reader for half a minute
        newest.abandon("camera: waiting at the end")


def _take(
    capture: Any, where: str, newest: LiveQueue[tuple[int, Array]], tally: Tally, ended: threading.Event
) -> None:
    """Be the camera's thread: read every frame, so that none grows old in the driver."""
    number = misses = 0
    while not ended.is_set():
        there, frame = capture.read() if capture is not None else (False, None)
        if there and frame is not None:
            newest.put((number, frame))
            number += 1
            misses = 0
            continue
        misses += 1
        if misses < _MISSES:
            ended.wait(0.01)
            continue
        tally.tell("camera", f"the camera {where} gives no frames; opening it again")
        if capture is not None:
            capture.release()
        ended.wait(_REOPEN_S)
        capture, misses = _open(where), _MISSES - 1
    if capture is not None:
        capture.release()


def _sample(number: int, frame: Array, intake: Intake) -> Sample:
    rgb = frame[:, :, ::-1] if frame.ndim == 3 else frame  # OpenCV gives blue first
    return intake.prepared("frame", str(number), np.ascontiguousarray(rgb))


def _open(where: str) -> Any:
    capture = _cv2().VideoCapture(int(where) if where.isdigit() else where)
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _cv2() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UnavailableError("a camera needs OpenCV: pip install 'edgeflock[camera]'") from error
    cv2.setLogLevel(0)  # its warnings about devices go past our one line
    module: ModuleType = cv2
    return module
