"""The ASGI application: routes, headers and the log-in; what is shown is in site.py.

Rules:
- every answer forbids frames, foreign scripts and styles, sniffing, and keeping pages;
- a request that names another host than this one, or whose form is too large, is refused before it is read;
- a password is checked on a thread of its own, one at a time, after the throttle has let it through.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from fleet.adapters.accounts import Account, fits
from fleet.adapters.audit_log import LOG_IN
from fleet.adapters.templates import STATIC, Templates
from fleet.adapters.web_desk import Desk, Store
from fleet.web.access import SESSION_S, Throttle, same_origin
from fleet.web.address import WebAddress
from fleet.web.api import OPERATIONS
from fleet.web.machines import Machines, problem
from fleet.web.shield import Shield
from fleet.web.site import Page, Site
from fleet.web.visit import MAX_FORM_BYTES, Answer, Visit, read_form, safe_path
from wire.errors import UnavailableError

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

_COMPRESSED_FROM: Final = 800

#: What stays as it is in an address (RFC 3986); anything else has no place in a header.
_IN_ADDRESSES: Final = "/%?#=&:@!$'()*+,;[]"


class Application:
    """Wires routes to the site; `asgi` is what a server runs."""

    def __init__(self, desk: Desk, address: WebAddress, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._address = address
        self._clock = clock
        self._templates = Templates()
        self._site = Site(self._templates)
        self._throttle = Throttle()
        self._checking = asyncio.Lock()
        # The port in it: cookies of one host are shared by all its ports.
        self._cookie = (
            f"__Host-edgeflock-{address.port}" if address.encrypted else f"edgeflock-{address.port}"
        )
        site = Starlette(
            routes=self._routes(),
            middleware=[Middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM)],
            exception_handlers={
                404: self._not_found,
                405: self._not_found,
                UnavailableError: self._busy,
                Exception: self._failed,
            },
        )
        self.asgi = Shield(site, address)  # around all of it: a page that failed has the headers too

    def _routes(self) -> list[Route | Mount]:
        site, machines = self._site, Machines()
        return [
            Route("/login", self._log_in_page, methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/logout", self._page(site.log_out), methods=["POST"]),
            Route("/healthz", _alive),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/", self._page(site.overview)),
            Route("/devices/{device}", self._page(site.device)),
            Route("/models", self._page(site.models)),
            Route("/models/{model}/{version}", self._page(site.model)),
            Route("/rollouts", self._page(site.rollouts)),
            Route("/rollouts/{group}/{model}/{act}", self._page(site.confirm), methods=["GET"]),
            Route("/rollouts/{group}/{model}/{act}", self._page(site.steer), methods=["POST"]),
            Route("/samples", self._page(site.samples)),
            Route("/samples/label", self._page(site.label), methods=["POST"]),
            Route("/alerts/note", self._page(site.note), methods=["POST"]),
            Route("/audit", self._page(site.audit)),
            Route("/metrics", self._machine(machines.metrics)),
            Route("/export/{file}", self._machine(machines.export)),
            Route("/api/v1/openapi.json", self._machine(machines.openapi)),
            *(
                Route(each.path, self._machine(machines.operation(each)), methods=[each.method])
                for each in OPERATIONS
            ),
        ]

    def _page(self, page: Page) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            visit = await self._visit(request)
            run = self._desk.change if visit.changes else self._desk.ask
            return self._response(await run(lambda store: self._site.answer(page, visit, store)))

        return endpoint

    def _machine(self, answering: Callable[[Visit, Store], Answer]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            visit = await self._visit(request)
            run = self._desk.change if visit.changes else self._desk.ask
            try:
                answer = await run(lambda store: answering(visit, store))
            except UnavailableError as error:
                answer = problem(503, _not_now(request, error))
            return self._response(answer)

        return endpoint

    # --- the log-in ---------------------------------------------------------------------------

    async def _log_in_page(self, request: Request) -> Response:
        ready = await self._desk.ask(lambda store: store.accounts.any())
        return self._login_form(ready=ready, next=safe_path(request.query_params.get("next")))

    async def _log_in(self, request: Request) -> Response:
        visit = await self._visit(request)
        form = visit.form or {}
        name, password = form.get("name", "")[:64].strip().lower(), form.get("password", "")
        onward = safe_path(form.get("next"))
        if not visit.from_our_page:
            return self._login_form("This did not come from a page of this server.", 403, next=onward)
        wait_s = self._throttle.wait_s(visit.source, self._clock())
        if wait_s > 0:
            text = f"Too many wrong passwords: try again in {wait_s:.0f} s."
            return self._login_form(text, 429, next=onward, name=name, retry_s=wait_s)
        self._throttle.wrong(visit.source, self._clock())  # until it is known to be right
        account = await self._desk.ask(lambda store: store.accounts.find(name))
        async with self._checking:
            right = await asyncio.to_thread(fits, password, account.secret)
        answer = await self._desk.change(lambda store: _begin(store, visit, account, name, right=right))
        if answer is None:
            return self._login_form("Name or password is wrong.", 401, next=onward, name=name)
        self._throttle.right(visit.source)
        return self._response(Answer(303, location=onward), answer)

    def _login_form(
        self,
        text: str = "",
        status: int = 200,
        *,
        next: str = "/",  # the name of the field
        name: str = "operator",
        ready: bool = True,
        retry_s: float = 0.0,
    ) -> Response:
        said = {"tone": "warn", "text": text} if text else None
        body = self._templates.render(
            "login.html", session=None, active="", live=False, said=said, next=next, name=name, ready=ready
        )
        headers = {"Retry-After": f"{retry_s:.0f}"} if retry_s else {}
        return Response(body, status, headers, "text/html")

    # --- small things -------------------------------------------------------------------------

    async def _visit(self, request: Request) -> Visit:
        headers = request.headers
        form = None
        if request.method == "POST":
            form = read_form((await request.body())[:MAX_FORM_BYTES])
        return Visit(
            path=request.url.path,
            query=dict(request.query_params),
            names=dict(request.path_params),
            form=form,
            fragment="hx-request" in headers,
            source=request.client.host if request.client else "",
            cookie=request.cookies.get(self._cookie),
            bearer=_bearer(headers.get("authorization")),
            from_our_page=same_origin(
                headers.get("origin"),
                headers.get("sec-fetch-site"),
                "https" if self._address.encrypted else "http",
                headers.get("host", ""),
            ),
        )

    def _response(self, answer: Answer, cookie: str | None = None) -> Response:
        response = Response(answer.body, answer.status, dict(answer.headers), answer.kind)
        if answer.location is not None:
            response.headers["location"] = quote(answer.location, safe=_IN_ADDRESSES)
        if cookie is not None:
            response.set_cookie(
                self._cookie, cookie, max_age=int(SESSION_S), httponly=True, samesite="strict",
                secure=self._address.encrypted,
            )  # fmt: skip
        if answer.logs_out:
            response.delete_cookie(
                self._cookie, httponly=True, samesite="strict", secure=self._address.encrypted
            )
        return response

    async def _not_found(self, _request: Request, _error: Exception) -> Response:
        return self._response(self._site.problem(404, "Not found", "There is no such page."))

    async def _busy(self, request: Request, error: Exception) -> Response:
        return self._response(self._site.problem(503, "Not now", _not_now(request, error)))

    async def _failed(self, request: Request, error: Exception) -> Response:
        log.error("the page %s failed", request.url.path, exc_info=error)
        text = "The server's log says why. Nothing was changed."
        return self._response(self._site.problem(500, "This page failed", text))


def _begin(store: Store, visit: Visit, account: Account, name: str, *, right: bool) -> str | None:
    """Begin a session of `account` and return its cookie; None where the password is wrong, or the account
    was removed or changed while it was checked. Both are audited."""
    with store.transaction():
        if not right or store.accounts.find(name) != account:
            store.audit.add(name or "nobody", visit.source, LOG_IN, outcome="wrong name or password")
            return None
        session = store.accounts.begin(account)
        store.audit.add(session.who, visit.source, LOG_IN)
    return store.signed(session)


def _not_now(request: Request, error: Exception) -> str:
    """Log why there is no answer; return what a visitor is told of it."""
    log.error("the page %s had no answer: %s", request.url.path, error)
    return "The server's store does not answer. Nothing was changed: try again."


def _bearer(authorization: str | None) -> str | None:
    """Return the token of a header `Authorization: Bearer …` (RFC 6750)."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")
