"""`edgeflock agent` goes on as what the state folder names: real processes, and environments of one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.adapters.environments import Environments
from edge.pointer import Pointer, Slot
from launcher.choosing import PROBATION_STARTS, Starts
from launcher.disk import Disk
from tests.support.local_fleet import ROOT
from tests.support.tiny_software import tiny_software
from wire.adapters.files import only_owner, write_atomic
from wire.codec import decode, encode
from wire.software import SOFTWARE

#: Stands for all of ours: says what it was started as, and with which arguments.
_SAYS = "import os, sys\nprint(%r, os.environ['EDGEFLOCK_SOFTWARE'][:4], os.getpid(), *sys.argv[1:])\n"


class Board:
    """A state folder with software in it, and settings that name it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.settings = folder / "device.toml"
        self.settings.write_text(f'[device]\nname = "pi-1"\nstate = "{self.state}"\n')
        self.disk = Disk(self.state)
        self.environments = Environments(self.disk.folder / "env")
        self.environments.open()

    def install(self, version: str, script: str = "") -> Slot:
        release = self.state / "release"
        release.write_bytes(tiny_software(version, script or _SAYS % version))
        sha256 = version * 64
        self.environments.build(release, sha256)
        return Slot(f"{SOFTWARE}/{version}", sha256)

    def point(self, pointer: Pointer) -> None:
        write_atomic(self.disk.folder / "pointer.json", encode(pointer))

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgeflock", "agent", *options, str(self.settings)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said, self.complained = process.communicate(timeout=60)
        return process


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_it_goes_on_in_the_same_process_with_the_same_arguments(board: Board) -> None:
    board.point(Pointer(current=board.install("1")))
    process = board.start("--log-level", "DEBUG")
    assert board.said.split() == [
        "1",
        "1111",
        str(process.pid),
        "agent",
        "--log-level",
        "DEBUG",
        str(board.settings),
    ]
    assert board.disk.starts() == Starts({"1" * 64: 1})


def test_what_does_not_become_healthy_gives_way_to_the_one_before(board: Board) -> None:
    board.point(Pointer(current=board.install("2"), previous=board.install("1"), on_probation=True))
    said = []
    for _ in range(PROBATION_STARTS + 1):
        board.start()
        said.append(board.said.split()[0])
    assert said == ["2"] * PROBATION_STARTS + ["1"]


def test_a_damaged_file_gives_way_to_the_one_before(board: Board) -> None:
    board.point(Pointer(current=board.install("2"), previous=board.install("1")))
    file = board.environments.path("2" * 64) / "edgeflock.py"
    file.write_text(file.read_text().replace("print", "prinT"))
    board.start()
    assert board.said.split()[0] == "1"


def test_a_check_follows_the_pointer_and_is_no_start(board: Board) -> None:
    board.point(Pointer(current=board.install("1")))
    board.start("--check")
    assert board.said.split()[0] == "1"
    assert board.disk.starts() == Starts()


@pytest.mark.parametrize("spoilt", ["pointer.json", "starts.json", "env"])
def test_the_factorys_software_starts_where_the_state_cannot_be_read(board: Board, spoilt: str) -> None:
    board.point(Pointer(current=board.install("1")))
    path = board.disk.folder / spoilt
    if path.is_dir():
        path.rename(path.with_name("gone"))
    else:
        path.write_bytes(b"\0" * 100)
    board.start()
    factory = spoilt != "starts.json"
    assert ("model.name is missing" in board.complained) == factory
    assert (board.said == "") == factory


def test_settings_that_cannot_be_used_are_told_by_the_factorys_software(board: Board) -> None:
    board.point(Pointer(current=board.install("1")))
    board.settings.write_text("[device\n")
    assert board.start().returncode == 2
    assert "is not TOML" in board.complained


def test_what_is_in_the_current_folder_is_not_imported(board: Board, tmp_path: Path) -> None:
    board.point(Pointer(current=board.install("1")))
    (tmp_path / "edgeflock.py").write_text("print('a trap')\n")
    command = [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}\n"
               f"from launcher.launch import launch; launch([{str(board.settings)!r}])"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split()[0] == "1"


def test_newer_software_may_write_more_into_the_pointer_than_the_launcher_knows(board: Board) -> None:
    slot = board.install("1")
    text = encode(Pointer(current=slot)).decode().replace("{", '{"note":"from tomorrow",', 1)
    (board.disk.folder / "pointer.json").write_text(text)
    assert decode(Pointer, text.encode()).current == slot
    board.start()
    assert board.said.split()[0] == "1"


@pytest.mark.parametrize(("on_probation", "code"), [(True, 1), (False, 2)])
def test_settings_that_only_new_software_refuses_are_not_its_last_start(
    board: Board, *, on_probation: bool, code: int
) -> None:
    """A service manager starts nothing again after code 2: see RestartPreventExitStatus of the unit."""
    ours = str(ROOT / "edgeflock.py")
    script = f"import runpy\nrunpy.run_path({ours!r}, run_name='__main__')\n"
    board.point(Pointer(current=board.install("1", script), on_probation=on_probation))
    assert board.start().returncode == code
    assert "model.name is missing" in board.complained
    assert board.disk.starts().of("1" * 64) == 1


def test_a_trial_by_hand_is_no_start_and_waits_for_no_lock(board: Board) -> None:
    board.point(Pointer(current=board.install("1")))
    with only_owner(board.state / "lock", "agent"):
        assert board.start("--trial").returncode == 2
    assert "model.name is missing" in board.complained
    assert board.disk.starts() == Starts()
