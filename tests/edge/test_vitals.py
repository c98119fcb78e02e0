"""What a board tells of itself: a Raspberry Pi stood into a folder, and machines that tell nothing."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.adapters import vitals
from edge.adapters.firmware import read_throttled
from edge.adapters.kernel_files import KernelFiles
from edge.adapters.vitals import VitalsReader
from edge.swapping import SwapPolicy, keep_previous, unload_first
from edge.throttling import parse_clocks, throttled_s
from tests.support.board_files import stand, stand_pi, stat

ALARM = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return stand_pi(tmp_path / "root", tmp_path)


def test_everything_that_a_pi_tells_is_reported(pi: Path, tmp_path: Path) -> None:
    told = VitalsReader(tmp_path, pi).read()
    assert (told.temperature_c, told.clock_mhz, told.uptime_s) == (61.234, 1500.0, 86400.12)
    assert told.swap_used_bytes == 60 * 1024
    assert (told.network_sent_bytes, told.network_received_bytes) == (204, 1030)
    assert (told.disk_written_bytes, told.filesystem_errors) == (12345 * 1024, 2)
    assert (told.undervoltages, told.throttled_s, told.throttled) == (0, 0.0, None)
    assert told.rss_bytes > 0


@pytest.mark.parametrize("text", [None, "", "nonsense", "-1", "\xff\xfe", "9" * 40])
def test_a_machine_that_tells_nothing_or_nonsense_is_unknown_and_no_error(
    pi: Path, tmp_path: Path, text: str | None
) -> None:
    for path in [file for file in pi.rglob("*") if file.is_file()]:
        path.unlink() if text is None else path.write_text(text)
    told = VitalsReader(tmp_path, pi).read()
    assert (told.swap_used_bytes, told.network_sent_bytes, told.disk_written_bytes) == (None, None, None)
    assert (told.filesystem_errors, told.undervoltages, told.throttled_s) == (None, None, None)
    assert told.clock_mhz is None


def test_each_time_that_undervoltage_begins_is_counted_once(pi: Path, tmp_path: Path) -> None:
    alarm, kernel = pi / ALARM, KernelFiles(tmp_path, pi)
    for state in "0110100111":
        alarm.write_text(f"{state}\n")
        kernel.watch()
    assert kernel.undervoltages == 3


@pytest.mark.parametrize(
    ("low", "high", "busy", "throttled"),
    [
        (0, 6000, 6000, 0.0),  # busy at the highest clock
        (6000, 0, 0, 0.0),  # idle at the lowest: the governor's choice
        (6000, 0, 6000, 60.0),  # busy all the time, and never at the highest
        (3000, 3000, 3000, 0.0),  # busy in one half, slow in the other: as it should be
        (3000, 3000, 4500, 15.0),  # these two must overlap
    ],
)
def test_time_below_the_highest_clock_counts_where_there_was_work(
    low: int, high: int, busy: int, throttled: float
) -> None:
    before = parse_clocks("600000 100\n1800000 100\n", stat(100, 100))
    now = parse_clocks(f"600000 {100 + low}\n1800000 {100 + high}\n", stat(100 + busy, 100 + 6000 - busy))
    assert before
    assert now
    assert throttled_s(before, now) == throttled
    assert throttled_s(now, before) is (None if low or high else 0.0)  # counters do not run backwards


def firmware(answer: bytes, error: int = 0, asked: list[bytes] | None = None):  # type: ignore[no-untyped-def]
    def ioctl(file: int, request: int, message: bytearray) -> None:
        if asked is not None:
            asked.append(bytes(message))
        struct.pack_into("<I", message, 20, error)
        message[24 : 24 + len(answer)] = answer

    return ioctl


@pytest.mark.parametrize(
    ("answer", "error", "register"),
    [
        (b"throttled=0x50005\n\0", 0, 0x50005),
        (b"throttled=0x0\0", 0, 0),
        (b"throttled=0x50005\0", 1, None),
        (b'error=1 error_msg="Command not registered"\0', 0, None),
        (b"throttled=nonsense\0", 0, None),
        (b"throttled=0x" + b"f" * 30 + b"\0", 0, None),
        (b"\xff\xff\0", 0, None),
    ],
)
def test_the_firmware_is_asked_as_vcgencmd_does(
    tmp_path: Path, answer: bytes, error: int, register: int | None
) -> None:
    stand(tmp_path, {"dev/vcio": ""})
    asked: list[bytes] = []
    assert read_throttled(tmp_path, firmware(answer, error, asked)) == register
    size, _, tag = struct.unpack_from("<3I", asked[0])
    assert (size, tag) == (len(asked[0]), 0x00030080)
    assert asked[0][24:].startswith(b"get_throttled\0")


def test_the_device_for_questions_alone_is_preferred(tmp_path: Path) -> None:
    stand(tmp_path, {"dev/vcio": "", "dev/vcio_gencmd": ""})
    asked: list[str] = []

    def note(file: int, request: int, message: bytearray) -> None:
        asked.append(Path(f"/proc/self/fd/{file}").readlink().name)

    read_throttled(tmp_path, note)
    assert asked == ["vcio_gencmd"]


def test_without_its_device_file_or_the_right_to_it_the_firmware_is_unknown(tmp_path: Path) -> None:
    def refuse(file: int, request: int, message: bytearray) -> None:
        raise PermissionError

    assert read_throttled(tmp_path) is None
    stand(tmp_path, {"dev/vcio": ""})
    assert read_throttled(tmp_path) is None  # no device: ENOTTY
    assert read_throttled(tmp_path, refuse) is None


def test_where_a_group_leaves_little_memory_the_model_that_serves_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A board of 1 GB whose unit may have 300 MB: `swap = "auto"` chooses by what the group leaves."""

    class Memory:
        available, total = 700 * 2**20, 1000 * 2**20

    class Process:
        def memory_info(self) -> Any:
            return SimpleNamespace(rss=180 * 2**20)

    monkeypatch.setattr(vitals.psutil, "virtual_memory", Memory)
    monkeypatch.setattr(vitals.psutil, "Process", Process)
    chosen = {}
    for limit in (None, 300 * 2**20):
        monkeypatch.setattr(vitals, "memory_limit_bytes", lambda limit=limit: limit)
        available = vitals.available_bytes()
        chosen[limit] = (
            unload_first(SwapPolicy.AUTO, needs_bytes=80 * 2**20, available_bytes=available),
            keep_previous(SwapPolicy.AUTO, available_bytes=available),
            vitals.total_bytes(),
        )
    assert chosen == {None: (False, True, 1000 * 2**20), 300 * 2**20: (True, False, 300 * 2**20)}
