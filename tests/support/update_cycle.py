"""Whole update cycles of one device in a real fleet, for tests that end it at any moment of one."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from edge import open_bundle
from edge.pointer import Pointer
from tests.support.local_fleet import LocalFleet
from tests.support.training import Bundles, rewrite
from wire.codec import decode
from wire.deadline import Deadline

#: Make the download a second of a cycle that takes three.
_BALLAST_BYTES: Final = 400_000
_SLOWLY: Final = ("--rate-kb", "400")


class UpdateCycle:
    """Pushes release after release to `pi-1`, and knows what each would answer.

    Three of them in turn: a device keeps two, so that each push is a download.
    """

    def __init__(self, fleet: LocalFleet, bundles: Bundles, moments: Random) -> None:
        self.killed_in: Counter[str] = Counter()
        self._fleet, self._moments = fleet, moments
        models = {"11": bundles.one, "12": bundles.two, "13": bundles.float_two}
        self._bundles = {f"digits/{version}": _heavy(path, version) for version, path in models.items()}
        with np.load(fleet.data) as data:
            images = data["x_test"]
        self._right = {name: _answers(path, images) for name, path in self._bundles.items()}
        self._turn = 0
        self._lasts_s = 0.0

    def begin(self) -> None:
        """Start the device, and let it take a first release, to learn how long an update takes."""
        self._fleet.start_device()
        self.push()
        pushed_s = time.monotonic()
        self.converge()
        self._lasts_s = time.monotonic() - pushed_s

    def push(self) -> None:
        name = self._wanted
        self._turn += 1
        self._fleet.push(self._bundles[name], *_SLOWLY)

    def wait_for_a_moment(self) -> None:
        """Wait until a random moment of an update that was just pushed, and note what the device is at."""
        moment = Deadline.after(self._moments.uniform(0.0, self._lasts_s))
        self._fleet.wait("the moment of the kill", lambda: moment.passed)
        self.killed_in[str(self._fleet.row().state)] += 1

    def restart(self) -> None:
        """Look at what the disk holds, start the device on it, and wait until it answers."""
        self.check_disk()
        before = len(self._fleet.answered())
        self._fleet.start_device()
        self._fleet.wait("it answers again", lambda: len(self._fleet.answered()) > before)

    def check_disk(self) -> None:
        """Assert that the pointer can be read and names a whole bundle."""
        state = self._fleet.folder / "pi-1"
        current = decode(Pointer, (state / "pointer.json").read_bytes()).current
        assert current is not None
        bundle = (state / "models" / f"{current.sha256}.tflite").read_bytes()
        assert hashlib.sha256(bundle).hexdigest() == current.sha256

    def converge(self) -> None:
        names = list(self._bundles)
        self._fleet.wait_for_release(names[(self._turn - 1) % len(names)])

    def wrong_answers(self) -> list[str]:
        """Return the lines of the device that are not what their release answers."""
        lines = (self._fleet.folder / "pi-1.ndjson").read_text().splitlines()
        rows = [json.loads(line) for line in lines if line.endswith("}")]  # a kill may cut the last
        return [str(r) for r in rows if r["best"] != self._of(r["release"], int(r["id"]))]

    def _of(self, release: str, number: int) -> int:
        right = self._right[release]
        return right[number % len(right)]

    @property
    def _wanted(self) -> str:
        return list(self._bundles)[self._turn % len(self._bundles)]


def _heavy(bundle: Path, version: str) -> Path:
    return rewrite(bundle, version, ballast=Random(version).randbytes(_BALLAST_BYTES))


def _answers(bundle: Path, images: np.ndarray[Any, Any]) -> list[int]:
    with open_bundle(bundle) as runtime:
        return [int(runtime.predict(image).best) for image in images]
