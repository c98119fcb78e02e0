"""One device's boot files, rendered from the templates in `firmware-config/`. Pure: texts in, texts out.

Rules:
- `@key@` in a template becomes a value of the card. A key nobody knows is an error, never an empty string.
- The lines from `# @if key@` to `# @end@` stay only when the card has that value. No nesting, no else:
  what needs more is not a template any more.
- A value goes in as a JSON string, which TOML and YAML read as it was meant (see `_quoted`). Where
  nothing can be quoted (cmdline.txt), a value that would need it is refused.
- The same templates and card give the same bytes, and what is appended replaces what was appended
  before: so flashing twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from wire.enrolment import Claim
from wire.errors import SettingsError
from wire.topics import Topics, check_name

#: Template -> where its text goes on the boot partition.
FILES: Final[Mapping[str, str]] = {
    "device/device.toml.in": "edgeflock/device.toml",
    "systemd/edgeflock.service": "edgeflock/edgeflock.service",
    "boot/network-config.in": "network-config",
    "boot/user-data.in": "user-data",
    "boot/meta-data.in": "meta-data",
}
#: Where the fleet's root of trust goes; it is no template.
ROOT: Final = "edgeflock/root.json"
#: Template -> the file of the system to which its text is added. cmdline.txt is last, and written last:
#: its new instance id is what makes a device look at the other files again.
ADDITIONS: Final[Mapping[str, str]] = {
    "boot/config-additions.txt": "config.txt",
    "boot/cmdline-additions.txt": "cmdline.txt",
}
#: What cloud-init does once per instance; these cannot hold the id that is computed from them.
_FIRST_BOOT: Final = ("boot/user-data.in", "boot/network-config.in")

_KEY: Final = re.compile(r"@([^@\s]*)@")
_IF: Final = re.compile(r"# @if (\w+)@")
_END: Final = "# @end@"
_HOST: Final = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}")
_SSH_KEY: Final = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\n\r]*)?")
_PASSPHRASE: Final = re.compile(r"[ -~]{8,63}|[0-9A-Fa-f]{64}")
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BARE: Final = re.compile(r"[A-Za-z0-9._:-]+")

_Value = str | int | None


def render(templates: Mapping[str, str], card: DeviceCard) -> dict[str, str]:
    """Return the device's own files: path on the boot partition -> text.

    Raises SettingsError for a template that is missing, or that asks for what the card cannot say.
    """
    files = _render(templates, card, FILES, _quoted)
    return files if card.root is None else {**files, ROOT: card.root}


def secrets_of(card: DeviceCard) -> dict[str, str]:
    """Return what the card carries as it is, beside the settings that name it."""
    given = {"edgeflock/broker-ca.pem": card.broker_ca, "edgeflock/claim-token": card.claim_token}
    return {name: f"{text.strip()}\n" for name, text in given.items() if text is not None}


def render_additions(templates: Mapping[str, str], card: DeviceCard) -> dict[str, str]:
    """Return what to add to the system's own files, for `append_cmdline` and `append_config`."""
    return _render(templates, card, ADDITIONS, _bare)


def append_cmdline(old: str, additions: str) -> str:
    """Return the kernel command line `old` with the words of `additions` at its end, on one line.

    A word replaces what `old` says for the same key; at the end, because the kernel heeds the last one.
    """
    if len([line for line in old.splitlines() if line.strip()]) > 1:
        raise SettingsError("cmdline.txt has more than one line, and the firmware reads one: join them first")
    lines = (line.strip() for line in additions.splitlines())
    new = [line for line in lines if line and not line.startswith("#")]
    # Other words may be given several times (console=, cgroup_enable=): only their very self is a double.
    keys = {"panic", "ds", "cfg80211.ieee80211_regdom"} & {word.partition("=")[0] for word in new}
    kept = [word for word in old.split() if word not in new and word.partition("=")[0] not in keys]
    return " ".join([*kept, *new]) + "\n"


