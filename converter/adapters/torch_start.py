"""Starts `torch_child` in PyTorch's environment: `python -m converter.adapters.torch_start FOLDER PYTHON …`.

It becomes that process. Of ours it takes along what needs numpy alone, as copies: were our whole
environment on the path, PyTorch's packages would find others' versions there.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_CHILD: Final = "converter.adapters.torch_child"


def main(arguments: list[str]) -> None:
    """Become the child, with the same folder and function."""
    folder, python, function = arguments
    packages = Path(folder) / "packages"
    for name in ("converter", "wire"):
        shutil.copytree(_ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(packages)}
    os.execve(python, [python, "-P", "-m", _CHILD, folder, function], environment)  # noqa: S606  # no shell: fixed words


if __name__ == "__main__":
    main(sys.argv[1:])
