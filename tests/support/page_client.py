"""The page on a real socket in this process, and a client that keeps cookies as a browser does."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from fleet.adapters.accounts import Accounts
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.web_server import WebServer
from fleet.web.access import Role
from fleet.web.address import WebAddress
from wire.messages import Plan

PASSWORD = "correct horse battery"

#: Every page behind the log-in, of a fleet that filled_fleet.py made.
PATHS = ("/", "/devices/sim-00002", "/models", "/models/digits/2", "/rollouts", "/samples", "/audit")


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Client:
    """One visitor. `origin` is what its forms say where they come from; None says nothing."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Reply:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], *, origin: str | None = "", **headers: str) -> Reply:
        if origin is not None:
            headers["Origin"] = origin or self.origin
        return self._ask("POST", path, urlencode(fields), headers)

    def log_in(self, name: str = "operator", password: str = PASSWORD) -> Reply:
        return self.post("/login", {"name": name, "password": password})

    def token(self, path: str = "/") -> str:
        """Return the token that this session's forms carry."""
        found = re.search(r'name="token" value="([^"]+)"', self.get(path).text)
        assert found, "no form"
        return found[1]

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())} | dict(headers)
            if body is not None:
                sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in sent.items() if v})
            response = connection.getresponse()
            self._keep(response)
            return Reply(
                response.status,
                {k.lower(): v for k, v in response.getheaders()},
                response.read().decode(errors="replace"),
            )
        finally:
            connection.close()

    def _keep(self, response: http.client.HTTPResponse) -> None:
        for line in response.headers.get_all("Set-Cookie") or ():
            name, _, value = line.split(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


def add_account(state: Path, name: str, role: Role) -> None:
    database = Database(state).open()
    Accounts(database).put(name, role, PASSWORD)
    database.close()


def standing_plan(state: Path) -> Plan:
    """Return the only plan of a fleet."""
    database = Database(state).open()
    try:
        (plan,) = Registry(database).open().plans()
        return plan
    finally:
        database.close()


@contextmanager
def page_of(state: Path) -> Iterator[int]:
    """Serve the page of a fleet with an operator and a viewer; yield its port."""
    add_account(state, "operator", "operator")
    add_account(state, "viewer", "viewer")
    server = WebServer(state, WebAddress(port=0)).open().start()
    try:
        yield server.port
    finally:
        server.stop()
