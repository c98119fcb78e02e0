"""TLS of a server of ours: its certificate chain and key, to a context."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from wire.errors import SettingsError


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return a context with a certificate chain and its key, both PEM; None: the key lies in the same file.

    Raises SettingsError for files that cannot be used. No clients' certificates are asked for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def refuse() -> NoReturn:  # else it asks for a pass phrase on the terminal
        raise SettingsError(f"the key is encrypted: give {key or certificate} without a pass phrase")

    try:
        context.load_cert_chain(certificate, key, refuse)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{certificate}: no certificate with its key: {error.strerror or error}"
        ) from error
    return context
