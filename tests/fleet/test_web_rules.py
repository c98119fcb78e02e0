"""The page's rules that need no page: where it listens, who may act, how often one may guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.web.access import (
    ALL_GUESSES,
    FREE_GUESSES,
    LONGEST_WAIT_S,
    SESSION_S,
    Session,
    Throttle,
    same_origin,
    token_fits,
)
from fleet.web.address import WebAddress, may_be_called, web_address
from fleet.web.visit import read_form, safe_path
from wire.errors import SettingsError

PEM = Path("page.pem")


def test_it_listens_on_this_machine_and_elsewhere_only_with_tls() -> None:
    assert str(web_address(None, None, None)) == "http://127.0.0.1:8080/"
    assert not web_address(None, None, None).chosen
    assert str(web_address("[::1]:81", None, None)) == "http://[::1]:81/"
    assert str(web_address("0.0.0.0:443", PEM, PEM)) == "https://0.0.0.0:443/"


@pytest.mark.parametrize(
    ("text", "certificate", "says"),
    [
        ("0.0.0.0:8080", None, "would send passwords in the clear"),
        ("hub.local:8080", None, "would send passwords in the clear"),
        ("[::]:8080", None, "would send passwords in the clear"),
        ("8080", None, "write HOST:PORT"),
        ("127.0.0.1:99999", None, "write HOST:PORT"),
        ("127.0.0.1:", None, "write HOST:PORT"),
        (None, PEM, "belong together"),
    ],
)
def test_an_address_that_cannot_be_or_is_not_safe_is_refused(
    text: str | None, certificate: Path | None, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        web_address(text, certificate, None)


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:9999", True),  # at the near end of a tunnel
        ("LOCALHOST", True),
        ("[::1]:8080", True),
        ("[::1]", True),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_a_name_that_was_made_to_point_here_is_not_answered(host: str, called: bool) -> None:
    assert may_be_called(host, WebAddress()) is called
    assert may_be_called(host, WebAddress(certificate=PEM, key=PEM))


@pytest.mark.parametrize(
    ("origin", "fetch_site", "ours"),
    [
        ("http://127.0.0.1:8080", None, True),
        ("http://127.0.0.1:8080", "cross-site", True),
        ("https://127.0.0.1:8080", None, False),
        ("http://127.0.0.1:8081", "same-origin", False),
        ("null", "same-origin", False),
        (None, "same-origin", True),
        (None, "same-site", False),
        (None, None, False),
    ],
)
def test_only_our_own_origin_may_change_something(
    origin: str | None, fetch_site: str | None, ours: bool
) -> None:
    assert same_origin(origin, fetch_site, "http", "127.0.0.1:8080") is ours


def test_a_session_has_its_own_token_and_ends() -> None:
    session = Session("id", "ann", "viewer", "tökén", 1000.0)
    assert token_fits(session, "tökén")
    assert not token_fits(session, "token")
    assert not token_fits(session, None)
    assert not session.ended(1000.0 + SESSION_S - 1)
    assert session.ended(1000.0 + SESSION_S)
    assert session.ended(999.0), "a clock that was set back must not make a session eternal"
    assert not session.acts


def test_wrong_passwords_make_an_address_wait_longer_each_time() -> None:
    throttle, waits = Throttle(), []
    for _ in range(FREE_GUESSES + 10):
        waits.append(throttle.wait_s("10.0.0.1", 0.0))
        throttle.wrong("10.0.0.1", 0.0)
    assert waits[:FREE_GUESSES] == [0.0] * FREE_GUESSES
    assert waits[FREE_GUESSES : FREE_GUESSES + 3] == [5.0, 10.0, 20.0]
    assert max(waits) == LONGEST_WAIT_S
    assert throttle.wait_s("10.0.0.2", 0.0) == 0.0
    assert throttle.wait_s("10.0.0.1", LONGEST_WAIT_S) == 0.0
    throttle.right("10.0.0.1")
    throttle.wrong("10.0.0.1", LONGEST_WAIT_S)
    assert throttle.wait_s("10.0.0.1", LONGEST_WAIT_S) == 0.0


def test_many_addresses_together_may_not_guess_faster() -> None:
    throttle = Throttle()
    for i in range(int(ALL_GUESSES)):
        assert throttle.wait_s(f"10.0.0.{i}", 0.0) == 0.0
        throttle.wrong(f"10.0.0.{i}", 0.0)
    assert throttle.wait_s("10.0.9.9", 0.0) == 2.0
    assert throttle.wait_s("10.0.9.9", 2.0) == 0.0


@pytest.mark.parametrize(
    ("path", "goes_to"),
    [
        ("/samples?show=wrong", "/samples?show=wrong"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        (None, "/"),
    ],
)
def test_a_log_in_leads_to_no_other_site(path: str | None, goes_to: str) -> None:
    assert safe_path(path) == goes_to


def test_a_form_of_garbage_has_no_fields() -> None:
    assert read_form(b"a=1&a=2&b=") == {"a": "2", "b": ""}
    assert read_form(b"\xff\xfe") == {}
    assert read_form(b"&".join(b"x%d=1" % i for i in range(1000))) == {}
