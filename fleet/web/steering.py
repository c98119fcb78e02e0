"""Changing a rollout, for a person or a program: what the address names, and what is written down of it.

What should be and its audit row are written in one transaction; what was refused has a row too.
"""

from __future__ import annotations

from fleet.adapters.database import StoreError
from fleet.adapters.web_desk import Store
from fleet.web.access import Session
from fleet.web.reading import NotThereError
from fleet.web.rollout_page import ACTS
from fleet.web.visit import Visit
from wire.errors import EdgeflockError


def act_of(visit: Visit) -> str:
    """Return what a visit's address wants to do to a rollout; raise NotThereError for what cannot be done."""
    act = visit.names["act"]
    if act not in ACTS:
        raise NotThereError(f"nothing called {act!r} can be done to a rollout")
    return act


def steer(visit: Visit, store: Store, session: Session, sequence: int | None) -> None:
    """Do it if the plan with `sequence` still stands (None: whichever does). Raises as `Store.steer`."""
    act, group, model = act_of(visit), visit.names["group"], visit.names["model"]
    try:
        with store.transaction():
            plan = store.steer(act, group, model, sequence)
            store.audit.add(session.who, visit.source, act, f"{plan.release} in {group}")
    except StoreError:  # a row about it would wait as long, and in vain
        raise
    except EdgeflockError as error:
        store.audit.add(session.who, visit.source, act, f"{model} in {group}", str(error))
        raise
