"""The agent's settings file: every mistake gets one line that names the key."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edge.settings import AgentSettings, load
from wire.errors import SettingsError

GOOD = '[device]\nname = "pi-1"\n[model]\nname = "digits"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "device.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_two_names_are_enough(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD))
    assert (settings.device.name, settings.model.name, settings.broker.port) == ("pi-1", "digits", 1883)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "device.name is missing"),
        (GOOD.replace('"pi-1"', '"a/b"'), "device.name 'a/b'"),
        (GOOD + '[broker]\nhots = "x"\n', "unknown key broker.hots; did you mean 'host'?"),
        (GOOD + "[brokr]\n", "unknown key brokr; did you mean 'broker'?"),
        (GOOD + '[broker]\nport = "1883"\n', "broker.port must be a whole number, not '1883'"),
        (GOOD + "[broker]\nport = 0\n", "broker.port must be 1 to 65535"),
        (GOOD + "[broker]\nport = true\n", "broker.port must be a whole number"),
        (GOOD + '[broker]\nprefix = "a/+"\n', "topic prefix '+'"),
        (GOOD + "model = 3\n", "model.model"),
        ("device = 3\n", "device must be a table"),
        (GOOD + '[source]\nkind = "webcam"\n', "source.kind must be none or one of"),
        (GOOD + '[source]\nkind = "npz"\n', "source.path is needed"),
        (GOOD + "[telemetry]\nsample_rate = 2\n", "telemetry.sample_rate must be 0 to 1"),
        ("[device\n", "is not TOML"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)) as refusal:
        load(write(tmp_path, text))
    assert "device.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(Path("nowhere.toml"))


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "device-settings.md").read_text(
        encoding="utf-8"
    )
    for table in fields(AgentSettings):
        for key in fields(table.type if isinstance(table.type, type) else _class_of(str(table.type))):
            assert f"`{table.name}.{key.name}`" in page


def _class_of(name: str) -> type:
    import edge.settings

    found: type = getattr(edge.settings, name)
    return found
