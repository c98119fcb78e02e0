"""The list of a fleet to be flashed: a CSV of a spreadsheet, or TOML; a row, or a table, is a device.

Rules:
- a mistake is one line with its row. Nothing is flashed of a list that has one;
- what a row leaves out is as on the command line; so a list of serial numbers is a list;
- a device without an id is called by its board (`pi-<serial>`) or its slot;
- tolerated is what spreadsheets do: a byte order mark, CRLF, semicolons or tabs, empty rows at the end.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fleet.provision.card import DeviceCard
from wire.board_name import check_serial, has_serial, with_serial
from wire.errors import SettingsError

#: What a column, or a key in TOML, is called.
COLUMNS: Final = (
    "serial", "slot", "id", "host", "site", "tags", "model", "broker", "port", "ssh_key",
    "wifi_ssid", "wifi_password", "wifi_password_file", "wifi_country", "claim", "claim_file",
)  # fmt: skip
_BY_BOARD: Final = "pi-{serial}"
_SLOT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_KEY: Final = re.compile(r"(ssh|ecdsa|sk)-")


@dataclass(frozen=True)
class Entry:
    """One device of the list. `where` names its row in messages; `named` is whether the list gives its id."""

    card: DeviceCard
    serial: str | None = None
    slot: str | None = None
    where: str = ""
    named: bool = True


def read_fleet(path: Path, defaults: DeviceCard | None = None, *, mints: bool = False) -> list[Entry]:
    """Return the devices in the list at `path`; raise SettingsError, with the row, for one that cannot be.

    `defaults` has what rows leave out; a name with `{serial}` in it is the pattern of names. With `mints`
    a claim token that is not there will be made.
    """
    read = _Files(path.parent)
    entries = []
    for where, row in _rows(path):
        try:
            entries.append(_entry(row, defaults, where, read, mints=mints))
        except SettingsError as error:
            raise SettingsError(f"{path} {where}: {error}") from error
    if not entries:
        raise SettingsError(f"{path}: there is no device in it")
    check_unlike(entries, str(path))
    return entries


def check_unlike(entries: list[Entry], origin: str) -> None:
    """Raise SettingsError where two entries share what only one device may have."""
    seen: dict[tuple[str, str], str] = {}
    for entry in entries:
        marks = {"id": entry.card.name, "serial": entry.serial, "slot": entry.slot}
        if not has_serial(entry.card.name):
            marks["host name"] = entry.card.hostname
        for kind, value in marks.items():
            if value is None:
                continue
            earlier = seen.setdefault((kind, value), entry.where)
            if earlier != entry.where:
                raise SettingsError(f"{origin} {entry.where}: {kind} {value!r} is in {earlier} too")


class _Files:
    """Files that rows name, below the list's own folder; each is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: dict[str, str] = {}

    def first_line(self, name: str) -> str:
        if name not in self._lines:
            try:
                text = (self._folder / Path(name).expanduser()).read_text(encoding="utf-8")
            except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, ~nobody/
                raise SettingsError(f"{name!r}: {error}") from error
            self._lines[name] = text.splitlines()[0] if text.strip() else ""
        return self._lines[name]


_Row = Mapping[str, str | tuple[str, ...]]


def _rows(path: Path) -> Iterator[tuple[str, _Row]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text; save it as 'CSV UTF-8'") from error
    return _toml_rows(path, text) if path.suffix == ".toml" else _csv_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, _Row]]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        header = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in next(reader, [])]
        _check_columns(path, header)
        for cells in reader:
            where = f"row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise SettingsError(f"{path} {where}: {len(cells)} values for {len(header)} columns")
            yield where, dict(zip(header, map(str.strip, cells), strict=False))
    except csv.Error as error:
        raise SettingsError(f"{path} row {reader.line_num}: {error}") from error


def _check_columns(path: Path, header: list[str]) -> None:
    if not any(header):
        raise SettingsError(f"{path}: it is empty; its first row must name columns such as serial,id,site")
    for name in header:
        _check_known(str(path), "column", name)
        if header.count(name) > 1:
            raise SettingsError(f"{path}: column {name!r} is there twice")


