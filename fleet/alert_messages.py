"""What of an alert travels: the JSON of a webhook and of the retained topic, and the webhook's signature."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

from fleet.alerts import Alert, Change
from wire.codec import encode

#: Findings of one alert that are spelled out; `devices` says how many there are.
MAX_FINDINGS: Final = 100
_MAX_TEXT: Final = 300

#: Carries `t=<Unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>` with the secret.
SIGNATURE: Final = "X-Edgeflock-Signature"


def as_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as what JSON has; times are Unix seconds."""
    return {
        "key": alert.key,
        "kind": alert.kind,
        "severity": alert.severity,
        "text": alert.text,
        "raised_s": alert.raised_s,
        "count": len(alert.findings),
        "findings": [
            {"subject": f.subject, "text": f.text[:_MAX_TEXT], "value": f.value}
            for f in alert.findings[:MAX_FINDINGS]
        ],
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_s": alert.acknowledged_s,
    }


def retained(alert: Alert) -> bytes:
    """Return the payload of an alert's topic."""
    return encode(as_json(alert) | {"v": 1})


def posted(change: Change, fleet: str, at_s: float) -> bytes:
    """Return the body of a webhook's request about one change; `fleet` is the topic prefix."""
    return encode({"what": change.what, "fleet": fleet, "at_s": at_s, "alert": as_json(change.alert), "v": 1})


def signature(body: bytes, secret: bytes, at_s: float) -> str:
    """Return the value of the `SIGNATURE` header."""
    second = str(int(at_s))
    digest = hmac.new(secret, second.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={second},v1={digest}"
