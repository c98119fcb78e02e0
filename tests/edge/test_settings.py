"""The agent's settings file: every mistake gets one line that names the key."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edge.adapters.board import read_serial
from edge.settings import AgentSettings
from edge.settings_file import load
from tests.support.board_files import stand
from wire.errors import SettingsError

GOOD = '[device]\nname = "pi-1"\n[model]\nname = "digits"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "device.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_two_names_are_enough(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD))
    assert (settings.device.name, settings.model[0].name, settings.broker.port) == ("pi-1", "digits", 1883)


def test_one_sink_or_several(tmp_path: Path) -> None:
    one = load(write(tmp_path, GOOD + '[sink]\nkind = "ndjson"\n')).sink
    assert [sink.kind for sink in one] == ["ndjson"]
    text = GOOD + '[[sink]]\nkind = "csv"\npath = "a.csv"\n[[sink]]\nkind = "mqtt"\ntopic = "out"\n'
    assert [(sink.kind, sink.path, sink.topic) for sink in load(write(tmp_path, text)).sink] == [
        ("csv", "a.csv", ""),
        ("mqtt", "-", "out"),
    ]
    assert load(write(tmp_path, GOOD)).sink == ()


SEVERAL = GOOD.replace("[model]", "[[model]]") + '[[model]]\nname = "faces"\nthreads = 2\n'


def test_one_model_or_several(tmp_path: Path) -> None:
    settings = load(write(tmp_path, SEVERAL))
    assert [(model.name, model.threads) for model in settings.model] == [("digits", 1), ("faces", 2)]
    assert settings.fed == "digits"
    assert load(write(tmp_path, SEVERAL + '[source]\nmodel = "faces"\n')).fed == "faces"
    assert load(write(tmp_path, GOOD)).fed == "digits"


def test_a_mistake_of_one_among_several_models_says_whose(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape("model.pool must be 0 to 64 (model faces)")):
        load(write(tmp_path, SEVERAL + "pool = 65\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[device]\nname = "pi-1"\n', "model.name is missing"),
        (GOOD.replace('"digits"', '"edgeflock-software"'), "no model can be named edgeflock-software"),
        ("model = []\n" + GOOD.partition("[model]")[0], "there must be 1 to 14 models, not 0"),
        (SEVERAL.replace("faces", "digits"), "a model is there twice"),
        (SEVERAL.replace('name = "faces"', ""), "model.name is missing"),
        (SEVERAL.replace("faces", "a/b"), "model.name 'a/b'"),
        (SEVERAL + '[source]\nmodel = "face"\n', "source.model must be one of digits, faces"),
        (
            '[device]\nname = "a"\n' + "".join(f'[[model]]\nname = "m{n}"\n' for n in range(16)),
            "there must be 1 to 14 models, not 16",
        ),
        (
            GOOD + '[[sink]]\nkind = "ndjson"\n[[sink]]\nkind = "csv"\n',
            "sink.path is needed for a sink of kind csv",
        ),
        (GOOD + '[[sink]]\nkind = "ndjson"\n' * 2, "a sink is there twice"),
        (GOOD + '[[sink]]\nkin = "ndjson"\n', "unknown key sink.kin; did you mean 'kind'?"),
        ("sink = [3]\n" + GOOD, "sink must be a table"),
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
        (GOOD + "[telemetry]\nbudget_kb = 1\n", "telemetry.budget_kb must be 4 to 1000"),
        (GOOD + "[telemetry]\ngolden_every_s = 0.5\n", "telemetry.golden_every_s must be 0, or"),
        (GOOD + "[samples]\nper_class = -1\n", "samples.lowest and samples.per_class must be 0 to 1000"),
        (GOOD + "[samples]\ninputs = true\ninput_kb = 17\n", "samples.inputs needs a telemetry.budget_kb"),
        (GOOD + "[telemetry]\ninterval_s = 1e6\n", "telemetry.interval_s must be 0.1 to 86400"),
        (GOOD + "[samples]\ninput_kb = 33\n", "samples.input_kb must be more than 0 and at most 32"),
        (GOOD.replace("[model]", "tags = [7]\n[model]"), "device.tags must be text"),
        (GOOD.replace("[model]", 'tags = [""]\n[model]'), "device.tags: a tag is text of 1 to 64"),
        (GOOD + "[http]\nmax_body_mb = 0\n", "the limits of http must be more than 0"),
        (GOOD + "[http]\ntimeout_s = nan\n", "the limits of http must be more than 0"),
        (GOOD + "[http]\nbatch_rows = -1\n", "http.batch_rows and http.batch_wait_ms must be 0 to"),
        (GOOD + '[broker]\nclaim = "a"\n', "broker.certificate and broker.claim need broker.ca"),
        (GOOD + '[broker]\nca = "a"\nkey = "a"\n', "broker.key needs broker.certificate"),
        (GOOD + '[broker]\nca = "a"\nclaim_port = 0\n', "broker.claim_port must be 1 to 65535"),
        (GOOD + '[broker]\nca = "a"\n[sink]\nkind = "mqtt"\ntopic = "t"\n', "an mqtt source or sink"),
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

    found: type = getattr(edge.settings, name.removeprefix("tuple[").removesuffix(", ...]"))
    return found


@pytest.mark.parametrize(
    "files",
    [
        {"proc/device-tree/serial-number": "10000000deadbeef\0"},
        {"sys/firmware/devicetree/base/serial-number": "10000000DEADBEEF\0"},
        {"proc/cpuinfo": "processor\t: 0\nHardware\t: BCM2835\nSerial\t\t: 10000000deadbeef\n"},
    ],
)
def test_a_device_is_named_by_its_board(tmp_path: Path, files: dict[str, str]) -> None:
    board = stand(tmp_path / "board", files)
    text = GOOD.replace('name = "pi-1"', 'name = "pi-{serial}"')
    assert load(write(tmp_path, text), lambda: read_serial(board)).device.name == "pi-10000000deadbeef"


def test_a_board_that_tells_no_serial_number_needs_a_name_written_out(tmp_path: Path) -> None:
    board = stand(tmp_path / "board", {"proc/cpuinfo": "Serial\t\t: 0000000000000000\n"})
    text = GOOD.replace('name = "pi-1"', 'name = "pi-{serial}"')
    with pytest.raises(SettingsError, match="serial '0000000000000000'"):
        load(write(tmp_path, text), lambda: read_serial(board))
    with pytest.raises(SettingsError, match="write the name out"):
        load(write(tmp_path, text), lambda: read_serial(tmp_path))
