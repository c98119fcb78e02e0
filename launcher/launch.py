"""`edgeflock agent` before it is one: goes on as the software that should run, in the same process.

The process keeps its id, so a service manager that watches it sees one service: exec replaces what runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tomllib
from pathlib import Path
from typing import Final, NoReturn

from launcher.choosing import Choice, Named, Starts, choose
from launcher.disk import Disk
from wire.adapters.files import only_owner

#: In the environment of what was launched: its digest; where the factory's packages lie; its own PYTHONPATH.
RUNNING: Final = "EDGEFLOCK_SOFTWARE"
_FACTORY: Final = "EDGEFLOCK_FACTORY"
_OUTSIDE: Final = "EDGEFLOCK_OUTSIDE"
#: Set for what was launched on probation.
_PROBATION: Final = "EDGEFLOCK_PROBATION"

#: Software on probation that has not ended it by then is ended (SIGALRM outlives exec): nobody else may
#: notice a control thread that hangs. Longer than a probation takes (edge/selfupdate/health.py).
ALARM_S: Final = 900

#: Where the state lies if the settings do not say (edge/settings.py).
_STATE: Final = "/var/lib/edgeflock"
_ROOT: Final = Path(__file__).resolve().parents[1]


def launch(arguments: list[str]) -> None:
    """Go on as the software that the state folder names; return where that is what runs already.

    `arguments` are those of `edgeflock agent`. Raises UnavailableError when an agent works there already.
    """
    if RUNNING in os.environ:
        return
    signal.alarm(0)
    asked = _asked(arguments)
    if asked.trial:  # it is asked of this software, and starts nothing
        return
    state = _state(asked.settings) if asked.settings else None
    if state is None or not Disk(state).folder.is_dir():
        return
    disk = Disk(state)
    if asked.check:
        choice = choose(disk.named(), Starts(), disk.intact)
    else:
        with only_owner(state / "lock", "agent"):
            choice = _choose(disk)
    if choice.slot is not None:
        on_probation = choice.on_probation and not asked.check
        if on_probation:
            signal.alarm(ALARM_S)
        try:
            _become(disk, choice.slot.sha256, arguments, on_probation=on_probation)
        except OSError as error:  # no Python here, no memory: then as the factory's software
            print(f"edgeflock: {choice.slot.release} cannot be started: {error}", file=sys.stderr)
        signal.alarm(0)


def relaunch(arguments: list[str]) -> NoReturn:
    """Begin anew, in the same process, as if just started with these arguments. Raises OSError.

    Nothing may be open that must be closed: threads and files end here.
    """
    ours = (RUNNING, _FACTORY, _OUTSIDE, _PROBATION)
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    outside = os.environ.get(_OUTSIDE, os.environ.get("PYTHONPATH", ""))
    factory = os.environ.get(_FACTORY, str(_ROOT))
    _exec(environment | {"PYTHONPATH": _joined(factory, outside)}, arguments)


def disarm() -> None:
    """What runs is healthy: let it run."""
    signal.alarm(0)


def running() -> str | None:
    """Return the digest of the software that runs; None for the factory's."""
    return os.environ.get(RUNNING)


def on_probation() -> bool:
    """Return whether what runs was on probation when it was started."""
    return _PROBATION in os.environ


def environment_of(folder: Path, sha256: str) -> dict[str, str]:
    """Return the environment variables in which a child is the software in `folder`."""
    outside = os.environ.get(_OUTSIDE, os.environ.get("PYTHONPATH", ""))
    return os.environ | {
        RUNNING: sha256,
        _FACTORY: os.environ.get(_FACTORY, str(_ROOT)),
        _OUTSIDE: outside,
        "PYTHONPATH": _joined(str(folder), outside),
    }


def command(*arguments: str) -> list[str]:
    """Return the command that is `edgeflock agent`. -P: nothing of the current folder is imported."""
    return [sys.executable, "-P", "-m", "edgeflock", "agent", *arguments]


def _choose(disk: Disk) -> Choice:
    """Choose, and count the start before it is made."""
    named = disk.named()
    choice = choose(named, disk.starts(), disk.intact)
    try:
        if choice.slot is not None:
            disk.keep(choice.starts)
    except OSError:  # a full disk: what is on probation is not started uncounted
        if choice.on_probation:
            return choose(Named(named.previous), Starts(), disk.intact)
    return choice


def _become(disk: Disk, sha256: str, arguments: list[str], *, on_probation: bool) -> None:
    probation = {_PROBATION: "1"} if on_probation else {}
    _exec(environment_of(disk.environment(sha256), sha256) | probation, arguments)


def _exec(environment: dict[str, str], arguments: list[str]) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.execve(sys.executable, command(*arguments), environment)  # noqa: S606  # no shell: that is the point


def _joined(*paths: str) -> str:
    return os.pathsep.join(filter(None, paths))


def _asked(arguments: list[str]) -> argparse.Namespace:
    """Return the settings file and whether no start is asked for; the agent's parser refuses the rest."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("settings", nargs="?")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--trial", action="store_true")
    parser.add_argument("--log-level")
    try:
        asked, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return argparse.Namespace(settings=None, check=False, trial=False)
    return asked


def _state(settings: str) -> Path | None:
    """Return the state folder that a settings file names; None where it cannot be read, as the agent says."""
    try:
        device = tomllib.loads(Path(settings).read_text(encoding="utf-8")).get("device", {})
        return Path(device.get("state", _STATE))
    except (OSError, ValueError, AttributeError, TypeError):
        return None
