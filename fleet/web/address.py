"""Where the page may listen, and by which names it may be called there. Pure.

Rules:
- without TLS only this machine may reach it: passwords would travel in the clear;
- a page that only this machine reaches answers to no other name. A foreign site whose name is made to
  point to 127.0.0.1 (DNS rebinding) would else be the page's own origin in a browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wire.errors import SettingsError
from wire.hosts import is_local

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080


@dataclass(frozen=True)
class WebAddress:
    """Where to listen. `chosen` is false where nobody asked for it: then a taken port ends nothing."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    key: Path | None = None
    chosen: bool = False

    @property
    def encrypted(self) -> bool:
        return self.certificate is not None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{self.port}/"


def web_address(text: str | None, certificate: Path | None, key: Path | None) -> WebAddress:
    """Return where `--web HOST:PORT` listens; raise SettingsError for what cannot be, or is not safe."""
    host, port = _host_and_port(text) if text is not None else (DEFAULT_HOST, DEFAULT_PORT)
    if (certificate is None) != (key is None):
        raise SettingsError("--web-certificate and --web-key belong together")
    if not is_local(host) and certificate is None:
        raise SettingsError(
            f"--web {host} would send passwords in the clear: give --web-certificate and --web-key, "
            f"or listen on {DEFAULT_HOST} and come through a tunnel (ssh -L)"
        )
    return WebAddress(host, port, certificate, key, chosen=text is not None)


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise SettingsError(f"--web {text!r}: write HOST:PORT")
    return host, int(port)


def may_be_called(host_header: str, address: WebAddress) -> bool:
    """Return whether a request that names this host may be answered.

    With TLS the certificate has said who is called; without it only names of this machine are.
    """
    if address.encrypted:
        return True
    name = host_header.rpartition(":")[0] if _has_port(host_header) else host_header
    return is_local(name.removeprefix("[").removesuffix("]").lower())


def _has_port(host_header: str) -> bool:
    after = host_header.rpartition(":")[2]
    return ":" in host_header and "]" not in after
