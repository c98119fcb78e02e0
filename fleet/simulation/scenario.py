"""What happens to a simulated fleet, and when: a TOML file, read strictly.

Times are minutes since the beginning. A phase is a kind, a stretch, and the share of the devices that it
meets, always the same ones for a seed. What phases do adds up where they overlap.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from wire.errors import SettingsError
from wire.topics import check_name

Kind = Literal["normal", "drift", "regression", "rollout", "flapping", "heat", "lies"]


@dataclass(frozen=True)
class Phase:
    """One thing that happens.

    `amount` is by kind: drift in standard deviations of the inputs, regression in lost accuracy, flapping in
    minutes that a device is away each time, heat in degrees above normal; lies and rollouts have none.
    `release` is the one that a regression is in (empty: any), or that a rollout brings: its devices change
    over one after the other during the phase.
    """

    kind: Kind
    from_min: float = 0.0
    for_min: float = math.inf
    share: float = 1.0
    amount: float = 0.0
    release: str = ""


@dataclass(frozen=True)
class Scenario:
    """What a device is like, and what happens to the fleet.

    `rate_hz` are answers a second, `labelled` the share of them for which a truth comes, `accuracy` that of
    the average device; `sites` become slices. Every interval a device sends `samples` sampled answers.
    """

    seed: int = 7
    model: str = "camera"
    release: str = "camera/1"
    interval_s: float = 60.0
    rate_hz: float = 5.0
    classes: int = 10
    accuracy: float = 0.93
    labelled: float = 0.1
    samples: int = 2
    features: tuple[str, ...] = ("brightness", "contrast")
    sites: tuple[str, ...] = ("north", "south", "yard")
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True)
class Conditions:
    """What one device meets at one moment."""

    release: str
    drift_sd: float = 0.0
    lost_accuracy: float = 0.0
    heat_c: float = 0.0
    connected: bool = True
    lying: bool = False


#: What an amount is when the file does not say.
_USUAL: Final[dict[Kind, float]] = {"drift": 1.0, "regression": 0.06, "flapping": 5.0, "heat": 25.0}


def load(path: Path) -> Scenario:
    """Read a scenario; raise SettingsError with the file's name for what cannot be."""
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse(table: dict[str, Any]) -> Scenario:
    """Return the scenario of a parsed file; raise SettingsError for what cannot be."""
    table = dict(table)
    phases = table.pop("phase", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise SettingsError("phases are written as [[phase]]")
    scenario: Scenario = _made(Scenario, table, "")
    made = tuple(_phase(phase, f"phase {n}: ") for n, phase in enumerate(phases, 1))
    _check(scenario)
    return Scenario(**(vars(scenario) | {"phases": made}))


def _made(kind: Any, table: dict[str, Any], where: str) -> Any:
    known = {f.name: f.type for f in fields(kind) if f.name != "phases"}
    given: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise SettingsError(f"{where}{name!r} is none of {', '.join(known)}")
        given[name] = _fitting(where + name, str(known[name]), value)
    return kind(**given)


def _fitting(name: str, wanted: str, value: Any) -> Any:
    """Return a value as its annotation has it; raise SettingsError for one of another type."""
    if wanted == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if wanted.startswith("tuple") and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if wanted in ("str", "Kind") and isinstance(value, str):
        return value
    raise SettingsError(
        f"{name} = {value!r} is no {'list of texts' if wanted.startswith('tuple') else wanted}"
    )


def _phase(table: dict[str, Any], where: str) -> Phase:
    if table.get("kind") not in get_args(Kind):
        raise SettingsError(f"{where}kind is one of {', '.join(get_args(Kind))}")
    phase: Phase = _made(Phase, table, where)
    if not phase.amount:
        phase = Phase(**(vars(phase) | {"amount": _USUAL.get(phase.kind, 0.0)}))
    if not 0 <= phase.share <= 1:
        raise SettingsError(f"{where}share is 0 to 1")
    if not (phase.from_min >= 0 and phase.for_min > 0 and math.isfinite(phase.amount)):
        raise SettingsError(f"{where}from_min and for_min count from the beginning, in minutes")
    if phase.kind == "rollout" and not phase.release:
        raise SettingsError(f"{where}a rollout names its release")
    return phase


def _check(scenario: Scenario) -> None:
    check_name("model", scenario.model)
    for share in ("accuracy", "labelled"):
        if not 0 <= getattr(scenario, share) <= 1:
            raise SettingsError(f"{share} is 0 to 1")
    if not (0.1 <= scenario.interval_s <= 86_400 and 0 <= scenario.rate_hz <= 10_000):
        raise SettingsError("interval_s is 0.1 to 86400, rate_hz 0 to 10000")
    if not (2 <= scenario.classes <= 1000 and 0 <= scenario.samples <= 100 and scenario.sites):
        raise SettingsError("classes are 2 to 1000, samples 0 to 100, and there is at least one site")


def conditions(scenario: Scenario, device: int, minute: float) -> Conditions:
    """Return what device number `device` meets `minute` minutes after the beginning."""
    release, drift_sd, lost, heat_c = scenario.release, 0.0, 0.0, 0.0
    connected, lying = True, False
    for number, phase in enumerate(scenario.phases):
        place = _place(scenario.seed, number, device)
        since = minute - phase.from_min
        if since < 0 or place >= phase.share:
            continue
        if phase.kind == "rollout":  # stays after its end
            if since >= (place / phase.share) * min(phase.for_min, 1e9):
                release = phase.release
            continue
        if since >= phase.for_min:
            continue
        match phase.kind:
            case "drift":
                drift_sd += phase.amount
            case "regression" if phase.release in ("", release):
                lost += phase.amount
            case "heat":
                heat_c += phase.amount
            case "flapping":
                connected = (
                    connected and (since + 2 * place * phase.amount) % (2 * phase.amount) >= phase.amount
                )
            case "lies":
                lying = True
    return Conditions(release, drift_sd, lost, heat_c, connected, lying)


def _place(seed: int, phase: int, device: int) -> float:
    """Return where a device stands in a phase, 0 to 1: below the share it takes part."""
    digest = hashlib.sha256(f"{seed}/{phase}/{device}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
