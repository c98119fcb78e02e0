"""What is wrong with a TLS file is one line that names it, and never a question on the terminal."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from fleet.adapters import pki
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.adapters.tls import TlsFiles, load, make_context
from wire.errors import SettingsError
from wire.link import LinkDown

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = pki.Authority.make("devices", NOW)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    key = pki.make_key()
    made = AUTHORITY.client("pi-1", key.public_key(), NOW, dt.timedelta(days=1))
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    (tmp_path / "pi.crt").write_text(made.pem)
    (tmp_path / "pi.key").write_bytes(pki.key_pem(key))
    (tmp_path / "both.pem").write_bytes(pki.key_pem(key) + made.pem.encode())
    return TlsFiles(tmp_path / "ca.pem", tmp_path / "pi.crt", tmp_path / "pi.key")


def encrypted() -> bytes:
    return pki.make_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


SPOIL: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no CA": ("ca.pem", Path.unlink, "CA .*ca.pem: No such file"),
    "an empty CA": ("ca.pem", lambda p: p.write_text(""), "CA .*ca.pem: no certificate in PEM form"),
    "a CA that is none": ("ca.pem", lambda p: p.write_text("hello"), "no certificate in PEM form"),
    "no certificate": ("pi.crt", Path.unlink, "certificate .*pi.crt: No such file"),
    "a damaged certificate": ("pi.crt", lambda p: p.write_text("-----BEGIN"), "not a certificate and a key"),
    "no key": ("pi.key", Path.unlink, "key .*pi.key: No such file"),
    "another key": ("pi.key", lambda p: p.write_bytes(pki.key_pem(pki.make_key())), "do not belong together"),
    "a key with a password": ("pi.key", lambda p: p.write_bytes(encrypted()), "without a password"),
    "a folder": ("pi.key", lambda p: (p.unlink(), p.mkdir()), "Is a directory"),
}


@pytest.mark.parametrize("kind", SPOIL)
def test_a_file_that_cannot_be_used_is_named_in_one_line(files: TlsFiles, kind: str) -> None:
    name, spoil, said = SPOIL[kind]
    spoil(files.ca.parent / name)
    with pytest.raises(SettingsError, match=said) as error:
        load(make_context(), files)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(files: TlsFiles) -> None:
    assert files.key is not None
    files.key.chmod(0)
    with pytest.raises(SettingsError, match="Permission denied"):
        load(make_context(), files)


def test_a_key_may_lie_in_the_certificates_file_or_beside_it(files: TlsFiles) -> None:
    load(make_context(), files)
    load(make_context(), TlsFiles(files.ca, files.ca.with_name("both.pem")))
    load(make_context(), TlsFiles(files.ca))
    with pytest.raises(SettingsError, match="none is named"):
        load(make_context(), TlsFiles(files.ca, files.certificate))


def test_a_link_with_bad_files_is_down_and_says_why(files: TlsFiles) -> None:
    files.ca.unlink()
    link = PahoLink(BrokerAddress("127.0.0.1", 1, files), "pi-1")
    link.start()
    event = link.receive(10)
    link.close()
    assert isinstance(event, LinkDown)
    assert "ca.pem: No such file" in event.reason
    assert not event.refused
