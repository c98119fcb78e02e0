"""`edgeflock fleet alerts`: what stands, and taking note of it; and what `serve` is told about alerts."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from fleet.adapters.alert_book import AlertBook
from fleet.adapters.alert_webhook import WebhookSettings, check_url, read_secret
from fleet.adapters.audit_log import AuditLog, login_name
from fleet.adapters.database import Database
from fleet.adapters.terminal import keep_showing, make_console
from fleet.alert_messages import as_json
from fleet.alerts import Alert
from fleet.plain_text import printable
from fleet.rollout_cli import AddPart
from wire.errors import SettingsError

_REFRESH_S: Final = 1.0

_ALERTS_HELP = """\
Shows the alerts that stand: what `fleet serve` found for long enough (docs/reference/metrics.md says what and
how long). --ack says that a person knows; the alert stays until its cause is gone, and opens again when
another device joins it. Ends with 0 whatever it shows.

example:
    edgeflock fleet alerts --watch
    edgeflock fleet alerts --ack device-silent
    edgeflock fleet alerts --json | jq -r '.[] | select(.severity == "critical") | .text'
"""


def add_alerts(add_part: AddPart) -> None:
    """Add the subcommand."""
    alerts = add_part("alerts", "show what needs a person, and take note of it", _ALERTS_HELP, _run_alerts)
    look = alerts.add_mutually_exclusive_group()
    look.add_argument("--watch", action="store_true", help="keep showing, until Ctrl-C")
    look.add_argument("--json", action="store_true", help="print JSON")
    look.add_argument("--ack", metavar="KEY", help="take note of the alert with this key")


def add_alert_options(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` is told about alerts."""
    parser.add_argument("--alert-webhook", metavar="URL", help="post what changes of alerts there, as JSON")
    parser.add_argument("--alert-secret-file", type=Path, metavar="FILE", help="sign these posts with it")


def alert_settings(arguments: argparse.Namespace) -> WebhookSettings | None:
    """Return the webhook that the options name, if any; raise SettingsError for what cannot be."""
    if arguments.alert_webhook is None:
        if arguments.alert_secret_file is not None:
            raise SettingsError("--alert-secret-file signs posts: give --alert-webhook too")
        return None
    url = check_url(arguments.alert_webhook)
    return WebhookSettings(
        url, read_secret(arguments.alert_secret_file) if arguments.alert_secret_file else b""
    )


def _run_alerts(arguments: argparse.Namespace) -> int:
    database = Database(arguments.state).open(create=False)
    try:
        book = AlertBook(database)
        if arguments.ack is not None:
            with database.transaction():
                _acknowledge(book, arguments.ack)
                AuditLog(database).add_command("note alert", [arguments.ack])
            print(f"{arguments.ack}: noted")
            return 0
        if arguments.json:
            print(json.dumps([as_json(alert) for alert in book.standing().values()], indent=2))
            return 0
        console = make_console()
        if not arguments.watch:
            found = book.standing()
            console.print(_table(found) if found else "no alert stands")
            return 0
        return keep_showing(console, lambda: _table(book.standing()), _REFRESH_S)
    finally:
        database.close()


def _acknowledge(book: AlertBook, key: str) -> None:
    if not book.acknowledge(key, login_name(), time.time()):
        stands = ", ".join(book.standing()) or "none"
        raise SettingsError(f"no alert {key!r} stands: {stands}")


def _table(alerts: dict[str, Alert]) -> Table:
    """Return the alerts, critical ones first. What devices said is text, never markup."""
    table = Table("alert", "since", "what", "noted by", header_style="bold")
    for alert in sorted(alerts.values(), key=lambda a: (a.severity != "critical", a.raised_s)):
        style = "red" if alert.severity == "critical" and alert.acknowledged_by is None else ""
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(alert.raised_s))
        key, text = printable(alert.key), printable(alert.text)
        table.add_row(Text(key, style), since, Text(text), Text(alert.acknowledged_by or ""))
    return table
