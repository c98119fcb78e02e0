"""Who can reach an address, and what it must then be protected by. Pure."""

from __future__ import annotations

from typing import Final

from wire.errors import SettingsError
from wire.hosts import is_local

_TOKEN_BYTES: Final = (16, 4096)

#: How much of a token's file is read: enough to see that it is too long. /dev/zero never ends.
TOKEN_READ_BYTES: Final = _TOKEN_BYTES[1] + 1


def check_address(
    host: str, *, token: bool, encrypted: bool, plain_http: bool, command_line: bool = False
) -> None:
    """Raise SettingsError for an address that others can reach without a token, or with one in the clear.

    Settings are named as in a file, `token_file`, or as on the `command_line`, `--token-file`.
    """
    if is_local(host):
        return

    def shown(setting: str) -> str:
        return "--" + setting.replace("_", "-") if command_line else setting

    if not token:
        needs = shown("token_file")
        raise SettingsError(f"{shown('host')} {host} can be reached by others: it needs {needs}")
    if not encrypted and not plain_http:
        raise SettingsError(
            f"{shown('host')} {host} would send the token in the clear: "
            f"give {shown('certificate')} and {shown('key')}, or say {shown('plain_http')}"
        )


def check_token(content: bytes, name: str) -> bytes:
    """Return the token in a file's content; raise SettingsError, with the file's name, when it is none."""
    token = content.strip()
    least, most = _TOKEN_BYTES
    if len(token) > most:
        raise SettingsError(f"{name}: a token has at most {most} characters, this file has more")
    if len(token) < least or not token.isascii() or len(token.split()) != 1:
        raise SettingsError(f"{name}: a token is one word of at least {least} characters")
    return token
