"""The one command: finds the subcommand, imports its package, prints errors as one line.

A subcommand's package is imported only when it is asked for: `edgeflock agent` on a device must not
need TensorFlow, and `edgeflock --help` nothing at all.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Final

from wire.errors import EdgeflockError

__version__ = "0.1.0"

#: Subcommand: (module with `add_parser`, extra that brings what it needs, one line of help).
COMMANDS: Final = {
    "convert": ("converter.cli", "converter", "make a small, proven bundle from a trained model"),
    "inspect": ("converter.inspect_cli", "converter", "show what is inside a bundle"),
    "run": (
        "edge.online.cli",
        "edge",
        "answer a stream of samples: lines, MQTT, a folder, a camera, a microphone",
    ),
    "batch": ("edge.batch.cli", "edge", "answer many files, and go on after an interruption"),
    "doctor": ("edge.checkup.cli", "edge", "say what this machine can do, and what slows it"),
    "agent": ("edge.cli", "edge", "run a model on this device"),
    "serve": ("edge.serve_cli", "serve", "serve models over HTTP on this machine"),
    "fleet": ("fleet.cli", "fleet", "serve, push to and watch a fleet"),
    "flash": ("fleet.provision.cli", "fleet", "prepare a boot partition for one device"),
    "demo": ("demo.cli", "demo", "see the whole system work on this machine"),
}

_EXAMPLES: Final = """\
example:
    edgeflock convert model.keras --data train.npz --out model.bundle
    edgeflock fleet serve &
    edgeflock agent device.toml &
    edgeflock fleet push model.bundle
"""

#: What a shell calls "killed by SIGINT".
_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _make_parser(arguments)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except EdgeflockError as error:
        print(f"edgeflock: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"edgeflock: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _make_parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgeflock",
        description="Train a Keras model, run it fast and for years on a fleet of small boards.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgeflock {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((a for a in arguments if not a.startswith("-")), None)
    for name, (module, extra, summary) in COMMANDS.items():
        if name == asked:
            _import(module, extra).add_parser(commands, __version__)
        else:
            commands.add_parser(name, help=summary)
    return parser


def _import(module: str, extra: str):  # type: ignore[no-untyped-def]  # a module
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        needs = (error.name or "").split(".")[0]
        print(f"edgeflock: this command needs {needs!r}: pip install 'edgeflock[{extra}]'", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    sys.exit(main())
