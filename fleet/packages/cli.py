"""The `package` command: packages for devices without a network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.packages import resolve
from fleet.packages.app import Deb, Wheels, fetched, keep_wheels, make_deb
from fleet.packages.resolve import Wanted
from fleet.packages.targets import LITERT, TARGETS, TFLITE_RUNTIME, choose_backend, find
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COMPRESSIONS: Final = ("xz", "zstd", "gzip", "none")
#: The earliest time that a zip can tell; for the same bytes whenever a package is made.
_EPOCH_S: Final = 315532800

_EPILOG: Final = f"""\
example:
  edgeflock package --target trixie-arm64 --out packages     # current Raspberry Pi OS, 64-bit
  edgeflock flash --packages packages/trixie-arm64 ...       # onto the card of a device
  sudo apt-get install ./edgeflock_*.deb                     # or by hand, on the device

Each target gets a folder: a Debian package, which needs only the system's Python, and the same as wheels.
Made with pip and dpkg-deb on any machine; nothing of the target is run. It needs the package index, the
device does not. Targets: {", ".join(TARGETS)}.

On bookworm-arm64, --backend {TFLITE_RUNTIME} makes a smaller package. It is the last release, of 2023: it
runs int8 models without the fast kernels, and refuses models with newer operators. Elsewhere there is no
choice: 32-bit systems have {TFLITE_RUNTIME}, Python 3.13 has {LITERT}.
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:
    """Add `package` to the command line."""
    parser = commands.add_parser(
        "package",
        help="make what devices without a network install",
        description="Make a Debian package and a folder of wheels for devices without a network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--target", action="append", required=True, metavar="T", help="the system; may be repeated"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("packages"),
        metavar="DIR",
        help="gets a folder T (./packages)",
    )
    parser.add_argument("--deb", action="store_true", help="only the Debian package")
    parser.add_argument("--wheels", action="store_true", help="only the wheels")
    parser.add_argument("--backend", metavar="B", help="its interpreter, where there are two")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="E",
        help="of edgeflock, such as serve; again for more",
    )
    parser.add_argument("--constraint", type=Path, metavar="FILE", help="versions to take, as pip reads them")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="edgeflock's own (default: built here)")
    parser.add_argument(
        "--compress", choices=_COMPRESSIONS, default="xz", help="the package (default: xz, small and slow)"
    )
    parser.set_defaults(run=run, version_made=version)


def run(args: argparse.Namespace) -> int:
    """Make the packages, and tell what they weigh."""
    wanted = [_wanted(name, args) for name in dict.fromkeys(args.target)]
    lines = _lines(args.constraint) if args.constraint else []
    for each in wanted:
        _make(each, lines, args)
    return 0


def _make(wanted: Wanted, constraints: list[str], args: argparse.Namespace) -> None:
    target, out = wanted.target, args.out / wanted.target.name
    pins = resolve.pins(constraints, target)
    both = args.deb == args.wheels
    with fetched(wanted, args.version_made, out, pins, args.wheel) as wheels:
        if both or args.deb:
            deb = make_deb(
                wheels, wanted, args.version_made, out, compression=args.compress, epoch=_epoch_s()
            )
            print(_tell_deb(wanted, deb), flush=True)
        if both or args.wheels:
            print(_tell_wheels(keep_wheels(wheels, out)), flush=True)
    if target.provided:
        packages = ", ".join(package for package, _ in target.provided.values())
        print(f"note: {target.name} takes {packages} from Debian: on the image, or over a network once")


def _wanted(name: str, args: argparse.Namespace) -> Wanted:
    target = find(name)
    return Wanted(target, choose_backend(target, args.backend), ("edge", *args.extra))


def _tell_deb(wanted: Wanted, deb: Deb) -> str:
    later = "" if deb.compiled else "; the device compiles it once"
    return (
        f"{deb.path}: {_mb(deb.packed_bytes)}, {_mb(deb.installed_bytes)} on the device, "
        f"with {wanted.backend}{later}"
    )


def _tell_wheels(wheels: Wheels) -> str:
    return f"{wheels.folder}: {len(wheels.paths)} wheels, {_mb(wheels.total_bytes)}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--constraint {path}: {error}") from error


def _epoch_s() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", str(_EPOCH_S))
    if not text.isdecimal():
        raise SettingsError(f"SOURCE_DATE_EPOCH {text!r}: needs seconds since 1970")
    return int(text)
