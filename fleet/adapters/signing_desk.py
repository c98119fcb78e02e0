"""Signs for devices with the CA in `<state>/broker`, and makes their claims."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from fleet.adapters import pki
from fleet.adapters.certificate_store import CertificateStore
from fleet.adapters.database import Database
from fleet.enrolment import Certificate
from wire.enrolment import CertificateRequest

_TOKEN_BYTES: Final = 20  # 160 bits
# mosquitto_passwd's own count. The password has 256 bits of chance: no count makes it safer.
_ITERATIONS: Final = 101
_SALT_BYTES: Final = 12


def open_store(database: Database, authority: pki.Authority, life: dt.timedelta) -> CertificateStore:
    """Return the store whose certificates are signed by `authority` and live for `life`."""

    def sign(device: str, key: str) -> Certificate:
        public = load_pem_public_key(key.encode())
        assert isinstance(public, ec.EllipticCurvePublicKey), "read_key took it"
        issued = authority.client(device, public, now(), life)
        return Certificate(issued.serial, device, key, issued.pem, time.time(), issued.expires_s)

    return CertificateStore(database, read_key, sign)


def read_key(request: CertificateRequest, device: str) -> str:
    """Return the public key of `request` as PEM; raise MessageError for what is no request of `device`."""
    return pki.public_pem(pki.read_request(request.csr, device))


def make_token() -> str:
    """Return a new claim token."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def login_line(user: str, password: str) -> str:
    """Return a line of mosquitto's password file: PBKDF2-HMAC-SHA512, `$7$`."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    texts = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"{user}:$7${_ITERATIONS}${texts[0]}${texts[1]}"


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
