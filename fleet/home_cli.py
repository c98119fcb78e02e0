"""`--home-assistant` of `fleet init` and `fleet serve`."""

from __future__ import annotations

import argparse
from typing import Final

from fleet.adapters.broker_files import BrokerFiles
from fleet.home_topics import Home, check_home, check_rights
from wire.errors import SettingsError

_DEFAULT: Final = "homeassistant"


def add_home_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option; `what` it does."""
    parser.add_argument("--home-assistant", nargs="?", const=_DEFAULT, metavar="PREFIX", help=what)


def home_of(arguments: argparse.Namespace, fleet: str) -> Home | None:
    """Return where Home Assistant is told of the fleet with this prefix; None where it is not.

    Raises SettingsError for a prefix that cannot be, and where the server's own broker would refuse it.
    """
    if arguments.home_assistant is None:
        return None
    home, files = Home(check_home(arguments.home_assistant), fleet), BrokerFiles(arguments.state)
    if files.exist and not arguments.broker:
        path = files.folder / "acl.conf"
        try:
            acl = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        check_rights(acl, home.prefix, str(path))
    return home
