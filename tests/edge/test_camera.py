"""A camera: the newest frame wins; a video file waits. A video file stands in for the camera's driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge import open_bundle
from edge.adapters.decoding import Decoder, Intake
from edge.adapters.source_camera import camera_stream, is_video_file, video_stream
from edge.adapters.sources import IDLE
from edge.online.tally import Tally
from tests.support.tiny_bundle import GREY_2X2, write_tiny_bundle
from wire.deadline import Deadline, wait_until
from wire.errors import DataError, UnavailableError

cv2 = pytest.importorskip("cv2", reason="OpenCV is the extra `camera`")

FRAMES = 40


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_bundle(write_tiny_bundle(tmp_path / "tiny.bundle", GREY_2X2)) as runtime:
        stop = threading.Event()
        yield Intake(Decoder(runtime.prepare, lambda: 8), Tally(print), stop)
        stop.set()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames of pure blue; grey makes 29 of it, and would make 76 of red."""
    path = tmp_path_factory.mktemp("video") / "blue.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(FRAMES):
        writer.write(np.full((32, 32, 3), (255, 0, 0), np.uint8))
    writer.release()
    return path


def test_every_frame_of_a_video_file_is_answered_with_its_colours_in_order(
    video: Path, intake: Intake
) -> None:
    assert is_video_file(str(video))
    samples = list(video_stream(video, intake))
    assert [s.id for s in samples] == [str(n) for n in range(FRAMES)]
    assert samples[0].inputs.ravel() == pytest.approx(np.full(4, 29), abs=3)


def test_a_newer_frame_replaces_the_one_that_waits_and_is_counted(
    video: Path, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.source_camera._REOPEN_S", 60.0)
    stream = camera_stream(str(video), 0, intake)
    taken: list[int] = []

    def all_told() -> bool:
        sample = next(stream)
        taken.extend([int(sample.id)] if sample is not IDLE else [])
        return len(taken) + intake.tally.dropped == FRAMES

    assert wait_until(all_told, Deadline.after(10))
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert taken == sorted(taken)
    assert taken[-1] == FRAMES - 1
    assert intake.tally.dropped == 0 or "camera: newer frame" in intake.tally.summary()


def test_a_camera_that_goes_away_is_opened_again(
    video: Path, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.source_camera._REOPEN_S", 0.01)
    stream = camera_stream(str(video), 0, intake)
    seen: set[int] = set()
    assert wait_until(lambda: seen.add(int(next(stream).id or -1)) or max(seen) >= FRAMES, Deadline.after(10))  # type: ignore[func-returns-value]
    stream.close()  # type: ignore[attr-defined]  # a generator


def test_a_camera_that_is_not_there_is_named(intake: Intake) -> None:
    with pytest.raises(UnavailableError, match="the camera 97 cannot be opened"):
        camera_stream("97", 0, intake)


def test_a_file_that_is_no_video_is_named(tmp_path: Path, intake: Intake) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.mp4 is no video"):
        video_stream(tmp_path / "x.mp4", intake)
