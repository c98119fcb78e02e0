"""On a board without a wheel of cryptography, signatures are verified in Python, with the same outcome."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.examples import RELEASE_1
from tests.support.local_fleet import ROOT
from tests.support.signed_fleet import SignedFleet, signers
from wire.messages import Desired

PROGRAM = """
import sys, time
from pathlib import Path

class NoWheels:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cryptography", "nacl"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoWheels())
from edge.adapters.tuf_trust import TufTrust

folder = Path(sys.argv[1])
files = {path.name: path.read_bytes() for path in folder.glob("*.json")}
trust = TufTrust(files["1.root.json"], folder / "trust", time.time).open()
trust.refresh(files.get)
found = trust.named(["digits/1"], files.get)
plan = (folder / "desired").read_bytes()
print(trust.desired(plan, device="pi-1").groups, len(found.targets.releases), "cryptography" in sys.modules)
"""


@pytest.mark.parametrize("honest", [True, False])
def test_signatures_are_verified_without_any_wheel(tmp_path: Path, honest: bool) -> None:
    fleet = SignedFleet()
    fleet.release(RELEASE_1)
    if not honest:
        fleet.online = signers(1)[0]
        fleet.stamp()
    for name, data in fleet.files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "desired").write_bytes(fleet.seal(Desired(1, ("all",), device="pi-1")))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if honest:
        assert done.stdout == "('all',) 1 False\n", done.stderr
    else:
        assert "RefusedError: UnsignedMetadataError" in done.stderr
