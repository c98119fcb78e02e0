"""The documentation is tested: what exists is documented, and what is documented exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from edgeflock import COMMANDS, _make_parser
from wire import messages
from wire.topics import Leaf

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "firmware-config" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def test_every_topic_is_documented() -> None:
    text = page("protocol.md")
    for leaf in get_args(Leaf):
        assert re.search(rf"`(d/<device>/)?{leaf}`", text), leaf


def test_every_message_that_travels_is_documented() -> None:
    text = page("protocol.md")
    names = (
        "Targets Plan Desired Envelope Ack Command Reported Online EventReport TelemetryReport SamplesReport "
        "Truths"
    )
    for name in names.split():
        assert hasattr(messages, name)
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_documented(command: str) -> None:
    text = page("commands.md") + (ROOT / "firmware-config" / "README.md").read_text(encoding="utf-8")
    text += (ROOT / "docs" / "how-to" / "prepare-a-device.md").read_text(encoding="utf-8")
    text += page("device-settings.md")
    for option in _options(_make_parser([command]), command):
        assert option in text, f"{command} {option}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c != "fleet"]
    + [
        f"fleet {part}"
        for part in (
            "init",
            "keys",
            "serve",
            "push",
            "pack-software",
            "devices",
            "alerts",
            "agree",
            "enroll",
            "revoke",
            "pause",
            "resume",
            "abort",
            "undo",
            "status",
            "group",
            "pin",
            "unpin",
            "backup",
            "restore",
            "remove",
            "password",
            "user",
            "audit",
            "token",
            "watch",
            "logs",
            "simulate",
        )
    ],
)
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        _make_parser(command.split()).parse_args([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert f"edgeflock {command} " in text.split("usage:", 1)[1].split("\n\n", 1)[1]


def _options(parser, command):  # type: ignore[no-untyped-def]
    (commands,) = (a for a in parser._actions if hasattr(a, "choices") and isinstance(a.choices, dict))
    parts = [commands.choices[command]]
    while parts:
        part = parts.pop()
        for action in part._actions:
            if isinstance(action.choices, dict):
                parts += action.choices.values()
            yield from (o for o in action.option_strings if o.startswith("--") and o != "--help")
