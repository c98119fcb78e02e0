"""The systems that packages are made for, and which TFLite interpreter each gets.

- The default is what `pip install 'edgeflock[edge]'` brings. Where there is a choice, tflite-runtime gives a
  smaller package, that runs int8 models without the fast kernels.
- What has no wheel for a system comes from its distribution, and is then named in the package's Depends.
- A system that no interpreter has wheels for is refused here, in a line, and not by pip after a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wire.errors import SettingsError

TFLITE_RUNTIME: Final = "tflite-runtime"
LITERT: Final = "ai-edge-litert"


@dataclass(frozen=True)
class Target:
    """One kind of system, as Debian, Python and pip call it."""

    #: Debian's code name and number, which Raspberry Pi OS shares.
    suite: str
    release: int
    #: Debian's name of the architecture, and the kernel's.
    architecture: str
    machine: str
    #: Version of the system's Python: wheels and byte code are for this one only.
    python: tuple[int, int]
    #: Minor version of the C library (2.x): the newest `manylinux` whose wheels run.
    glibc: int
    #: Interpreters with wheels for it, the default first.
    backends: tuple[str, ...]
    #: Distributions that Debian provides: name -> (package, version).
    provided: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.architecture}"

    @property
    def python_name(self) -> str:
        return "{}.{}".format(*self.python)

    @property
    def platforms(self) -> tuple[str, ...]:
        """pip's names of what runs there, the newest first."""
        return (
            *(f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, 16, -1)),
            f"manylinux2014_{self.machine}",
        )

    @property
    def environment(self) -> dict[str, str]:
        """What markers see there (PEP 508); pip itself evaluates them for the machine that it runs on."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python_name}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python_name}.0",
            "python_version": self.python_name,
            "sys_platform": "linux",
        }


_BOOKWORM: Final = ("bookworm", 12)
_TRIXIE: Final = ("trixie", 13)
_OF_DEBIAN_12: Final = {
    "numpy": ("python3-numpy", "1.24.2"),
    "psutil": ("python3-psutil", "5.9.4"),
    "cryptography": ("python3-cryptography", "38.0.4"),
}

TARGETS: Final = {
    target.name: target
    for target in (
        Target(*_BOOKWORM, "arm64", "aarch64", (3, 11), 36, (LITERT, TFLITE_RUNTIME)),
        Target(*_BOOKWORM, "armhf", "armv7l", (3, 11), 36, (TFLITE_RUNTIME,), _OF_DEBIAN_12),
        Target(*_TRIXIE, "arm64", "aarch64", (3, 13), 41, (LITERT,)),
    )
}
_UNSUPPORTED: Final = {
    "trixie-armhf": "no TFLite interpreter has wheels for 32-bit Python 3.13; use the 64-bit system, "
    "or bookworm-armhf"
}


def find(name: str) -> Target:
    """Return the target `name`; raise SettingsError for one that there is not."""
    if name in _UNSUPPORTED:
        raise SettingsError(f"target {name}: {_UNSUPPORTED[name]}")
    if name not in TARGETS:
        raise SettingsError(f"target {name!r}: choose {', '.join(TARGETS)}")
    return TARGETS[name]


def choose_backend(target: Target, backend: str | None) -> str:
    """Return the interpreter that the package gets; raise SettingsError for one without wheels there."""
    if backend is None:
        return target.backends[0]
    if backend not in target.backends:
        raise SettingsError(
            f"{backend!r} has no wheel for {target.name}: choose {' or '.join(target.backends)}"
        )
    return backend
