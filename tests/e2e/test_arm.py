"""What is packaged runs on ARM: each system's Debian package, under emulation, as a Raspberry Pi 4.

The board with both interpreters is tested always, where scripts/ensure-arm has brought what it takes; each
system's own package, the whole doctor, an agent on a broker and the device's tests with the long tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeflock import __version__
from fleet.adapters.broker import free_port, start_broker
from fleet.packages.adapters import pip, tree
from fleet.packages.app import fetched, make_deb
from fleet.packages.resolve import Wanted, pins
from fleet.packages.targets import LITERT, TARGETS, TFLITE_RUNTIME, choose_backend
from tests.support import arm_answers
from tests.support.arm import MODEL, ArmBoard, need_arm, stand_board
from tests.support.local_fleet import ROOT
from tests.support.training import Bundles, Trained
from wire import delta
from wire.adapters.paho_link import BrokerAddress
from wire.deadline import Deadline, wait_until
from wire.errors import UnavailableError

PINS = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
pytestmark = pytest.mark.timeout(900)  # ten times and more what it takes; emulated Python is slow
SYSTEMS = [pytest.param(name, marks=pytest.mark.long) for name in TARGETS]
#: Of the device's tests those that need no TensorFlow, no other machine's wheels and no minutes.
TESTS = ("edge/test_runtime.py", "edge/test_tensors.py", "edge/test_golden.py", "edge/test_vitals.py",
         "edge/test_windowing.py", "edge/test_updater.py", "edge/test_trust_rules.py", "wire/test_blob.py",
         "wire/test_bundle.py", "wire/test_delta.py", "wire/test_histogram.py", "wire/test_reference.py",
         "wire/test_topics.py", "wire/test_window.py")  # fmt: skip
#: Not on an emulated board: memory and time are the emulator's.
NOT_THERE = "hundred_megabytes or other_layers or grow_beyond"


@contextmanager
def board_of(
    target_name: str, backend: str | None, folder: Path, more: tuple[str, ...] = ()
) -> Iterator[ArmBoard]:
    """Stand up a board with the target's package; wheels of `more` interpreters lie beside it."""
    target = TARGETS[target_name]
    wanted = Wanted(target, choose_backend(target, backend))
    try:
        with fetched(wanted, __version__, folder, pins(PINS, target)) as wheels:
            deb = make_deb(wheels, wanted, __version__, folder, compression="none")
            board = stand_board(folder / "board", target, deb.path)
            also = folder / "also"
            also.mkdir()
            for name in more:
                for wheel in pip.download(target, {name: (pins(PINS, target)[name], frozenset())}, also):
                    tree.unpack(wheel, board.root, target)
    except UnavailableError as error:
        if "pip download" not in str(error) or _index_answers(folder):
            raise
        pytest.skip(f"no package index here: {error}")
    yield board


def _index_answers(folder: Path) -> bool:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "paho-mqtt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmBoard]:
    """A 64-bit board with either interpreter."""
    need_arm("bookworm-arm64")
    folder = tmp_path_factory.mktemp("both")
    with board_of("bookworm-arm64", TFLITE_RUNTIME, folder, (LITERT,)) as board:
        yield board


@pytest.fixture(scope="module", params=SYSTEMS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmBoard]:
    """Each system with the package that it gets by default."""
    need_arm(request.param)
    with board_of(request.param, None, tmp_path_factory.mktemp(request.param)) as board:
        yield board


def answered(board: ArmBoard, trained: Trained, bundles: Bundles, folder: Path) -> tuple[Any, Any]:
    """Run the same work here and on the board, and return what came of it: (here, there)."""
    for path in (bundles.one, bundles.float_two, trained.data):
        shutil.copy(path, folder)
    base, new = bundles.one.read_bytes(), bundles.two.read_bytes()
    (folder / "base").write_bytes(base)
    (folder / "delta").write_bytes(delta.encode(base, new))
    arm_answers.main(folder, folder / "here.npz", len(new))
    script = ROOT / "tests" / "support" / "arm_answers.py"
    done = board.run("-P", script, folder, folder / "there.npz", str(len(new)))
    assert done.returncode == 0, done.stderr
    here, there = np.load(folder / "here.npz"), np.load(folder / "there.npz")
    assert str(there["board"]) == MODEL
    assert there["updated"].tobytes() == new
    return here, there


