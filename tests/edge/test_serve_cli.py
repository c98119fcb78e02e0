"""The command line of `edgeflock serve`: what cannot be is one line, before a model is loaded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from edge.adapters.uvicorn_server import Listen
from edge.serve_app import ServeSettings, announce, batching_of, limits_of
from edge.serve_cli import add_parser, read_settings
from edge.settings import HttpSettings
from edge.web.admission import Limits
from edge.web.shelf import ModelShelf
from wire.errors import SettingsError

WORD = "a-token-of-some-length"


def read(*arguments: str | Path) -> ServeSettings:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(), "0")
    return read_settings(parser.parse_args(["serve", "m.bundle", *map(str, arguments)]), "0")


def test_without_options_it_listens_here_alone() -> None:
    settings = read()
    assert (settings.listen.host, settings.listen.port, settings.options.token) == ("127.0.0.1", 8000, b"")


def test_the_command_line_and_a_device_begin_with_the_same_limits() -> None:
    options = read().options
    assert options.limits == limits_of(HttpSettings()) == Limits()
    assert options.batching == batching_of(HttpSettings()) is None
    assert read("--batch-rows", "8").options.batching == batching_of(HttpSettings(batch_rows=8))


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1", "1e300"])
@pytest.mark.parametrize("option", ["--max-body-mb", "--max-held-mb", "--timeout-s"])
def test_a_limit_is_a_number_that_can_be_kept(option: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{option} must be more than 0 and at most 1,000,000$"):
        read(f"{option}={value}")


@pytest.mark.parametrize("option", ["--batch-wait-ms=nan", "--batch-wait-ms=-1", "--batch-rows=-1"])
def test_batching_takes_no_negative_numbers(option: str) -> None:
    with pytest.raises(SettingsError, match=r"^--batch-(rows|wait-ms) must be 0 to 1,000,000$"):
        read(option)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", ""])
def test_an_address_for_others_is_named_as_on_the_command_line(host: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(WORD)
    with pytest.raises(SettingsError, match=r"^--host .* it needs --token-file$"):
        read("--host", host)
    with pytest.raises(SettingsError, match=r"give --certificate and --key, or say --plain-http$"):
        read("--host", host, "--token-file", token)
    assert read("--host", host, "--token-file", token, "--plain-http").options.token == WORD.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "one word of at least 16"),
        (b"short", "one word of at least 16"),
        (b"two words that are long enough", "one word of at least 16"),
        (b"x" * 5000, "at most 4096 characters"),
    ],
)
def test_a_file_that_holds_no_token_says_so(content: bytes, reason: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        read("--token-file", token)


def test_a_token_file_without_an_end_is_too_long() -> None:
    with pytest.raises(SettingsError, match="at most 4096 characters"):
        read("--token-file", "/dev/zero")


def test_the_longest_token_is_one(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"x" * 4096 + b"\n")
    assert len(read("--token-file", token).options.token) == 4096


def test_an_ipv6_address_is_told_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    announce(ModelShelf(), 8000, Listen("::1"))
    assert capsys.readouterr().out.endswith(" on http://[::1]:8000\n")


def test_a_line_that_cannot_be_written_does_not_keep_it_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        announce(ModelShelf(), 8000, Listen())  # and closing it does not fail either
