"""The trial of pushed software, in a child process: its environment is made, and it is asked to take over.

`python -m edge.adapters.software_trial RELEASE ENVIRONMENTS SETTINGS MANIFEST` is the child; it prints its
verdict as one JSON object. It makes the environment and runs `edgeflock agent --trial SETTINGS` of it
(edge/selfupdate/takeover.py): that reads the settings and the state, and tries the models, with the new code.

All that this software knows of the other is that command: it ends with code 0 and the word TAKES_OVER,
or says in its last line why not.
"""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Final

from edge.adapters.child_trial import VerdictChild, stand_back
from edge.adapters.environments import Environments
from edge.adapters.software_store import SoftwareStore
from edge.adapters.trial_worker import FROM_OUTSIDE, signal_name
from edge.download import NoSpaceError
from edge.golden import Verdict
from edge.selfupdate.takeover import TAKES_OVER
from edge.trial import refusal
from launcher.launch import command, environment_of
from wire.adapters.processes import tied
from wire.codec import decode, encode
from wire.deadline import Deadline
from wire.errors import EdgeflockError, ModelError
from wire.manifest import Manifest
from wire.software import inspect

#: For all of it, from the child's first line on: less than what the agent waits (edge/lifecycle.py), which
#: would hold the time of a busy board against the release.
_WALL_S: Final = 90.0
_LONGEST_REASON: Final = 400
#: Behind the models, yet not last: it compiles a few hundred files, and a busy board would never end it.
_NICE: Final = 10
_MODULE: Final = "edge.adapters.software_trial"


class SoftwareTrial(VerdictChild):
    """Trials of software for the agent with these settings."""

    def __init__(self, store: SoftwareStore, settings: Path) -> None:
        super().__init__()
        self._store = store
        self._settings = settings

    def start(self, bundle: Path, *, serving: Path | None = None, signed: Manifest | None = None) -> None:  # noqa: ARG002  # the port's: software has no callers
        """Begin to try a release; raises OSError where there is no room for its environment."""
        assert signed is not None, "a release without a manifest"
        try:
            self._store.check_room(bundle.stat().st_size)
        except NoSpaceError as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        folder = self._store.environments.folder
        self.begin(_MODULE, str(bundle), str(folder), str(self._settings), encode(signed).decode())


def try_here(release: Path, environments: Environments, settings: str, signed: Manifest) -> Verdict:
    """Make the environment of a release and ask its software to take over; what fails leaves nothing."""
    deadline = Deadline.after(_WALL_S)
    try:
        with release.open("rb") as file:
            if inspect(file, name="the release") != signed:
                raise ModelError("its manifest is not the one that was signed for it")
        place = environments.build(release, release.stem)
    except EdgeflockError as error:
        return refusal(error)
    except OSError as error:  # the disk's fault, and no word about the release
        return Verdict(False, f"its environment: {error.strerror or error}", conclusive=False)
    return _asked(place, release.stem, settings, deadline)


def _asked(place: Path, sha256: str, settings: str, deadline: Deadline) -> Verdict:
    try:
        done = subprocess.run(
            tied(command("--trial", settings), how="KILL"),
            env=_quiet(environment_of(place, sha256)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline.left_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        late = f"did not say within {_WALL_S:.0f} s that it can take over"
        return Verdict(False, late, conclusive=False)  # a busy board: again, with what is compiled already
    if done.returncode < 0:
        number = -done.returncode
        return Verdict(
            False, f"its trial was ended by {signal_name(number)}", conclusive=number not in FROM_OUTSIDE
        )
    said = _last_line(done.stdout if done.returncode == 0 else done.stderr)
    if done.returncode == 0 and said.startswith(TAKES_OVER):
        return Verdict(True, said)
    return Verdict(False, f"cannot take over: {said or f'ended with code {done.returncode}'}")


def _quiet(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which a child cannot speak to the service manager in our name."""
    return {k: v for k, v in environment.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    text = lines[-1].removeprefix("edgeflock: ") if lines else ""
    return "".join(char if char.isprintable() else " " for char in text)[:_LONGEST_REASON]


def main(arguments: list[str]) -> int:
    """Be the child."""
    stand_back(_NICE)
    release, environments, settings, signed = arguments
    verdict = try_here(
        Path(release), Environments(Path(environments)), settings, decode(Manifest, signed.encode())
    )
    sys.stdout.buffer.write(encode(verdict))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
