"""The pages: from a visit to an answer. Each looks at the guard first, then reads, then shows.

Rules:
- nobody sees anything without a session; who may only view is told so before anything is looked up;
- a change comes with the session's token from our own origin, writes what should be and its audit row in one
  transaction, and leads to a page that shows it: nothing here talks to a broker;
- a change names the plan that the person saw; if another stands by now, nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from fleet.adapters.database import StoreError
from fleet.adapters.templates import Templates
from fleet.adapters.web_desk import Store
from fleet.web.access import Session, token_fits
from fleet.web.charts import MOST_POINTS
from fleet.web.device_page import DeviceReadings, device_page
from fleet.web.lookback import span
from fleet.web.model_page import model_page, model_readings
from fleet.web.models_page import model_lines
from fleet.web.overview import Choice, overview
from fleet.web.reading import (
    SHOWS,
    NotThereError,
    SampleQuery,
    device_named,
    release_named,
    rollout_of,
)
from fleet.web.rollout_page import ACTS, rollout_view, rollout_views
from fleet.web.samples_page import samples_page
from fleet.web.steering import act_of, steer
from fleet.web.visit import Answer, Visit
from wire.errors import EdgeflockError, SettingsError, UnavailableError

Page = Callable[[Visit, Store, Session], Answer]

_EVENTS: Final = 100
_ROLLOUTS: Final = 3
_AUDIT_ROWS: Final = 100
_DID: Final = {"pause": "is paused", "resume": "goes on", "abort": "is aborted", "undo": "is taken back"}


class Site:
    """All pages behind the log-in."""

    def __init__(self, templates: Templates, wall_clock: Callable[[], float] = time.time) -> None:
        self._templates = templates
        self._wall_clock = wall_clock

    def answer(self, page: Page, visit: Visit, store: Store) -> Answer:
        """Return what `page` says to a visitor who is logged in, and the log-in to others."""
        session = store.session(visit.cookie)
        if session is None:
            return self._go_and_log_in(visit)
        if visit.changes:
            refusal = self._refusal(visit, session)
            if refusal:
                store.audit.add(session.who, visit.source, "refused", visit.path, refusal)
                return self.problem(403, "Not done", refusal, session)
        try:
            return page(visit, store, session)
        except StoreError:  # its text names files: the application says it without
            raise
        except NotThereError as error:
            return self.problem(404, "Not found", str(error), session)
        except UnavailableError as error:
            return self.problem(503, "Not now", str(error), session)
        except EdgeflockError as error:
            return self.problem(400, "Not done", str(error), session)

    def problem(
        self, status: int, heading: str, text: str, session: Session | None = None, back: str = "/"
    ) -> Answer:
        """Return a page that says why there is nothing else."""
        context = {"heading": heading, "text": text, "back": back}
        return Answer(status, self._templates.render("problem.html", **_frame(session), **context))

    # --- pages --------------------------------------------------------------------------------

    def overview(self, visit: Visit, store: Store, session: Session) -> Answer:
        reading, choice = store.reading, Choice.parse(visit.query)
        view = overview(reading.devices(), reading.alerts(), reading.refusals(), choice, self._wall_clock())
        rollouts = [r for r in rollout_views(reading.rollouts()) if not r.finished][:_ROLLOUTS]
        return self._show("overview", visit, session, view=view, rollouts=rollouts, active="/")

    def device(self, visit: Visit, store: Store, session: Session) -> Answer:
        name, chosen = visit.names["device"], span(visit.query.get("span"))
        device = device_named(store.reading, name)
        window = chosen.window(self._wall_clock())
        view = device_page(
            device,
            DeviceReadings(
                store.reading.device(name, None, window),
                store.reading.device_releases(name, window),
                store.reading.vitals(name, window, MOST_POINTS),
                store.reading.events(name, _EVENTS),
            ),
            chosen,
        )
        return self._show("device", visit, session, view=view, active="/")

    def models(self, visit: Visit, store: Store, session: Session) -> Answer:
        reading = store.reading
        view = model_lines(reading.releases(), reading.devices(), reading.total)
        return self._show("models", visit, session, view=view, active="/models")

    def model(self, visit: Visit, store: Store, session: Session) -> Answer:
        name, chosen = f"{visit.names['model']}/{visit.names['version']}", span(visit.query.get("span"))
        reading = store.reading
        release = release_named(reading, name)
        window = chosen.window(self._wall_clock())
        read = replace(model_readings(reading, name, window), compared=reading.compared(name))
        view = model_page(release, read, chosen)
        return self._show("model", visit, session, view=view, active="/models")

    def rollouts(self, visit: Visit, store: Store, session: Session) -> Answer:
        view = rollout_views(store.reading.rollouts())
        return self._show("rollouts", visit, session, view=view, active="/rollouts")

    def confirm(self, visit: Visit, store: Store, session: Session) -> Answer:
        """Ask whether a rollout shall really be changed."""
        act = act_of(visit)
        if not session.acts:
            return self.problem(403, "Not yours", "Only operators steer rollouts.", session, "/rollouts")
        found = rollout_of(store.reading, visit.names["group"], visit.names["model"])
        name, meaning, _ = ACTS[act]
        context = {"view": rollout_view(found), "act": act, "name": name, "meaning": meaning}
        return Answer(
            body=self._templates.render("confirm.html", **_frame(session, active="/rollouts"), **context)
        )

    def steer(self, visit: Visit, store: Store, session: Session) -> Answer:
        """Change a rollout."""
        act = act_of(visit)
        steer(visit, store, session, _number((visit.form or {}).get("sequence"), "sequence"))
        return _to("/rollouts", f"{act}ed")

    def samples(self, visit: Visit, store: Store, session: Session) -> Answer:
        show = visit.query.get("show", "unsure")
        query = SampleQuery(
            release=visit.query.get("release") or None, show=show if show in SHOWS else "unsure"
        )
        view = samples_page(store.reading.samples(query), store.reading.meaning)
        return self._show("samples", visit, session, view=view, query=query, active="/samples", live=False)

    def label(self, visit: Visit, store: Store, session: Session) -> Answer:
        """Store what is right for a sample."""
        form = visit.form or {}
        release = form.get("release", "")
        truth = store.reading.meaning(release).classes.number(form.get("truth", ""))
        device, sample = form.get("device", ""), form.get("sample", "")
        with store.transaction():
            store.labels.put(device, sample, release, truth, session.who)
            store.audit.add(session.who, visit.source, "label", f"{sample} of {device}: {truth}")
        show = form.get("show", "")
        return _to(f"/samples?show={show if show in SHOWS else 'unsure'}")

    def note(self, visit: Visit, store: Store, session: Session) -> Answer:
        """Take note of an alert: a person knows."""
        key = (visit.form or {}).get("key", "")
        with store.transaction():
            if not store.acknowledge(key, session.who):
                raise NotThereError(f"no alert {key[:80]!r} stands: it may be over")
            store.audit.add(session.who, visit.source, "note alert", key)
        return _to("/")

    def audit(self, visit: Visit, store: Store, session: Session) -> Answer:
        before = visit.query.get("before", "")
        rows = store.audit.lines(_AUDIT_ROWS, _number(before, "before") if before else None)
        older = rows[-1].number if len(rows) == _AUDIT_ROWS else None
        return self._show("audit", visit, session, view=rows, older=older, active="/audit", live=False)

    def log_out(self, visit: Visit, store: Store, session: Session) -> Answer:
        with store.transaction():
            store.accounts.end(session)
            store.audit.add(session.who, visit.source, "log out")
        return Answer(303, location="/login", logs_out=True)

    # --- small things -------------------------------------------------------------------------

    def _show(
        self, name: str, visit: Visit, session: Session, *, active: str, live: bool = True, **context: Any
    ) -> Answer:
        frame = _frame(session, active=active, live=live, said=_SAID.get(visit.query.get("said", "")))
        template = f"{name}_live.html" if visit.fragment and live else f"{name}.html"
        return Answer(body=self._templates.render(template, **frame, path=visit.path, **context))

    def _go_and_log_in(self, visit: Visit) -> Answer:
        if visit.fragment:
            return Answer(200, headers={"HX-Redirect": "/login"})
        if visit.changes:
            return self.problem(403, "Not done", "Your session has ended: log in and do it again.", None)
        onward = quote(visit.path)
        return Answer(303, location=f"/login?next={onward}" if onward != "/" else "/login")

    @staticmethod
    def _refusal(visit: Visit, session: Session) -> str:
        if not visit.from_our_page:
            return "This did not come from a page of this server."
        if not token_fits(session, (visit.form or {}).get("token")):
            return "This form is not of your session: open the page again."
        if not session.acts and visit.path != "/logout":
            return "Viewers look; only operators act."
        return ""


_SAID: Final = {
    f"{act}ed": {"tone": "good", "text": f"Done: the rollout {did}. Devices follow within a second."}
    for act, did in _DID.items()
}


def _frame(session: Session | None, **more: Any) -> dict[str, Any]:
    return {"session": session, "active": "", "live": False, "said": None} | more


def _to(path: str, said: str = "") -> Answer:
    return Answer(303, location=f"{path}?said={said}" if said else path)


def _number(text: str | None, what: str) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 19):
        raise SettingsError(f"{what} is not a whole number")
    return int(text)
