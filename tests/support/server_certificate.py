"""A certificate for a server on `localhost`, with its key."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from fleet.adapters import pki


def make_server_certificate(folder: Path, password: bytes = b"") -> tuple[Path, Path]:
    """Return the files of a certificate, which a client may trust, and of its key."""
    now, key = dt.datetime.now(dt.UTC), pki.make_key()
    authority = pki.Authority.make("tests", now)
    certificate, key_file = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(
        authority.broker(["localhost"], key.public_key(), now).pem.encode() + authority.pem
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return certificate, key_file