def assert_same(here: Any, there: Any, backends: set[str]) -> None:
    """Codes to the byte, real numbers to 1e-5, and the same class for each digit."""
    told = [name for name in there.files if name.endswith(" raw")]
    assert {name.split()[0] for name in told} == backends
    for name in told:
        if here[name].dtype == np.int8:
            assert here[name].tobytes() == there[name].tobytes(), name
        else:
            np.testing.assert_allclose(there[name], here[name], atol=1e-5, err_msg=name)
        best = name.replace(" raw", " best")
        assert here[best].tolist() == there[best].tolist(), name


def test_both_interpreters_answer_on_a_64_bit_board_as_here(
    both: ArmBoard, trained: Trained, bundles: Bundles, tmp_path: Path
) -> None:
    here, there = answered(both, trained, bundles, tmp_path)
    assert_same(here, there, {LITERT, TFLITE_RUNTIME})


def test_each_package_answers_as_here(
    own: ArmBoard, trained: Trained, bundles: Bundles, tmp_path: Path
) -> None:
    here, there = answered(own, trained, bundles, tmp_path)
    assert_same(here, there, {own.target.backends[0]})


def test_the_command_of_each_package_finds_its_environment_and_the_board_ready(own: ArmBoard) -> None:
    said = own.run(own.command[1], "--version")
    assert said.stdout == f"edgeflock {__version__}\n", said.stderr
    told = own.run(own.command[1], "doctor", "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["board"]["model"] == MODEL


def test_an_agent_of_each_package_serves_over_mqtt(
    own: ArmBoard, trained: Trained, bundles: Bundles, tmp_path: Path
) -> None:
    address = BrokerAddress("127.0.0.1", free_port())
    broker = start_broker(tmp_path / "broker", address)
    settings = tmp_path / "device.toml"
    settings.write_text(
        f'[device]\nname = "pi-1"\nstate = "{tmp_path}/pi-1"\n[broker]\nport = {address.port}\n'
        f'[trust]\nunsigned = true\n[model]\nname = "digits"\nbundle = "{bundles.two}"\n'
        f'[source]\nkind = "npz"\npath = "{trained.data}"\nrate_hz = 50\n'
        f'[sink]\nkind = "ndjson"\npath = "{tmp_path}/answers.ndjson"\n'
    )
    agent = subprocess.Popen([*own.command, "agent", settings], stderr=subprocess.PIPE, text=True)
    answers = tmp_path / "answers.ndjson"
    try:
        wait_until(
            lambda: agent.poll() is not None or (answers.exists() and answers.stat().st_size > 2000),
            Deadline.after(280),
        )
        assert agent.poll() is None, agent.stderr.read() if agent.stderr else ""
        assert json.loads(answers.read_text().splitlines()[0])["release"].startswith("digits/")
    finally:
        agent.terminate()
        agent.communicate(timeout=60)
        broker.process.terminate()
        broker.process.wait()


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_devices_own_tests_pass_on_a_64_bit_board(
    both: ArmBoard, trained: Trained, bundles: Bundles, tmp_path: Path
) -> None:
    target, tools = both.target, tmp_path / "tools"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "--only-binary=:all:"]
    command += [f"--platform={platform}" for platform in target.platforms]
    command += ["--python-version", target.python_name, "--implementation", "cp"]
    command += ["--abi=cp311", "--abi=abi3", "--abi=none"]
    needed = ["pytest", "pytest-timeout", "hypothesis", "flatbuffers", "msgspec", "mpmath"]
    subprocess.run([*command, *needed], check=True)
    files = [ROOT / "tests" / name for name in TESTS]
    options = ["-p", "no:cacheprovider", "-q", "--trained", bundles.one.parent, "-k", f"not ({NOT_THERE})"]
    done = both.run("-m", "pytest", *options, *files, path=(ROOT, tools), cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:]
