"""Certificates, by the library cryptography: two CAs, what they sign, and what they revoke.

- ECDSA on P-256: a handshake costs a board 2 ms, and every broker and every OpenSSL takes it.
- Two CAs: one for devices and the server, which the broker trusts, and one for the broker, which the
  devices trust. A device's certificate so never makes a broker.
- A request gives a name and a key. Whatever else it asks for (a CA's rights, other names) is not copied.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.broker_setup import is_address
from wire.enrolment import BACKDATE_DAYS
from wire.errors import MessageError, SettingsError

CA_DAYS: Final = 20 * 365
BROKER_DAYS: Final = 10 * 365
DEVICE_DAYS: Final = 90

_BACKDATE: Final = dt.timedelta(days=BACKDATE_DAYS)
#: A broker with a CRL past its next update refuses everybody; ours is written anew at each change.
_CRL_DAYS: Final = 10 * 365


@dataclass(frozen=True)
class Issued:
    """A certificate as it is stored and sent: PEM, serial as hexadecimal digits, end in Unix seconds."""

    pem: str
    serial: str
    expires_s: float


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str, now: dt.datetime) -> Authority:
        """Make a CA that signs leaves and nothing below another CA."""
        key = make_key()
        builder = _builder(_name(name), _name(name), key.public_key(), now, dt.timedelta(days=CA_DAYS))
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Authority:
        """Return the CA in two PEM texts; raise SettingsError for anything else."""
        try:
            loaded = serialization.load_pem_private_key(key, None)
            parsed = x509.load_pem_x509_certificate(certificate)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(f"the CA's files cannot be read: {error}") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != parsed.public_key():
            raise SettingsError("the CA's key does not belong to its certificate")
        return cls(parsed, loaded)

    def client(
        self, name: str, public: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
    ) -> Issued:
        """Sign for a client of the broker: a device, or the server."""
        builder = self._leaf(name, public, now, life, ExtendedKeyUsageOID.CLIENT_AUTH)
        return _issued(builder.sign(self.key, hashes.SHA256()))

    def broker(self, hosts: Iterable[str], public: ec.EllipticCurvePublicKey, now: dt.datetime) -> Issued:
        """Sign for a broker that is reached under `hosts`, names or addresses."""
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
            for host in hosts
        ]
        life = dt.timedelta(days=BROKER_DAYS)
        builder = self._leaf("broker", public, now, life, ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _issued(builder.sign(self.key, hashes.SHA256()))

    def crl(self, serials: Iterable[str], now: dt.datetime, before: bytes | None) -> bytes:
        """Return the list of revoked serials as PEM, `before` being the list that it replaces.

        A broker that reloads may keep both, and OpenSSL then takes the one with the newer update: a second
        at least must lie between any two.
        """
        made, number = (now - _BACKDATE).replace(microsecond=0), 1  # a hub may have no clock either
        if before is not None:
            old = x509.load_pem_x509_crl(before)
            made = max(made, old.last_update_utc + dt.timedelta(seconds=1))
            number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(made)
            .next_update(now + dt.timedelta(days=_CRL_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def _leaf(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        now: dt.datetime,
        life: dt.timedelta,
        usage: x509.ObjectIdentifier,
    ) -> x509.CertificateBuilder:
        return (
            _builder(_name(name), self.certificate.subject, public, now, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make a private key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_request(pem: str, device: str) -> ec.EllipticCurvePublicKey:
    """Return the key that a signing request of `device` is for; raise MessageError and nothing else."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed = request.is_signature_valid
        names = [str(a.value) for a in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise MessageError("certificate request", f"not a signing request: {error}") from error
    if names != [device]:
        raise MessageError("certificate request", f"it is for {', '.join(names)[:80]!r}, not for {device}")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MessageError("certificate request", "its key is not on the curve P-256")
    if not signed:
        raise MessageError("certificate request", "it is not signed by its own key")
    return key


def read_crl(pem: bytes) -> list[str]:
    """Return the serials on a revocation list, in order."""
    return sorted(f"{entry.serial_number:x}" for entry in x509.load_pem_x509_crl(pem))


def expiry(pem: bytes) -> dt.datetime:
    """Return when the certificate or revocation list in `pem` ends; raise SettingsError for none."""
    try:
        if b"X509 CRL" in pem:
            end = x509.load_pem_x509_crl(pem).next_update_utc
            assert end is not None, "crl() sets it"
            return end
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError as error:
        raise SettingsError(f"no certificate: {error}") from error


def public_pem(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key as PEM: the same text for the same key."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    life: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _issued(certificate: x509.Certificate) -> Issued:
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Issued(pem, f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp())
