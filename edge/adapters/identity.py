"""The device's key and certificate: one PEM file for both, so that one rename replaces them together.

| file | what it is |
|---|---|
| `identity.pem` | key and certificate in use; mode 0600 |
| `identity.pem.next` | the key for which a certificate was asked and has not come yet |
| `identity.pem.previous` | what was in use before, until the broker has taken the new one |

No key leaves the device. A crash at any point leaves a whole `identity.pem`, the old or the new one.
Only this file knows the library cryptography, from 38 (Debian 12) on.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wire.adapters.files import sync_folder, write_atomic
from wire.enrolment import BACKDATE_DAYS
from wire.errors import MessageError

_SECRET: Final = 0o600


@dataclass(frozen=True)
class Life:
    """From when to when a certificate is good, in Unix seconds."""

    issued_s: float
    expires_s: float


class IdentityFile:
    """The files of one device; `path` is the one in use, `key` a file of its own from earlier times."""

    def __init__(self, path: Path, device: str, key: Path | None = None) -> None:
        self._path = path
        self._device = device
        self._key = key
        self._next = path.with_name(f"{path.name}.next")
        self._previous = path.with_name(f"{path.name}.previous")

    @property
    def on_trial(self) -> bool:
        """Whether the broker has yet to take the certificate in use."""
        return self._previous.exists()

    def life(self) -> Life | None:
        """Return the life of the certificate in use; None where there is none that can be read."""
        try:
            certificate = x509.load_pem_x509_certificate(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        start_s, end_s = _time(certificate, "not_valid_before"), _time(certificate, "not_valid_after")
        issued_s = start_s + BACKDATE_DAYS * 86_400
        return Life(issued_s if issued_s < end_s else start_s, end_s)

    def request(self) -> str:
        """Return a signing request (PEM) for the next key, which is made if there is none."""
        key = self._next_key()
        if key is None or self._in_use(key):  # a crash just after it came into use
            key = ec.generate_private_key(ec.SECP256R1())
            self._next.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._next, _key_pem(key), mode=_SECRET)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._device)])
        built = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return built.public_bytes(serialization.Encoding.PEM).decode()

    def adopt(self, certificate: str, *, keep_previous: bool = True) -> None:
        """Take a certificate for the next key into use; raise MessageError when it is not for us."""
        key = self._next_key()
        if key is None:
            raise MessageError("crt", "no certificate was asked for")
        self._check(certificate, key)
        if keep_previous:
            self._keep_previous()
        write_atomic(self._path, _key_pem(key) + certificate.encode(), mode=_SECRET)
        self._next.unlink(missing_ok=True)

    def confirm(self) -> None:
        """Forget the previous certificate: the broker has taken this one."""
        self._previous.unlink(missing_ok=True)

    def fall_back(self) -> None:
        """Take the previous certificate into use again."""
        self._previous.replace(self._path)
        sync_folder(self._path.parent)

    def _next_key(self) -> ec.EllipticCurvePrivateKey | None:
        try:
            key = serialization.load_pem_private_key(self._next.read_bytes(), None)
        except (FileNotFoundError, ValueError):  # one that cannot be read is made anew
            return None
        return key if isinstance(key, ec.EllipticCurvePrivateKey) else None

    def _in_use(self, key: ec.EllipticCurvePrivateKey) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(self._path.read_bytes())
        except (OSError, ValueError):
            return False
        return _is_of(certificate.public_key(), key)

    def _check(self, pem: str, key: ec.EllipticCurvePrivateKey) -> None:
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            public = certificate.public_key()
            names = [a.value for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        except ValueError as error:
            raise MessageError("crt", f"no certificate: {error}") from error
        if not _is_of(public, key):
            raise MessageError("crt", "a certificate for another key")
        if names != [self._device]:
            raise MessageError("crt", f"a certificate for {names!r:.80}, not for {self._device}")

    def _keep_previous(self) -> None:
        if self.on_trial or not self._path.exists():  # never one that was not proved
            return
        pair = self._path.read_bytes()
        if self._key is not None and b"PRIVATE KEY-----" not in pair:
            pair = self._key.read_bytes() + pair
        write_atomic(self._previous, pair, mode=_SECRET)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_of(public: object, key: ec.EllipticCurvePrivateKey) -> bool:
    """Return whether `public` belongs to `key`; keys themselves compare equal only since cryptography 40."""
    return (
        isinstance(public, ec.EllipticCurvePublicKey)
        and public.public_numbers() == key.public_key().public_numbers()
    )


def _time(certificate: x509.Certificate, name: str) -> float:
    """Return a time of the certificate; before cryptography 42 they had no zone, and were UTC."""
    value: dt.datetime | None = getattr(certificate, f"{name}_utc", None)
    if value is None:
        value = getattr(certificate, name).replace(tzinfo=dt.UTC)
    return value.timestamp()