def append_config(old: str, additions: str) -> str:
    """Return config.txt `old` with `additions` as a marked block, in the place of an earlier block if any.

    In its place and not at the end: lines that a person wrote below count on the block's `[all]`.
    """
    begin, end = "# --- begin of edgeflock's lines ---\n", "# --- end of edgeflock's lines ---\n"
    text = old.replace("\r\n", "\n")
    block = begin + additions.rstrip("\n") + "\n" + end
    before, found, rest = text.partition(begin)
    if found:
        _, closed, after = rest.partition(end)
        if not closed:
            raise SettingsError(
                f"config.txt: the line {end.strip()!r} is gone; put it back or remove the block"
            )
        text = before + block + after
    else:
        text = (text.rstrip("\n") + "\n\n" if text.strip() else "") + block
    return text.replace("\n", "\r\n") if "\r\n" in old else text


def _render(
    templates: Mapping[str, str],
    card: DeviceCard,
    targets: Mapping[str, str],
    write: Callable[[str], str],
) -> dict[str, str]:
    missing = [name for name in (*FILES, *ADDITIONS) if name not in templates]
    if missing:
        raise SettingsError(f"template {missing[0]} is missing from firmware-config")
    values: dict[str, _Value] = {**asdict(card), "hostname": host_name(card.name)}
    values["unsigned"] = None if card.root else 1
    first_boot = "".join(_fill(name, templates[name], values, _quoted) for name in _FIRST_BOOT)
    values["instance_id"] = f"edgeflock-{_digest(first_boot)}"
    return {target: _fill(name, templates[name], values, write) for name, target in targets.items()}


def _digest(first_boot: str) -> str:
    """Return 12 digits that change with anything cloud-init does at a first boot, and with nothing else.

    Slow on purpose: the id is in /proc/cmdline, where any program on the device could try passwords on it.
    """
    return hashlib.pbkdf2_hmac("sha256", first_boot.encode(), b"edgeflock", 100_000, 6).hex()


def _fill(name: str, template: str, values: Mapping[str, _Value], write: Callable[[str], str]) -> str:
    lines = []
    within: str | None = None
    for number, line in enumerate(template.splitlines(keepends=True), 1):
        where = f"{name} line {number}"
        if condition := _IF.fullmatch(line.strip()):
            if within is not None:
                raise SettingsError(f"{where}: '@if' inside '@if'")
            within = _known(where, condition[1], values)
        elif line.strip() == _END:
            if within is None:
                raise SettingsError(f"{where}: '@end@' without '@if'")
            within = None
        else:
            keep = within is None or values[within] is not None
            filled = _fill_line(where, line, values, write, needed=keep)
            lines.extend([filled] if keep else [])
    if within is not None:
        raise SettingsError(f"{name}: '@if {within}@' without '@end@'")
    return "".join(lines)


def _fill_line(
    where: str, line: str, values: Mapping[str, _Value], write: Callable[[str], str], *, needed: bool
) -> str:
    """Return `line` with its values; keys are checked in lines that are not `needed` too."""

    def value_of(match: re.Match[str]) -> str:
        value = values[_known(where, match[1], values)]
        if value is None and needed:
            raise SettingsError(f"{where}: @{match[1]}@ has no value for this device; put it into an '@if'")
        return str(value) if isinstance(value, int) else write(value or "")

    return _KEY.sub(value_of, line)


def _known(where: str, key: str, values: Mapping[str, _Value]) -> str:
    if key not in values:
        raise SettingsError(f"{where}: unknown key @{key}@; known are {', '.join(sorted(values))}")
    return key


def _quoted(value: str) -> str:
    """Return `value` as a JSON string that TOML and YAML also read, to the same text.

    Characters beyond ASCII stay as they are: JSON writes an emoji as two surrogates, which the others
    refuse. Escaped are those that JSON leaves raw and the others do not take or take for line ends.
    """
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda c: f"\\u{ord(c[0]):04x}", text)


def _bare(value: str) -> str:
    if value and not _BARE.fullmatch(value):
        raise SettingsError(f"{value!r} cannot stand in cmdline.txt or config.txt: nothing is quoted there")
    return value
