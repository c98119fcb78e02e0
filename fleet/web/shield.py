"""What every request passes and every answer carries, whatever page it is."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.web.address import WebAddress, may_be_called
from fleet.web.visit import MAX_FORM_BYTES

#: No inline script or style, nothing from elsewhere, no frame, no form that leads away.
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Digits of a length that are read: zeros in front say nothing, and nobody but an attacker writes them.
_MAX_DIGITS: Final = 9

#: A static file's address has its content's digest in it.
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Shield:
    """Middleware: refuses what need not be read, and adds the headers."""

    def __init__(self, app: ASGIApp, address: WebAddress) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        static = scope["path"].startswith("/static/") and scope["query_string"]

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(_HEADERS)
                kept = static and message["status"] == 200
                headers["Cache-Control"] = _FOR_EVER if kept else "no-store"
                if self._address.encrypted:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                message["headers"] = headers.raw
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, shielded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not may_be_called(headers.get("host", ""), self._address):
            return PlainTextResponse("this page is not known under that name\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            length = headers.get("content-length", "")
            known = length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS
            if not (known and int(length) <= MAX_FORM_BYTES):
                return PlainTextResponse("say how long it is, and be shorter\n", 413)
        return None