def _check_known(origin: str, kind: str, name: str) -> None:
    if name in COLUMNS:
        return
    close = difflib.get_close_matches(name, COLUMNS, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(COLUMNS)}"
    raise SettingsError(f"{origin}: unknown {kind} {name!r}; {hint}")


def _toml_rows(path: Path, text: str) -> Iterator[tuple[str, _Row]]:
    """One device at the top, or what all share there and each in a `[[device]]`."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # Python itself refuses numbers of too many digits
        raise SettingsError(f"{path} is not TOML: {error}") from error
    tables = raw.pop("device", [{}] if raw else [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f"{path}: devices are written as [[device]], a table each")
    for number, table in enumerate(tables, 1):
        where = f"device {number}"
        for name in raw | table:
            _check_known(f"{path} {where}", "key", name)
        yield where, {name: _told(path, where, name, value) for name, value in (raw | table).items()}


def _told(path: Path, where: str, name: str, value: Any) -> str | tuple[str, ...]:
    if name == "tags" and isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return tuple(value)
    if name == "port" and type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise SettingsError(f"{path} {where}: {name} must be text, not {value!r}")
    return value


def _entry(row: _Row, defaults: DeviceCard | None, where: str, read: _Files, *, mints: bool) -> Entry:
    given = {name: value for name, value in row.items() if value}
    text = {name: value for name, value in given.items() if isinstance(value, str)}
    serial = check_serial(text["serial"]) if "serial" in text else None
    slot = text.get("slot")
    if slot is not None and not _SLOT.fullmatch(slot):
        raise SettingsError(f"slot {slot!r}: use 1 to 64 characters")
    name = _name(text.get("id"), serial, slot, defaults)
    changes = {**_changes(text, read), "name": name}
    if tags := _tags(given):
        changes["tags"] = tags
    if defaults is None:
        if "broker_host" not in changes:
            raise SettingsError("there is no broker: give it a column, or --broker")
        card = DeviceCard(**{"model": "digits", **changes})
    else:
        card = replace(defaults, **changes)
    if card.broker_ca and not (card.claim_token or card.identity or mints):
        raise SettingsError("TLS needs a claim token: a column claim_file, or --state, which makes one")
    return Entry(card, serial, slot, where, named="id" in text)


def _name(given: str | None, serial: str | None, slot: str | None, defaults: DeviceCard | None) -> str:
    if given is None and serial is None:
        if slot is None:
            raise SettingsError("it needs an id, a serial or a slot")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", slot).strip("-")
    pattern = defaults.name if defaults and has_serial(defaults.name) else _BY_BOARD
    name = given or pattern
    return name if serial is None else with_serial(name, serial)


def _changes(text: Mapping[str, str], read: _Files) -> dict[str, Any]:
    """Return what a row says as fields of a card."""
    plain = {"host": "host", "model": "model", "broker": "broker_host", "claim": "claim_token"}
    plain |= {name: name for name in ("wifi_ssid", "wifi_password", "wifi_country")}
    files = {"wifi_password_file": "wifi_password", "claim_file": "claim_token"}
    changes: dict[str, Any] = {field: text[name] for name, field in plain.items() if name in text}
    changes |= {field: read.first_line(text[name]) for name, field in files.items() if name in text}
    if key := text.get("ssh_key"):
        changes["ssh_key"] = key if _KEY.match(key) else read.first_line(key)
    if port := text.get("port"):
        if not _PORT.fullmatch(port):
            raise SettingsError(f"port {port!r}: use 1 to 65535")
        changes["broker_port"] = int(port)
    return changes


def _tags(given: _Row) -> tuple[str, ...]:
    told = given.get("tags", ())
    tags = told if isinstance(told, tuple) else tuple(filter(None, re.split(r"[,;|\s]+", told)))
    return (f"site={given['site']}", *tags) if "site" in given else tags
