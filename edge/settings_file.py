"""Reads the agent's settings from a TOML file, once, and refuses it as a whole when a key is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from edge.settings import AgentSettings, BrokerSettings
from edge.settings_rules import check
from wire.board_name import has_serial, no_serial, with_serial
from wire.errors import SettingsError


def load(path: Path, read_serial: Callable[[], str] = no_serial) -> AgentSettings:
    """Read the TOML file at `path`; raise SettingsError, with the key, when it cannot be used.

    `read_serial` gives the board's serial number, and is asked only where the device is named by it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    settings = parse(_named(raw, read_serial), str(path))
    trust = settings.trust
    if trust.root:
        trust = replace(trust, root=str(path.parent / trust.root))
    return replace(settings, trust=trust, broker=_beside(settings.broker, path.parent))


def _named(raw: Mapping[str, Any], read_serial: Callable[[], str]) -> Mapping[str, Any]:
    """Return `raw` with the board's serial number in the device's name, where that asks for it."""
    device = raw.get("device")
    if not isinstance(device, dict):
        return raw
    name = device.get("name")
    if not isinstance(name, str) or not has_serial(name):
        return raw
    return {**raw, "device": {**device, "name": with_serial(name, read_serial())}}


def _beside(broker: BrokerSettings, folder: Path) -> BrokerSettings:
    """Return `broker` with its relative paths below `folder`: systemd hands files on in one of its own."""

    def place(path: str) -> str:
        return str(folder / path) if path else ""

    return replace(
        broker,
        ca=place(broker.ca),
        certificate=place(broker.certificate),
        key=place(broker.key),
        claim=place(broker.claim),
    )


def parse(raw: Mapping[str, Any], origin: str) -> AgentSettings:
    """Turn parsed TOML into settings; `origin` names the file in errors."""
    settings: AgentSettings = _build(AgentSettings, raw, origin, "")
    check(settings, origin)
    return settings


def _build(kind: Any, raw: Any, origin: str, at: str) -> Any:
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{origin}: {at.rstrip('.')} must be a table")
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for key in raw.keys() - known.keys():
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        raise SettingsError(f"{origin}: unknown key {at}{key}; {hint}")
    given = {}
    for name, spec in known.items():
        if name in raw:
            given[name] = _value(hints[name], raw[name], origin, f"{at}{name}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            if not is_dataclass(hints[name]) and get_origin(hints[name]) is not tuple:
                raise SettingsError(f"{origin}: {at}{name} is missing")
            given[name] = _value(hints[name], {}, origin, name)  # which names what it lacks
    return kind(**given)


def _value(kind: Any, value: Any, origin: str, at: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, origin, f"{at}.")
    if kind == tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        return tuple(_value(str, one, origin, at) for one in listed)
    if get_origin(kind) is tuple:  # of tables
        several = value if isinstance(value, list) else [value]
        return tuple(_build(get_args(kind)[0], one, origin, f"{at}.") for one in several)
    accepted = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, accepted):
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise SettingsError(f"{origin}: {at} must be {words[kind]}, not {value!r}")
    return kind(value)
