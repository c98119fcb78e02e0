"""TLS to the broker: files to a context, and what went wrong in one line.

- TLS 1.2 or later; the broker's name is verified, against the given CA and no other.
- A key inside the certificate's file wins over a key file: so an agent that renews its certificate
  replaces key and certificate by one rename.
- OpenSSL's errors reach us inside the client library's socket calls, which log and swallow them: the
  context's own socket class notes them (`sslsocket_class` is the documented place).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wire.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: What a peer says of our certificate (RFC 8446, section 6.2), by OpenSSL's names.
_OF_CERTIFICATES: Final = {
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it is revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired, or is not valid yet",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is damaged, or not valid yet",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is not one of a client",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it cannot be used",
    "TLSV1_ALERT_UNKNOWN_CA": "it is of a CA that the broker does not know",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "there is none",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "there is none",
}


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the CA of the broker, and our own certificate with its key if we have one."""

    ca: Path
    certificate: Path | None = None
    #: Not needed where the key lies in the certificate's file.
    key: Path | None = None


class NotingContext(ssl.SSLContext):
    """A client's context that remembers the last error of its sockets in `problem`."""

    problem: ssl.SSLError | None = None


class _NotingSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except ssl.SSLError as error:
            _note(self.context, error)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            _note(self.context, error)
            raise

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except ssl.SSLError as error:
            _note(self.context, error)
            raise


def _note(context: ssl.SSLContext, error: ssl.SSLError) -> None:
    if isinstance(context, NotingContext) and not isinstance(
        error, ssl.SSLWantReadError | ssl.SSLWantWriteError
    ):
        context.problem = error


def make_context() -> NotingContext:
    """Return a context that trusts nobody yet; `load` gives it its files."""
    context = NotingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _NotingSocket
    return context


def load(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Give `context` the files as they are now; raise SettingsError for one that cannot be used."""
    _read("CA", files.ca)
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError as error:
        raise SettingsError(f"CA {files.ca}: no certificate in PEM form") from error
    if files.certificate is None:
        return
    has_key = b"PRIVATE KEY-----" in _read("certificate", files.certificate)
    key = None if has_key else files.key
    if key is not None:
        _read("key", key)
    elif not has_key:
        raise SettingsError(f"certificate {files.certificate}: there is no key in it, and none is named")
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"certificate {files.certificate} and key {key or 'in it'} do not belong together"
            ) from error
        raise SettingsError(
            f"certificate {files.certificate}: not a certificate and a key in PEM form without a password"
        ) from error


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{what} {path}: {error.strerror}") from error


def explain(error: ssl.SSLError) -> str:
    """Return in one line what `error` means for a client of the broker."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not to be trusted: {error.verify_message}"
    if error.reason in _OF_CERTIFICATES:
        return f"the broker refuses this device's certificate: {_OF_CERTIFICATES[error.reason]}"
    if error.reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return "what listens there does not speak TLS"
    return f"no TLS with the broker: {error.reason or error}"


def is_refusal(error: ssl.SSLError) -> bool:
    """Return whether `error` is the peer's word about our certificate."""
    return error.reason in _OF_CERTIFICATES
