"""Who gets a certificate: the rules, without a database, a key or a clock. Refusals are MessageErrors.

Rules:
- a claim is known, proved, unused and not expired, in this order: what a stranger sends is not parsed;
- the same key again gets the same certificate again, for as long as that is valid. An answer may be lost
  on its way, and a replayed request gives nothing but a certificate that is public anyway;
- a renewal comes on the device's own topic, where the broker lets nobody else write; the device must
  have a certificate that is neither revoked nor expired, and not too many of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wire.enrolment import SERVER_NAME, CertificateRequest, is_proved
from wire.errors import MessageError, SettingsError
from wire.topics import check_name

#: A device renews three times in the life of a certificate at most, fall-backs included.
MAX_CERTIFICATES: Final = 8

_ENROLMENT: Final = "enrolment"
_RENEWAL: Final = "renewal"


@dataclass(frozen=True)
class ClaimRecord:
    """What the server keeps of a claim token."""

    device: str
    proof_key: bytes = field(repr=False)
    expires_s: float
    used: bool


@dataclass(frozen=True)
class Certificate:
    """What the server keeps of a certificate; `key` is its public key (PEM), times are Unix seconds."""

    serial: str
    device: str
    key: str
    pem: str
    issued_s: float
    expires_s: float
    revoked: bool = False

    def usable(self, now_s: float) -> bool:
        return not self.revoked and now_s < self.expires_s


def check_device(name: str) -> str:
    """Return `name`, or raise SettingsError when no device may have it."""
    if check_name("device", name) == SERVER_NAME:
        raise SettingsError(f"device {name!r}: the name is the server's own")
    return name


def check_proof(claim: ClaimRecord | None, request: CertificateRequest) -> ClaimRecord:
    """Return the claim, or refuse; before anything in the request is parsed."""
    if claim is None:
        raise MessageError(_ENROLMENT, "unknown claim")
    if not is_proved(claim.proof_key, request.csr, request.proof):
        raise MessageError(_ENROLMENT, f"the claim of {claim.device} is not proved")
    return claim


def answer_to_claim(
    claim: ClaimRecord, key: str, held: Sequence[Certificate], now_s: float
) -> Certificate | None:
    """Return the certificate to repeat, or None when one is to be signed for `key`."""
    if again := _again(key, held, now_s):
        return again
    if claim.used:
        raise MessageError(_ENROLMENT, f"the claim of {claim.device} was used by another key")
    if now_s >= claim.expires_s:
        raise MessageError(_ENROLMENT, f"the claim of {claim.device} has expired")
    return None


def answer_to_renewal(device: str, key: str, held: Sequence[Certificate], now_s: float) -> Certificate | None:
    """Return the certificate to repeat, or None when one is to be signed for `key`."""
    usable = [c for c in held if c.usable(now_s)]
    if not usable:
        raise MessageError(_RENEWAL, f"{device} has no certificate that is valid: enroll it again")
    if again := _again(key, held, now_s):
        return again
    if len(usable) >= MAX_CERTIFICATES:
        raise MessageError(_RENEWAL, f"{device} has {len(usable)} certificates already")
    return None


def _again(key: str, held: Sequence[Certificate], now_s: float) -> Certificate | None:
    return next((c for c in held if c.key == key and c.usable(now_s)), None)
