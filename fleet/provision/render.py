"""Templates and what is filled in, and what is added to a system's own files. Pure: texts in, texts out.

Rules:
- `@key@` in a template becomes a value. A key nobody knows is an error, never an empty string.
- The lines from `# @if key@` to `# @end@` stay only when that value is there. No nesting, no else:
  what needs more is not a template any more.
- A value goes in as a JSON string, which TOML and YAML read as it was meant (see `quoted`). Where
  nothing can be quoted (cmdline.txt), a value that would need it is refused.
- The same template and values give the same bytes, and what is appended replaces what was appended
  before: so flashing twice changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from wire.errors import SettingsError

_KEY: Final = re.compile(r"@([^@\s]*)@")
_IF: Final = re.compile(r"# @if (\w+)@")
_END: Final = "# @end@"
_BARE: Final = re.compile(r"[A-Za-z0-9._:-]+")
#: Words of cmdline.txt of which there is one. Others may be given several times (console=, cgroup_enable=).
_ONCE: Final = frozenset(
    ("panic", "ds", "cfg80211.ieee80211_regdom", "systemd.run", "systemd.run_success_action", "systemd.unit")
)

#: A tuple becomes a list of texts.
Value = str | int | tuple[str, ...] | None


def append_cmdline(old: str, additions: str) -> str:
    """Return the kernel command line `old` with the words of `additions` at its end, on one line.

    A word replaces what `old` says for the same key; at the end, because the kernel heeds the last one.
    """
    if len([line for line in old.splitlines() if line.strip()]) > 1:
        raise SettingsError("cmdline.txt has more than one line, and the firmware reads one: join them first")
    lines = (line.strip() for line in additions.splitlines())
    new = [line for line in lines if line and not line.startswith("#")]
    keys = _ONCE & {word.partition("=")[0] for word in new}
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


def fill(name: str, template: str, values: Mapping[str, Value], write: Callable[[str], str]) -> str:
    """Return `template`, called `name` in errors, with its values as `write` writes texts.

    Raises SettingsError for a template that is wrong, or that asks for what is not there.
    """
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
    where: str, line: str, values: Mapping[str, Value], write: Callable[[str], str], *, needed: bool
) -> str:
    """Return `line` with its values; keys are checked in lines that are not `needed` too."""

    def value_of(match: re.Match[str]) -> str:
        value = values[_known(where, match[1], values)]
        if value is None and needed:
            raise SettingsError(f"{where}: @{match[1]}@ has no value for this device; put it into an '@if'")
        if isinstance(value, tuple):
            return f"[{', '.join(map(write, value))}]"
        return str(value) if isinstance(value, int) else write(value or "")

    return _KEY.sub(value_of, line)


def _known(where: str, key: str, values: Mapping[str, Value]) -> str:
    if key not in values:
        raise SettingsError(f"{where}: unknown key @{key}@; known are {', '.join(sorted(values))}")
    return key


def quoted(value: str) -> str:
    """Return `value` as a JSON string that TOML and YAML also read, to the same text.

    Characters beyond ASCII stay as they are: JSON writes an emoji as two surrogates, which the others
    refuse. Escaped are those that JSON leaves raw and the others do not take or take for line ends.
    """
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda c: f"\\u{ord(c[0]):04x}", text)


def bare(value: str) -> str:
    """Return `value` if it needs no quotes; raise SettingsError otherwise."""
    if value and not _BARE.fullmatch(value):
        raise SettingsError(f"{value!r} cannot stand in cmdline.txt or config.txt: nothing is quoted there")
    return value
