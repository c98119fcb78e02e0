"""pip, for looking up wheels of another system and for building our own. Nothing of them is run."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.specifiers import SpecifierSet

from fleet.packages.resolve import Distribution
from fleet.packages.targets import Target
from wire.errors import UnavailableError

#: Not copied when our own wheel is built; `build/` above all, which setuptools takes for source.
_NOT_SOURCE = (
    ".*",
    "__pycache__",
    "build",
    "dist",
    "tests",
    "benchmarks",
    "docs",
    "node_modules",
    "*.egg-info",
)


def read_wheel(path: Path) -> Distribution:
    """Return what a wheel says of itself."""
    try:
        with zipfile.ZipFile(path) as wheel:
            (name,) = (n for n in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            message = email.message_from_bytes(wheel.read(name))
            if not (message["Name"] and message["Version"]):
                raise ValueError(f"{name} names no distribution")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UnavailableError(f"{path} is not a wheel: {error}") from error
    name = re.sub(r"[-_.]+", "-", message["Name"]).lower()
    requires, extras = (tuple(message.get_all(key) or ()) for key in ("Requires-Dist", "Provides-Extra"))
    return Distribution(name, message["Version"], requires, extras)


def download(
    target: Target, wanted: Mapping[str, tuple[SpecifierSet, frozenset[str]]], folder: Path
) -> list[Path]:
    """Download one wheel for each of `wanted` into `folder`, without what they need; return them."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", target.python_name]
    options += [f"--platform={platform}" for platform in target.platforms]
    # abi3 and none: extensions for any Python 3, and wheels of Python alone.
    abis = ("cp{}{}".format(*target.python), "abi3", "none")
    options += ["--implementation", "cp", *(f"--abi={abi}" for abi in abis)]
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        named = [f"{name}{versions}" for name, (versions, _) in wanted.items()]
        _pip(
            "download", *options, "--dest", fresh, *named, about=f"{target.name}: {', '.join(sorted(wanted))}"
        )
        return [path.rename(folder / path.name) for path in sorted(Path(fresh).iterdir())]


def own_wheel(version: str, folder: Path) -> Path:
    """Put our own wheel into `folder`: built from the checkout, or where there is none from the index."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "setup.cfg").is_file():
        _pip("download", "--no-deps", "--dest", str(folder), f"edgeflock=={version}", about="edgeflock")
    else:
        with tempfile.TemporaryDirectory() as copy:
            source = Path(copy) / "edgeflock"
            shutil.copytree(checkout, source, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
            _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source), about="edgeflock")
    (path,) = folder.glob("edgeflock-*.whl")
    return path


def _pip(command: str, *arguments: str, about: str) -> None:
    pip = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise UnavailableError(f"pip {command} ({about}): {_reason(done.stderr.splitlines())}")


def _reason(lines: Iterable[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return errors[-1] if errors else "no reason given"
