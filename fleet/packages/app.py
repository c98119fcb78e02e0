"""Make what a device without a network installs. One thread, the caller's; pip and dpkg-deb as children.

What is fetched lies in a work folder beside the result, and a form of the package replaces the one that
was there only when it is whole.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.specifiers import SpecifierSet

from fleet.packages import debian, resolve
from fleet.packages.adapters import dpkg, pip, tree
from fleet.packages.resolve import Distribution, Wanted
from fleet.provision import templates
from wire.adapters.files import write_atomic

#: Where there are both, the sums of this folder name the package, and those of `wheels` the wheels.
SUMS: Final = "SHA256SUMS"


@dataclass(frozen=True)
class Deb:
    """A Debian package that was made."""

    path: Path
    packed_bytes: int
    #: What it takes on the device.
    installed_bytes: int
    #: Whether it brings byte code; if not, the device makes it when it is installed.
    compiled: bool


@dataclass(frozen=True)
class Wheels:
    """The wheels of a system in a folder of their own, our own among them."""

    folder: Path
    paths: tuple[Path, ...]

    @property
    def total_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)


@contextmanager
def fetched(
    wanted: Wanted, version: str, out: Path, pins: Mapping[str, SpecifierSet], own: Path | None = None
) -> Iterator[Wheels]:
    """Fetch all that `wanted` needs, for the time of a `with`; `own` is our wheel if there is one already.

    Raises UnavailableError where the index is not there or has no wheel that fits.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as work:
        folder = Path(work) / "wheels"
        folder.mkdir()
        ours = pip.own_wheel(version, folder) if own is None else Path(shutil.copy(own, folder))
        paths = {"edgeflock": ours}
        root = pip.read_wheel(ours)
        resolve.check_extras(wanted, root)
        held: dict[str, Distribution] = {}
        while missing := resolve.lacking(wanted, root, held):
            for name in missing.keys() & paths.keys():  # of a version that somebody else refuses
                paths.pop(name).unlink()
            agreed = {
                name: (versions & pins.get(name, SpecifierSet()), extras)
                for name, (versions, extras) in missing.items()
            }
            for path in pip.download(wanted.target, agreed, folder):
                found = pip.read_wheel(path)
                held[found.name], paths[found.name] = found, path
        yield Wheels(folder, tuple(sorted(paths.values())))


def keep_wheels(wheels: Wheels, out: Path) -> Wheels:
    """Put the wheels into `out/wheels` with their sums, in the place of those that were there."""
    folder = out / "wheels"
    write_atomic(wheels.folder / SUMS, _sums(wheels.paths))
    if folder.exists():
        shutil.rmtree(folder)
    shutil.move(wheels.folder, folder)
    return Wheels(folder, tuple(folder / path.name for path in wheels.paths))


def make_deb(
    wheels: Wheels, wanted: Wanted, version: str, out: Path, *, compression: str = "xz", epoch: int = 0
) -> Deb:
    """Make the Debian package of `wheels` in `out`, in the place of any that was there."""
    target = wanted.target
    with tempfile.TemporaryDirectory(dir=wheels.folder.parent) as work:
        root = Path(work) / "root"
        for wheel in wheels.paths:
            tree.unpack(wheel, root, target)
        tree.write(root, debian.files(target), debian.links())
        tree.copy_units(templates.locate() / "systemd", root)
        compiled = tree.compile_for(root, target)
        contents = dict(tree.contents(root))
        size = sum(map(len, contents.values()))
        about = {
            "control": debian.control(version, target, installed_bytes=size, backend=wanted.backend),
            "md5sums": debian.md5sums(contents),
        }
        told = {PurePosixPath("DEBIAN", name): debian.Script(text) for name, text in about.items()}
        told |= {
            PurePosixPath("DEBIAN", name): debian.Script(text, executable=True)
            for name, text in debian.scripts(version, target).items()
        }
        tree.write(root, told, {})
        tree.settle(root, epoch)
        deb = out / debian.deb_name(version, target)
        dpkg.build(root, deb, compression=compression, epoch=epoch)
    for older in set(out.glob("edgeflock_*.deb")) - {deb}:
        older.unlink()
    write_atomic(out / SUMS, _sums((deb,)))
    return Deb(deb, deb.stat().st_size, size, compiled)


def _sums(paths: tuple[Path, ...]) -> bytes:
    """Return what `sha256sum --check` reads."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)
    return "".join(lines).encode()
