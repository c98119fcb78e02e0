"""An environment of its own for PyTorch: it takes other versions of packages than TensorFlow does.

- Made with venv and pip on first use, in the user's cache folder; pip's own settings apply (an index of
  CPU-only builds saves gigabytes).
- Made aside and renamed when it is whole: what has the name works. A lock keeps two from making one.
- Its name holds a digest of what is in it: another version of ours may want others.
- Where the running Python has both packages already, it is used instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wire.adapters.processes import tied
from wire.errors import UnavailableError

PINS: Final = ("torch==2.13.0", "litert-torch==0.10.0")
_MODULES: Final = ("torch", "litert_torch")
_TIME_LIMIT_S: Final = 3600.0


def torch_python(say: Callable[[str], None]) -> Path:
    """Return a Python that has PyTorch and litert-torch; make its environment when there is none yet.

    `say` is told a line before minutes are spent. Raises UnavailableError when it cannot be made.
    """
    if all(importlib.util.find_spec(module) for module in _MODULES):
        return Path(sys.executable)
    folder = environment_folder(PINS)
    python = folder / "bin" / "python"
    if not python.exists():
        try:
            with _locked(folder.with_suffix(".lock")):
                if not python.exists():
                    say(f"making an environment for PyTorch in {folder}: once, minutes and gigabytes")
                    make_environment(folder, PINS)
        except OSError as error:
            raise UnavailableError(f"an environment for PyTorch in {folder}: {error.strerror}") from error
    return python


def environment_folder(pins: tuple[str, ...]) -> Path:
    """Return where the environment with these packages is, for this Python, made or not."""
    version = "{}.{}".format(*sys.version_info)
    digest = hashlib.sha256("\n".join((version, *pins)).encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "edgeflock" / f"torch-{digest}"


def make_environment(folder: Path, pins: tuple[str, ...]) -> None:
    """Make a virtual environment with `pins` at `folder`, wholly or not at all; raise UnavailableError."""
    aside = folder.with_suffix(".making")
    shutil.rmtree(aside, ignore_errors=True)  # what an interrupted run left
    try:
        _run([sys.executable, "-m", "venv", str(aside)])
        _run([str(aside / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *pins])
        aside.rename(folder)
    except BaseException:  # an interrupt too: gigabytes are not left behind
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        subprocess.run(
            tied(command, "KILL"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_TIME_LIMIT_S,
            env=environment,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"PyTorch could not be installed within {_TIME_LIMIT_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        marked = [line for line in lines if line.startswith("ERROR")]
        reason = (marked or lines or [f"code {error.returncode}"])[-1]
        raise UnavailableError(f"PyTorch could not be installed: {reason.strip()[:300]}") from error
