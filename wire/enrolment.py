"""Enrolment and renewal: what a device and the server say, and what follows from a claim token.

Rules:
- a token is used once, for one device, and never travels: three values are derived from it, none of
  which gives the token or another of the three;
- its address names the topics and is the user name on the claim listener: the broker's log may show it;
- its password opens the claim listener, which so has no anonymous clients;
- its proof key authenticates the request (HMAC-SHA256, RFC 2104): whoever saw address and password on
  the broker still cannot have a certificate made;
- a shared token is several: each device takes the one that follows from it for its own name, and the
  server knows those of the devices that were named to it, and no others.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

#: Certificates begin a year before they are made: a board without a clock starts in its past.
BACKDATE_DAYS: Final = 365

#: A request on P-256 has about 500 bytes; a certificate 700.
MAX_PEM_CHARS: Final = 8192

#: The server's own name on the broker; no device may have it.
SERVER_NAME: Final = "fleet-server"

#: How a shared token begins; the dot is in no other one.
SHARED: Final = "shared."

_MIN_TOKEN_CHARS: Final = 22  # 128 bits in base64


@dataclass(frozen=True)
class Claim:
    """What follows from a token. Raises ValueError for a text that can be none."""

    address: str
    password: str
    proof_key: bytes

    @classmethod
    def of(cls, token: str, device: str) -> Claim:
        """Return the claim of `device`, whose name counts where the token is a shared one."""
        if len(token) < _MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable():
            raise ValueError("not a claim token: `edgeflock fleet enroll` makes them")
        if token.startswith(SHARED):
            token = _derive(f"of {device}", token).hex()
        return cls(
            address=_derive("address", token).hex(),
            password=_derive("password", token).hex(),
            proof_key=_derive("proof", token),
        )


def prove(proof_key: bytes, csr: str) -> str:
    """Return the proof that `csr` comes from who holds the token, as hexadecimal digits."""
    return hmac.new(proof_key, csr.encode(), hashlib.sha256).hexdigest()


def is_proved(proof_key: bytes, csr: str, proof: str) -> bool:
    """Return whether `proof` is that of `csr`, in constant time."""
    return hmac.compare_digest(prove(proof_key, csr).encode(), proof.encode())


def _derive(purpose: str, token: str) -> bytes:
    return hmac.new(token.encode(), f"edgeflock claim {purpose}".encode(), hashlib.sha256).digest()


@dataclass(frozen=True)
class CertificateRequest:
    """A signing request (PEM) on `csr`; `proof` only at enrolment, where no certificate vouches for it."""

    csr: str
    proof: str = ""
    v: int = 1

    def __post_init__(self) -> None:
        if len(self.csr) > MAX_PEM_CHARS or len(self.proof) > MAX_PEM_CHARS:
            raise ValueError(f"a request of {len(self.csr) + len(self.proof)} characters")


@dataclass(frozen=True)
class CertificateAnswer:
    """The certificate (PEM) on `crt`, or the reason why there is none."""

    certificate: str = ""
    error: str = ""
    v: int = 1

    def __post_init__(self) -> None:
        if len(self.certificate) > MAX_PEM_CHARS or len(self.error) > MAX_PEM_CHARS:
            raise ValueError("an answer of absurd length")
        if bool(self.certificate) == bool(self.error):
            raise ValueError("an answer is a certificate or an error")
