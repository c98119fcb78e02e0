"""What every test may ask for: trained models and their bundles, and how often to try.

Random tests run with fixed seeds and few examples by default (the counts stand in the header), and
with fresh seeds and many under `--long-results FOLDER`, which also writes a dated JSON there.
"""

from __future__ import annotations

import json
import platform
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.once import made_once
from tests.support.training import Bundles, Trained, bundles_in, convert_all, train, trained_in


@dataclass(frozen=True)
class Counts:
    """How often to try: examples of a random test, SIGKILLs of a kill test, of update cycles, power cuts,
    changes of software with two SIGKILLs each."""

    examples: int
    kills: int
    update_kills: int
    power_cuts: int
    software_updates: int


SHORT = Counts(examples=60, kills=3, update_kills=8, power_cuts=3, software_updates=2)
LONG = Counts(examples=1000, kills=50, update_kills=200, power_cuts=40, software_updates=50)

#: Where a test says how long it may take, it means the full counts.
_SHORT_TIMEOUT_S = 600

# A noisy machine is no fault of a test.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("short", max_examples=SHORT.examples, derandomize=True, **_PATIENT)
settings.register_profile("long", max_examples=LONG.examples, **_PATIENT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long-results", type=Path, metavar="FOLDER", help="full counts, and a JSON in FOLDER")
    parser.addoption("--trained", type=Path, metavar="FOLDER", help="take the models there, and train none")
    parser.addoption("--boot-image", type=Path, metavar="FOLDER", help="boot what `make image` made there")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long-results") else "short")
    config.addinivalue_line("markers", "long: takes minutes or gigabytes; runs with --long-results only")
    config.addinivalue_line("markers", "boot: boots an image in QEMU; runs with --boot-image only")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As in a shell's background job: the processes that tests start, and interrupt, would ignore it too.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = {"long": config.getoption("--long-results"), "boot": config.getoption("--boot-image")}
    command = {"long": "make test-long", "boot": "make boot-test"}
    for mark in (mark for mark, given in asked.items() if not given):
        skip = pytest.mark.skip(reason=f"{mark}: {command[mark]} runs it")
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(skip)
    if not any(asked.values()):
        for item in items:
            limit = item.get_closest_marker("timeout")
            if limit is not None and limit.args[0] > _SHORT_TIMEOUT_S:
                item.add_marker(pytest.mark.timeout(_SHORT_TIMEOUT_S), append=False)


def pytest_report_header(config: pytest.Config) -> str:
    return f"counts: {_counts(config)}"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    folder: Path | None = session.config.getoption("--long-results")
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    result = {
        "time": now,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "counts": vars(_counts(session.config)),
        "tests": session.testscollected,
        "failed": session.testsfailed,
        "exit_status": int(exitstatus),
    }
    (folder / f"test-long-{now}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _counts(config: pytest.Config) -> Counts:
    return LONG if config.getoption("--long-results") else SHORT


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counts:
    return _counts(pytestconfig)


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """Return what random moments begin with: always the same, or a fresh one with the full counts."""
    number = random.randrange(2**32) if pytestconfig.getoption("--long-results") else 7
    print(f"seed {number}")
    return number


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Trained:
    there: Path | None = pytestconfig.getoption("--trained")
    return trained_in(there or made_once(tmp_path_factory, "trained", train))


@pytest.fixture(scope="session")
def bundles(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Bundles:
    if pytestconfig.getoption("--trained"):
        return bundles_in(trained.folder)

    def convert(folder: Path) -> None:
        shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
        convert_all(trained_in(folder))

    return bundles_in(made_once(tmp_path_factory, "bundles", convert))
