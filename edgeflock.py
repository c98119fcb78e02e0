"""The one command: finds the subcommand, imports its package, prints errors as one line.

A subcommand's package is imported only when it is asked for: `edgeflock agent` on a device must not
need TensorFlow, and `edgeflock --help` nothing at all.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from contextlib import suppress
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
    "package": ("fleet.packages.cli", "fleet", "make what devices without a network install"),
    "demo": ("demo.cli", "demo", "see the whole system work on this machine"),
}

_EXAMPLES: Final = """\
example:
    edgeflock convert model.keras --data train.npz --out model.bundle
    edgeflock fleet init --plain && edgeflock fleet serve &
    edgeflock agent device.toml &
    edgeflock fleet push model.bundle
"""

#: What a shell calls "killed by SIGINT".
_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _fill_closed_streams()
        if arguments[:1] == ["agent"]:  # software that came over the network may take the place of this one
            importlib.import_module("launcher.launch").launch(arguments[1:])
        parsed = _make_parser(arguments).parse_args(arguments)
        code = int(parsed.run(parsed))
        _flush()
        return code
    except EdgeflockError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        with suppress(OSError):
            _flush()
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        _say(f"{error.filename or 'input/output'}: {error.strerror or error}")
        with suppress(OSError):
            _flush()
        return 1


def _fill_closed_streams() -> None:
    """Open nothing in place of a closed standard stream: a file opened as 2 would get TFLite's log."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the lowest number that is free is the next one opened
            os.open(os.devnull, os.O_RDWR)


def _flush() -> None:
    """Write what is left of standard output; what it does not take is dropped, or Python's end fails too."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        error.filename = "standard output"
        raise


def _say(text: str) -> None:
    if sys.stderr is not None:  # print would take standard output for a closed one
        with suppress(OSError):
            print(f"edgeflock: {text}", file=sys.stderr)


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
        _say(f"this command needs {needs!r}: pip install 'edgeflock[{extra}]'")
        raise SystemExit(1) from error


if __name__ == "__main__":
    sys.exit(main())
