"""`edgeflock fleet pause | resume | abort | undo | status`: steers rollouts that stand, and shows them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Final

from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.adapters.rollout_table import rollout_view
from fleet.adapters.steering import Steering, Wanted
from fleet.adapters.terminal import keep_showing, make_console
from fleet.expiry_watch import note_expiries
from fleet.opened_fleet import OpenedFleet, opened_fleet
from fleet.progress import Rollout, as_json, rollout
from wire.messages import Plan
from wire.wave import takes_part

_REFRESH_S: Final = 0.5

#: Adds a subcommand of `fleet` with its --state (fleet/cli.py).
AddPart = Callable[..., argparse.ArgumentParser]

_PAUSE_HELP = """\
Holds a rollout where it is: downloads stop within a second and keep what they have, devices that wait
go on waiting, those that have the release keep it. Goes on with `fleet resume`.

example:
    edgeflock fleet pause digits
    edgeflock fleet pause digits/2 --from lab
"""

_RESUME_HELP = """\
Lets a paused rollout go on; downloads fetch only what they lack. With --retry devices that blocked the
release try it once more, also where the rollout was not paused.

example:
    edgeflock fleet resume digits
    edgeflock fleet resume digits/2 --retry
"""

_ABORT_HELP = """\
Ends a rollout for good: downloads stop within a second, nobody begins any more. Devices that have the
release keep it (`fleet undo` takes it back). What is to go on later is pushed again.

example:
    edgeflock fleet abort digits
    edgeflock fleet abort digits/2 --from lab
"""

_UNDO_HELP = """\
Plans the release that was planned before, for everybody who may have got this one. A device holds the
release before on its disk: it downloads nothing, tries it anew, and swaps it in. Again: the one before
that. One that blocked it once refuses it, unless --retry asks for another try.

example:
    edgeflock fleet undo digits
    edgeflock fleet undo digits/2 --to lab
"""

_STATUS_HELP = """\
Shows each rollout and how far its devices are: done, on probation, in their trial, downloading,
waiting, refused (and why), silent, outside the wave, or led elsewhere by a pin or another group's plan.

example:
    edgeflock fleet status --watch
    edgeflock fleet status digits --json | jq '.[].counts'
"""


def add_parts(add: AddPart) -> None:
    """Add the subcommands."""
    for name, summary, text, state in (
        ("pause", "hold a rollout", _PAUSE_HELP, "pause"),
        ("resume", "let a paused rollout go on", _RESUME_HELP, "run"),
        ("abort", "end a rollout for good", _ABORT_HELP, "abort"),
    ):
        part = add(name, summary, text, _run_state)
        part.set_defaults(state_wanted=state, retry=False)
        _add_rollout(part, "--from")
        if name == "resume":
            _add_retry(part)
    back = add("undo", "go back to the release before", _UNDO_HELP, _run_undo)
    _add_rollout(back, "--to")
    _add_retry(back)
    status = add("status", "show how far rollouts are", _STATUS_HELP, _run_status)
    status.add_argument("model", nargs="?", metavar="MODEL", help="of this model, or release, only")
    look = status.add_mutually_exclusive_group()
    look.add_argument("--watch", action="store_true", help="keep showing, until Ctrl-C")
    look.add_argument("--json", action="store_true", help="print JSON")


def _add_rollout(part: argparse.ArgumentParser, option: str) -> None:
    part.add_argument("model", metavar="MODEL", help="a model (digits) or one release of it (digits/2)")
    part.add_argument(
        option, dest="group", metavar="GROUP", help="in this group only (each group that has a plan of it)"
    )


def _add_retry(part: argparse.ArgumentParser) -> None:
    part.add_argument("--retry", action="store_true", help="try it again where it was blocked before")


def _run_state(arguments: argparse.Namespace) -> int:
    wanted = Wanted.parse(arguments.model, arguments.group)
    with opened_fleet(arguments.state) as fleet, fleet.registry.transaction():
        steering = _steering(fleet)
        made = steering.set_state(wanted, arguments.state_wanted, retry=arguments.retry)
        fleet.audit.add_command(arguments.part, (f"{plan.release} in {plan.group}" for plan in made))
    words = {"pause": "paused", "run": "goes on", "abort": "aborted"}
    _say(made, words[arguments.state_wanted], steering.skipped)
    return 0


def _run_undo(arguments: argparse.Namespace) -> int:
    wanted = Wanted.parse(arguments.model, arguments.group)
    with opened_fleet(arguments.state) as fleet:
        steering = _steering(fleet)
        with fleet.registry.transaction():
            made = steering.undo(wanted, retry=arguments.retry)
            fleet.audit.add_command("undo", (f"{plan.release} in {plan.group}" for plan in made))
        _say(made, "is the plan again", steering.skipped)
        for plan in made if not arguments.retry else ():
            _note_blocked(plan, fleet.registry, fleet.reader)
    return 0


def _steering(fleet: OpenedFleet) -> Steering:
    return Steering(fleet.database, fleet.registry, fleet.signed)


def _note_blocked(plan: Plan, registry: Registry, reader: FleetReader) -> None:
    """Say which devices of the plan will refuse it: a block is a device's, and a plan alone lifts none."""
    members = [device for device in registry.members(plan.group) if takes_part(plan, device)]
    blocked = reader.blocking(plan.release) & {*members}
    if blocked:
        count = f"{len(blocked)} of {len(members)} devices"
        print(
            f"note: {count} in {plan.group} blocked {plan.release} before and will refuse it; "
            f"`edgeflock fleet resume {plan.release} --from {plan.group} --retry` lets them try it again",
            file=sys.stderr,
        )


def _say(made: list[Plan], what: str, skipped: list[str]) -> None:
    for plan in made:
        print(f"{plan.release} in {plan.group}: {what}")
    for reason in skipped:
        print(f"left as it is: {reason}", file=sys.stderr)
    if not made:
        print("nothing to do: that is its state already")


def _run_status(arguments: argparse.Namespace) -> int:
    wanted = Wanted.parse(arguments.model, None) if arguments.model else None
    note_expiries(arguments.state)
    with opened_fleet(arguments.state) as fleet:
        registry, steering, reader = fleet.registry, _steering(fleet), fleet.reader
        if arguments.json:
            print(json.dumps([as_json(r) for r in _rollouts(registry, steering, reader, wanted)], indent=2))
            return 0
        console = make_console()
        if not arguments.watch:
            found = _rollouts(registry, steering, reader, wanted)
            console.print(rollout_view(found) if found else "no rollout yet: `edgeflock fleet push`")
            return 0
        return keep_showing(
            console, lambda: rollout_view(_rollouts(registry, steering, reader, wanted)), _REFRESH_S
        )


def _rollouts(
    registry: Registry, steering: Steering, reader: FleetReader, wanted: Wanted | None
) -> list[Rollout]:
    plans = registry.plans()
    shown = [entry.plan for entry in steering.find(wanted)] if wanted else plans
    devices = reader.devices(registry.desired())
    return [rollout(plan, devices, plans) for plan in shown]
