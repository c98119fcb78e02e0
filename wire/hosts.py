"""Who can reach a host that a server of ours listens on. Pure."""

from __future__ import annotations

import ipaddress


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach `host`; a name other than localhost may be anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
