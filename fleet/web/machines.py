"""What programs ask of the page: the REST API, metrics, and exports. Who may, and in what form."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec

from fleet.adapters.database import StoreError
from fleet.adapters.parquet_table import parquet_bytes
from fleet.adapters.web_desk import Store
from fleet.web.access import Session
from fleet.web.api import Ask, Operation
from fleet.web.api_answers import Problem
from fleet.web.exporting import Table, csv_text, devices_table, samples_table
from fleet.web.metrics import exposition
from fleet.web.openapi import document
from fleet.web.reading import NotThereError, SampleQuery
from fleet.web.visit import Answer, Visit
from wire.errors import EdgeflockError, UnavailableError
from wire.hosts import is_local

_JSON: Final = "application/json"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
_MOST_SAMPLES: Final = 100_000


class Machines:
    """Answers programs."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock

    def operation(self, operation: Operation) -> Callable[[Visit, Store], Answer]:
        """Return what answers one operation of the API."""

        def answer(visit: Visit, store: Store) -> Answer:
            session = _who(visit, store, reads=operation.method == "GET")
            if session is None:
                return problem(401, "give a token: `edgeflock fleet token NAME` makes one")
            if operation.method != "GET" and not session.acts:
                store.audit.add(session.who, visit.source, "refused", visit.path, "a viewer's token")
                return problem(403, "this token may only look")
            return _answered(
                lambda: _json(operation.answering(Ask(visit, store, session, self._wall_clock())))
            )

        return answer

    def openapi(self, _visit: Visit, _store: Store) -> Answer:
        return Answer(body=openapi_text(), kind=_JSON)

    def metrics(self, visit: Visit, store: Store) -> Answer:
        """Without a token only for this machine: that is where a collector runs."""
        if not is_local(visit.source) and _who(visit, store, reads=True) is None:
            return problem(401, "give a token: `edgeflock fleet token NAME` makes one")
        reading = store.reading
        return _answered(
            lambda: Answer(
                body=exposition(
                    reading.devices(),
                    releases=[release.name for release in reading.releases()],
                    total_of=reading.total,
                    rollouts=reading.rollouts(),
                    alerts=reading.alerts(),
                    refusals=reading.refusals(),
                ),
                kind=_METRICS,
            )
        )

    def export(self, visit: Visit, store: Store) -> Answer:
        """Return devices or samples as a CSV or Parquet file."""
        if _who(visit, store, reads=True) is None:
            return problem(401, "log in, or give a token")
        what, _, form = visit.names["file"].partition(".")
        if what not in ("devices", "samples") or form not in ("csv", "parquet"):
            return problem(404, "there are devices and samples, as .csv and .parquet")

        def made() -> Answer:
            table = _table(what, visit, store)
            body: str | bytes = csv_text(table) if form == "csv" else parquet_bytes(table)
            kind = "text/csv" if form == "csv" else "application/vnd.apache.parquet"
            name = f'attachment; filename="{what}.{form}"'
            return Answer(body=body, kind=kind, headers={"Content-Disposition": name})

        return _answered(made)


def problem(status: int, text: str) -> Answer:
    """Return an error as JSON."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Answer(status, msgspec.json.encode(Problem(text)), _JSON, headers=headers)


@cache
def openapi_text() -> str:
    """Return the document as it is kept in docs/reference/openapi.json."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def _who(visit: Visit, store: Store, *, reads: bool) -> Session | None:
    if visit.bearer is not None:
        return store.accounts.bearer(visit.bearer)
    return store.session(visit.cookie) if reads else None


def _answered(make: Callable[[], Answer]) -> Answer:
    try:
        return make()
    except StoreError:  # its text names files: the application says it without
        raise
    except NotThereError as error:
        return problem(404, str(error))
    except UnavailableError as error:
        return problem(503, str(error))
    except EdgeflockError as error:
        return problem(400, str(error))


def _json(value: Any) -> Answer:
    return Answer(body=msgspec.json.encode(value), kind=_JSON)


def _table(what: str, visit: Visit, store: Store) -> Table:
    if what == "devices":
        return devices_table(store.reading.devices())
    query = SampleQuery(visit.query.get("release"), "all", _MOST_SAMPLES)
    return samples_table(store.reading.samples(query))
