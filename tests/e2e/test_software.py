"""The agent's own software, pushed like a model: real processes over a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Final

import pytest

from edge.pointer import Pointer
from launcher.disk import Disk
from tests.conftest import Counts
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.service_manager import HANGS, ServiceManager
from tests.support.software import Changes, make_software
from tests.support.training import Bundles
from wire.codec import decode
from wire.deadline import Deadline
from wire.software import SOFTWARE

#: What happens here does not depend on the broker: the one that is preferred will do.
pytestmark = pytest.mark.parametrize("broker_kind", BROKERS[:1])

_FIRST_STEP: Final = "    sys.setswitchinterval(_SWITCH_INTERVAL_S)\n"
CRASHES: Final[Changes] = {"edge/app.py": (_FIRST_STEP, "    raise SystemExit(70)\n")}
HANGS_AT_START: Final[Changes] = {
    "edge/app.py": (_FIRST_STEP, f'    print("{HANGS}", flush=True)\n    time.sleep(3600)\n')
}
LACKS_A_PART: Final[Changes] = {"edge/app.py": ("import secrets\n", "import no_such_package\n")}


def runs(fleet: LocalFleet) -> str:
    """Return the release of the software on `pi-1`, as the server knows it."""
    return str(fleet.row(model=SOFTWARE).current)


def wait_until_it_runs(fleet: LocalFleet, release: str) -> None:
    def settled() -> bool:
        row = fleet.row(model=SOFTWARE)
        return (row.current, row.state) == (release, "idle")

    fleet.wait(f"{release} runs", settled, 300)


def wait_for_a_moment(fleet: LocalFleet, release: str, moments: Random) -> None:
    """Wait until a random moment in a random part of the change; in what is left of it, if it is past."""
    part = moments.choice(["download", "stage", "probation"])

    def come() -> bool:
        row = fleet.row(model=SOFTWARE)
        return row.state == part or row.current == f"{SOFTWARE}/{release}"

    fleet.wait(f"{release} in {part}", come, 300)
    moment = Deadline.after(moments.uniform(0.0, 4.0 if part == "probation" else 1.0))
    fleet.wait("the moment of the kill", lambda: moment.passed)


def wait_until_blocked(fleet: LocalFleet, release: str, why: str) -> None:
    def blocked() -> bool:
        row = fleet.row(model=SOFTWARE)
        return (row.state, row.target) == ("blocked", release) and why in str(row.error)

    fleet.wait(f"{release} is blocked", blocked, 300)


@pytest.mark.timeout(1800)
def test_a_device_goes_on_as_pushed_software_and_back_from_what_does_not_work(
    fleet: LocalFleet, bundles: Bundles, tmp_path: Path
) -> None:
    fleet.start_device()
    process = fleet.processes["pi-1"]
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(make_software(tmp_path, "0.2.0"))
    wait_until_it_runs(fleet, f"{SOFTWARE}/0.2.0")
    assert process.poll() is None, "the process went on as other software"

    with ServiceManager(fleet) as manager:
        fleet.push(make_software(tmp_path, "0.3.0", LACKS_A_PART))
        wait_until_blocked(
            fleet, f"{SOFTWARE}/0.3.0", "cannot take over: this command needs 'no_such_package'"
        )
        assert manager.starts == 0
        fleet.push(make_software(tmp_path, "0.4.0", CRASHES))
        wait_until_blocked(fleet, f"{SOFTWARE}/0.4.0", f"{SOFTWARE}/0.4.0 was not healthy in 3 starts")
        assert runs(fleet) == f"{SOFTWARE}/0.2.0"
        fleet.push(make_software(tmp_path, "0.5.0", HANGS_AT_START))
        wait_until_blocked(fleet, f"{SOFTWARE}/0.5.0", f"{SOFTWARE}/0.5.0 was not healthy in 3 starts")
        assert runs(fleet) == f"{SOFTWARE}/0.2.0"
    fleet.wait("digits serves", lambda: fleet.row().current == "digits/1")
    events = [e for _, e in fleet.reader.events("pi-1") if e.model == SOFTWARE and e.cause == "unhealthy"]
    assert [str(e.detail).partition(" ")[0] for e in events] == [f"{SOFTWARE}/0.4.0", f"{SOFTWARE}/0.5.0"]
    assert fleet.end("pi-1") == 0
    fleet.wait("the last report", lambda: fleet.row().presence == "offline")
    assert fleet.reader.ledger().problems == (), "no report is lost in a change"


@pytest.mark.timeout(1800)
def test_a_signal_in_the_middle_of_a_change_ends_the_agent_and_its_next_start_is_the_change(
    fleet: LocalFleet, bundles: Bundles, tmp_path: Path
) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(make_software(tmp_path, "0.2.0"))
    log = fleet.folder / "pi-1.log"
    fleet.wait("the change", lambda: f"{SOFTWARE}/0.2.0: swap -> probation" in log.read_text(), 300)
    assert fleet.end("pi-1") == 0
    fleet.start_device()
    wait_until_it_runs(fleet, f"{SOFTWARE}/0.2.0")


@pytest.mark.timeout(7200)
def test_a_device_that_is_killed_in_a_change_of_software_starts_serves_and_converges(
    fleet: LocalFleet, bundles: Bundles, tmp_path: Path, counts: Counts, seed: int
) -> None:
    moments = Random(seed)
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    disk, killed_in = Disk(fleet.folder / "pi-1"), []
    for number in range(counts.software_updates):
        release = f"0.{number + 2}.0"
        bundle = make_software(tmp_path, release, ballast=moments.randbytes(300_000))
        fleet.push(bundle, "--rate-kb", "400")
        for _ in range(2):  # a third kill in a probation would be held against it
            wait_for_a_moment(fleet, release, moments)
            killed_in.append(str(fleet.row(model=SOFTWARE).state))
            fleet.kill("pi-1")
            pointer = disk.folder / "pointer.json"
            if pointer.exists():
                decode(Pointer, pointer.read_bytes())
            before = len(fleet.answered())
            fleet.start_device()
            fleet.wait("it answers again", lambda n=before: len(fleet.answered()) > n)
        wait_until_it_runs(fleet, f"{SOFTWARE}/{release}")
    print("killed in", json.dumps(killed_in))
    assert fleet.end("pi-1") == 0
    environments = {path.name for path in (disk.folder / "env").iterdir()}
    pointer = decode(Pointer, (disk.folder / "pointer.json").read_bytes())
    assert environments == {slot.sha256 for slot in (pointer.current, pointer.previous) if slot}
