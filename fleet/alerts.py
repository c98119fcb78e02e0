"""From findings to alerts that a person can live with. Pure: time is an argument.

Rules:
- a finding becomes an alert only when it was found in every look for `raise_after_s`, and stays one until it
  was absent from every look for `clear_after_s`: what comes and goes faster is one alert, or none;
- findings about devices are grouped: a hundred silent devices are one alert that names them;
- a person acknowledges what an alert has then; a device that joins later makes it open again;
- what was told is told again only when it ends, or has twice as many devices as when it was told last.

Which kinds there are, and when each is found, is the table in fleet/alert_kinds.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from fleet.alert_kinds import KINDS, Severity, Subject

#: Names that the text of an alert gives.
_NAMED: Final = 5


@dataclass(frozen=True)
class Finding:
    """One thing that a look found: of which kind, about whom, in words, and the figure behind it if any.

    `subject` is a device, a release, `<group>/<model>` of a rollout, or empty for the whole fleet.
    """

    kind: str
    subject: str
    text: str
    value: float | None = None


@dataclass(frozen=True)
class Watch:
    """A finding through time, in Unix seconds: since when, raised when, absent since when."""

    finding: Finding
    first_s: float
    raised_s: float | None = None
    absent_s: float | None = None
    acknowledged_by: str | None = None
    acknowledged_s: float | None = None


Watches = Mapping[tuple[str, str], Watch]


@dataclass(frozen=True)
class Alert:
    """What a person is told. `key` is the kind, and behind a slash what it is about unless that are devices.

    `findings` are all that it is made of, by subject; it is acknowledged when each of them is.
    """

    key: str
    kind: str
    severity: Severity
    text: str
    raised_s: float
    findings: tuple[Finding, ...]
    acknowledged_by: str | None = None
    acknowledged_s: float | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(finding.subject for finding in self.findings)


@dataclass(frozen=True)
class Change:
    """Something to be told; `grown` has twice as many devices as before."""

    what: Literal["raised", "grown", "cleared"]
    alert: Alert


def look(watches: Watches, findings: Iterable[Finding], now_s: float) -> dict[tuple[str, str], Watch]:
    """Return what is watched after a look that found `findings`; those of unknown kinds are left out."""
    found = {(f.kind, f.subject): f for f in findings if f.kind in KINDS}
    after: dict[tuple[str, str], Watch] = {}
    for place, finding in found.items():
        after[place] = _seen(watches.get(place), finding, now_s)
    for place, watch in watches.items():
        if place not in found and (waiting := _absent(watch, now_s)):
            after[place] = waiting
    return after


def _seen(watch: Watch | None, finding: Finding, now_s: float) -> Watch:
    watch = replace(watch, finding=finding, absent_s=None) if watch else Watch(finding, now_s)
    if watch.raised_s is None and now_s - watch.first_s >= KINDS[finding.kind].raise_after_s:
        return replace(watch, raised_s=now_s)
    return watch


def _absent(watch: Watch, now_s: float) -> Watch | None:
    """Return the watch of what was not found now; None when it is over."""
    kind = KINDS.get(watch.finding.kind)
    if kind is None or watch.raised_s is None:
        return None
    since_s = now_s if watch.absent_s is None else watch.absent_s
    return None if now_s - since_s >= kind.clear_after_s else replace(watch, absent_s=since_s)


def key_of(finding: Finding) -> str:
    """Return the key of the alert that a finding belongs to."""
    grouped = KINDS[finding.kind].subject in (Subject.DEVICE, Subject.FLEET)
    return finding.kind if grouped or not finding.subject else f"{finding.kind}/{finding.subject}"


def standing(watches: Watches, devices: int) -> dict[str, Alert]:
    """Return the alerts that stand, by key; `devices` is how many the fleet has."""
    groups: dict[str, list[Watch]] = {}
    for watch in watches.values():
        if watch.raised_s is not None and watch.finding.kind in KINDS:
            groups.setdefault(key_of(watch.finding), []).append(watch)
    return {key: _alert(key, groups[key], devices) for key in sorted(groups)}


def _alert(key: str, watches: list[Watch], devices: int) -> Alert:
    kind = KINDS[watches[0].finding.kind]
    findings = tuple(sorted((w.finding for w in watches), key=lambda f: f.subject))
    marks = [(w.acknowledged_s, w.acknowledged_by) for w in watches if w.acknowledged_s is not None]
    at_s, by = max(marks) if len(marks) == len(watches) else (None, None)
    return Alert(
        key=key,
        kind=kind.name,
        severity=kind.severity,
        text=_text(findings, kind.several, devices),
        raised_s=min(w.raised_s for w in watches if w.raised_s is not None),
        findings=findings,
        acknowledged_by=by,
        acknowledged_s=at_s,
    )


def _text(findings: tuple[Finding, ...], several: str, devices: int) -> str:
    if len(findings) == 1:
        return f"{findings[0].subject}: {findings[0].text}" if findings[0].subject else findings[0].text
    names = ", ".join(f.subject for f in findings[:_NAMED])
    more = ", …" if len(findings) > _NAMED else ""
    return f"{len(findings)} of {max(devices, len(findings))} devices {several}: {names}{more}"


def acknowledge(watches: Watches, key: str, person: str, now_s: float) -> dict[tuple[str, str], Watch]:
    """Return the watches of the alert `key` as acknowledged; empty when no such alert stands."""
    return {
        place: replace(watch, acknowledged_by=person, acknowledged_s=now_s)
        for place, watch in watches.items()
        if watch.raised_s is not None and watch.finding.kind in KINDS and key_of(watch.finding) == key
    }


def changes(told: Mapping[str, int], now: Mapping[str, Alert], before: Mapping[str, Alert]) -> list[Change]:
    """Return what is to be told; `told` is how many findings each alert had when it was told last."""
    found = [Change("cleared", alert) for key, alert in before.items() if key not in now]
    for key, alert in now.items():
        if key not in told:
            found.append(Change("raised", alert))
        elif len(alert.findings) >= 2 * told[key]:
            found.append(Change("grown", alert))
    return found
