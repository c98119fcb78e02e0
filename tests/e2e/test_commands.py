"""A user's mistakes at the command line: one clear line, a non-zero exit, nothing half-written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgeflock
from tests.support.local_fleet import run
from tests.support.training import Bundles, Trained

DEVICE = '[device]\nname = "pi-1"\nstate = "{state}"\n[model]\nname = "digits"\nbundle = "{bundle}"\n'


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def refusal(*arguments: str | Path, code: int = 1) -> str:
    """Run a command that must fail with one line; return the line."""
    done = run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (None, "No such file"),
        (lambda data: b"", "is empty"),
        (lambda data: data[:20_000], "no readable zip"),
        (lambda data: b"x" * 100, "not a TFLite model"),
        (lambda data: data[:5000] + b"!" + data[5001:], "is damaged"),
    ],
)
def test_a_bundle_that_is_none_is_refused_by_the_agent_and_by_push(
    bundles: Bundles, tmp_path: Path, damage: Callable[[bytes], bytes] | None, reason: str
) -> None:
    bundle, state = tmp_path / "x.bundle", tmp_path / "state"
    if damage is not None:
        bundle.write_bytes(damage(bundles.two.read_bytes()))
    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=state, bundle=bundle))
    assert reason in refusal("agent", settings)
    assert list((state / "models").iterdir()) == []
    assert reason in refusal("fleet", "push", bundle, "--state", tmp_path / "fleet")
    assert not (tmp_path / "fleet").exists()


def test_a_first_bundle_with_wrong_golden_outputs_is_refused(bundles: Bundles, tmp_path: Path) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=tmp_path / "state", bundle=bundles.wrong))
    assert "failed its trial: golden outputs differ" in refusal("agent", settings)


def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int) -> None:
    line = refusal("fleet", "serve", "--unsigned", "--state", tmp_path, "--port", str(taken_port))
    assert f"cannot listen on 127.0.0.1:{taken_port}: Address already in use" in line


def test_an_unreachable_broker_is_named_by_the_server_and_by_the_agents_check(tmp_path: Path) -> None:
    assert "no broker at 127.0.0.1:9" in refusal(
        "fleet", "serve", "--unsigned", "--state", tmp_path, "--broker", "127.0.0.1:9"
    )
    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=tmp_path / "s", bundle="") + "[broker]\nport = 9\n")
    assert "no broker at 127.0.0.1:9" in refusal("agent", "--check", settings)


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=tmp_path, bundle="") + "[broker]\nhots = 'x'\n")
    assert "unknown key broker.hots; did you mean 'host'?" in refusal("agent", settings, code=2)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    assert "/proc/nowhere" in refusal("fleet", "serve", "--state", "/proc/nowhere", code=2)


def test_a_server_without_keys_says_how_to_get_some(tmp_path: Path) -> None:
    line = refusal("fleet", "serve", "--state", tmp_path, "--broker", "127.0.0.1:9", code=2)
    assert f"has no keys: run `edgeflock fleet init --state {tmp_path}`" in line


@pytest.mark.parametrize("wrong", [(), ("--unsigned", "--port", "70000"), ("--unsigned", "--keep-raw", "0")])
def test_a_server_that_refuses_makes_no_folder(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    refusal("fleet", "serve", "--state", tmp_path / "fleet-state", *wrong, code=2)
    assert not (tmp_path / "fleet-state").exists()


def test_keys_are_made_once(tmp_path: Path) -> None:
    assert run("fleet", "init", "--plain", "--state", tmp_path).returncode == 0
    assert "nothing was written" in refusal("fleet", "init", "--plain", "--state", tmp_path, code=2)
    assert "its devices expect signatures" in refusal(
        "fleet", "serve", "--unsigned", "--state", tmp_path, "--broker", "127.0.0.1:9", code=2
    )


def test_a_push_without_the_peoples_keys_says_which_are_missing(bundles: Bundles, tmp_path: Path) -> None:
    assert run("fleet", "init", "--plain", "--state", tmp_path).returncode == 0
    (tmp_path / "stick").mkdir()
    push = ("fleet", "push", bundles.one, "--state", tmp_path, "--keys", tmp_path / "stick")
    assert "0 of the 2 keys that it needs are in" in refusal(*push, code=2)
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_root_of_trust_that_is_none_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=tmp_path / "s", bundle="") + '[trust]\nroot = "root.json"\n')
    assert "root.json: No such file" in refusal("agent", settings, code=2)
    (tmp_path / "root.json").write_text("{}")
    assert "trust.root is no root metadata" in refusal("agent", settings, code=2)


def test_two_agents_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    import fcntl

    settings = tmp_path / "device.toml"
    settings.write_text(DEVICE.format(state=tmp_path, bundle=""))
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another agent works in" in refusal("agent", settings)


def test_a_command_whose_packages_are_missing_names_the_extra(tmp_path: Path) -> None:
    for package in ("msgspec", "paho"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module', name='{package}')")
    done = run("fleet", "devices", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'edgeflock[fleet]'" in done.stderr


def test_an_agent_with_a_first_bundle_answers_standard_input_without_any_broker(
    bundles: Bundles, trained: Trained, tmp_path: Path
) -> None:
    import json
    import subprocess

    import numpy as np

    from tests.support.local_fleet import ROOT, edgeflock

    with np.load(trained.data) as data:
        x, y = data["x_test"][:20], data["y_test"][:20]
    settings = tmp_path / "device.toml"
    settings.write_text(
        DEVICE.format(state=tmp_path / "s", bundle=bundles.two)
        + '[broker]\nport = 9\n[source]\nkind = "ndjson"\n[[sink]]\nkind = "ndjson"\n'
        + f'[[sink]]\nkind = "csv"\npath = "{tmp_path}/out.csv"\n'
    )
    lines = "".join(json.dumps({"id": f"n{i}", "input": image.tolist()}) + "\n" for i, image in enumerate(x))
    done = subprocess.run(
        edgeflock("agent", settings),
        cwd=ROOT,
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in rows] == [f"n{i}" for i in range(20)]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21
    assert sum(row["best"] == truth for row, truth in zip(rows, y, strict=True)) >= 19


def test_an_interruption_before_the_command_has_begun_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(module: str, extra: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edgeflock, "_import", interrupted)
    assert edgeflock.main(["run", "x.bundle"]) == 130
    assert capsys.readouterr() == ("", "")
