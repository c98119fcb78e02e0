"""Signing requests, good and hostile, with real keys."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request(
    names: list[str], key: Key | ed25519.Ed25519PrivateKey | None = None, *extensions: x509.ExtensionType
) -> str:
    """Return a request (PEM) with the common names `names`."""
    key = key or make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return pem(builder.sign(key, None))
    return pem(builder.sign(key, hashes.SHA256()))


def pem(made: x509.CertificateSigningRequest) -> str:
    return made.public_bytes(serialization.Encoding.PEM).decode()
