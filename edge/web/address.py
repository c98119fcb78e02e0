"""Who can reach an address, and what it must then be protected by. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

from wire.errors import SettingsError

_TOKEN_BYTES: Final = (16, 4096)


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach `host`; a name other than localhost may be anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, *, token: bool, encrypted: bool, plain_http: bool, dash: str = "-") -> None:
    """Raise SettingsError for an address that others can reach without a token, or with one in the clear.

    `dash` joins the words of a setting's name: `-` on the command line, `_` in a file.
    """
    if is_local(host):
        return
    if not token:
        raise SettingsError(f"host {host} can be reached by others: it needs token{dash}file")
    if not encrypted and not plain_http:
        raise SettingsError(
            f"host {host} would send the token in the clear: give certificate and key, or say plain{dash}http"
        )


def check_token(content: bytes, name: str) -> bytes:
    """Return the token in a file's content; raise SettingsError, with the file's name, when it is none."""
    token = content.strip()
    least, most = _TOKEN_BYTES
    if not least <= len(token) <= most or not token.isascii() or len(token.split()) != 1:
        raise SettingsError(f"{name}: a token is one word of at least {least} characters")
    return token
