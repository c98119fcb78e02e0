"""Many simulated devices on a few connections to a real broker.

They share connections, as no desktop holds ten thousand of them, so a broker must let them: one that knows
devices by their certificates does not. Each device reports at its own moment of the interval. What a device
says is held until the server acknowledges it; at the end everything must have been.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet.simulation.course import Count
from fleet.simulation.device import Said, SimulatedDevice
from fleet.simulation.lies import lie
from fleet.simulation.outbox import Outbox
from fleet.simulation.scenario import Scenario, conditions
from wire.codec import decode, encode
from wire.deadline import Clock
from wire.errors import MessageError
from wire.link import Incoming, Link, LinkDown, LinkUp
from wire.messages import Ack
from wire.topics import DeviceTopic, Topics

_TOPICS_AT_ONCE: Final = 500
_EVENTS: Final = 1000


@dataclass
class _Member:
    device: SimulatedDevice
    outbox: Outbox
    link: int
    away: bool = True
    lied: bool = False
    said: int = 0
    acknowledged: int = 0
    #: What is retained and not handed over yet: the last word wins.
    words: dict[str, Said] = field(default_factory=dict)


class Crowd:
    """The devices; `turn` again and again lets them live.

    `unix_s` is the simulated time, which may run faster than `clock`, the one that timeouts go by.
    """

    def __init__(
        self, links: Sequence[Link], topics: Topics, scenario: Scenario, *, devices: int, boot: str,
        unix_s: Clock, clock: Clock,
    ) -> None:  # fmt: skip
        self._lies = self._reconnects = 0
        self._links = links
        self._up = [False] * len(links)
        self._topics = topics
        self._scenario = scenario
        self._unix_s = unix_s
        self._begin_s = unix_s()
        self._members = [
            _Member(SimulatedDevice(scenario, n, boot), Outbox(boot, clock), n % len(links))
            for n in range(devices)
        ]
        self._by_name = {member.device.name: member for member in self._members}
        self._next = [(self._begin_s + scenario.interval_s * n / devices, n) for n in range(devices)]

    def open(self) -> Crowd:
        """Ask for the acknowledgements, and begin to connect."""
        for number, link in enumerate(self._links):
            names = [m.device.name for m in self._members if m.link == number]
            acks = [self._topics.device(name, "ack") for name in names]
            for i in range(0, len(acks), _TOPICS_AT_ONCE):
                link.subscribe(acks[i : i + _TOPICS_AT_ONCE])
            link.start()
        return self

    @property
    def connected(self) -> bool:
        """Whether all connections stand."""
        return all(self._up)

    @property
    def count(self) -> Count:
        """What happened so far."""
        honest = [member for member in self._members if not member.lied]
        return Count(
            said=sum(member.said for member in honest),
            acknowledged=sum(member.acknowledged for member in honest),
            held=sum(len(member.outbox) for member in honest),
            lies=self._lies,
            reconnects=self._reconnects,
        )

    @property
    def liars(self) -> frozenset[str]:
        """The devices that lied: theirs need not all be taken."""
        return frozenset(member.device.name for member in self._members if member.lied)

    @property
    def names(self) -> list[str]:
        return [member.device.name for member in self._members]

    def turn(self, wait_s: float = 0.0, *, speaking: bool = True) -> None:
        """Take what came, let those speak whose time has come, and send what the links take."""
        for number, link in enumerate(self._links):
            self._receive(number, link, wait_s / len(self._links))
        now_s = self._unix_s()
        while speaking and self._next and self._next[0][0] <= now_s:
            at_s, n = heapq.heappop(self._next)
            heapq.heappush(self._next, (at_s + self._scenario.interval_s, n))
            self._speak(self._members[n], at_s)
        for member in self._members:
            self._send(member)

    def finish(self) -> None:
        """Let everybody say goodbye: a last report of each, and none is away any more."""
        now_s = self._unix_s()
        for member in self._members:
            self._speak(member, now_s, final=True)

    def _speak(self, member: _Member, at_s: float, *, final: bool = False) -> None:
        device = member.device
        met = conditions(self._scenario, device.number, (at_s - self._begin_s) / 60)
        away = not met.connected and not final
        if away and not member.away:
            member.words["online"] = device.will()
            self._send_words(member)
        elif member.away and not away:
            member.words["online"] = device.birth(at_s)
        member.away = away
        for said in device.speak(at_s, met, final=final):
            if not said.durable:
                member.words[said.leaf] = said
            elif met.lying and said.leaf == "telemetry" and not final:
                self._lie(member, said)
            else:
                member.outbox.add(said.leaf, said.message.head.sequence, encode(said.message))
                member.said += 1

    def _lie(self, member: _Member, said: Said) -> None:
        """Send it once, and hold nothing: where the link does not take it, what follows has a gap below."""
        member.lied = True
        payload = lie(said.message.head.sequence, said.message)
        topic = self._topics.device(member.device.name, "telemetry")
        self._lies += self._links[member.link].publish(topic, payload)

    def _send(self, member: _Member) -> None:
        if member.away or not self._up[member.link]:
            return
        self._send_words(member)
        link = self._links[member.link]
        for key, payload in member.outbox.due():
            if not link.publish(self._topics.device(member.device.name, key[0]), payload):
                return
            member.outbox.sent(key)

    def _send_words(self, member: _Member) -> None:
        link = self._links[member.link]
        for leaf, said in list(member.words.items()):
            topic = self._topics.device(member.device.name, said.leaf)
            if link.publish(topic, encode(said.message), retain=True):
                del member.words[leaf]

    def _receive(self, number: int, link: Link, wait_s: float) -> None:
        for n in range(_EVENTS):
            event = link.receive(0 if n else wait_s)
            match event:
                case None:
                    return
                case LinkUp():
                    self._connected(number)
                case LinkDown():
                    self._reconnects += self._up[number]
                    self._up[number] = False
                case Incoming(topic, payload):
                    self._acknowledge(topic, payload)

    def _connected(self, number: int) -> None:
        self._up[number] = True
        for member in self._members:
            if member.link == number:
                member.outbox.again()
                if not member.away:
                    member.words["online"] = member.device.birth(self._unix_s())

    def _acknowledge(self, topic: str, payload: bytes) -> None:
        address = self._topics.parse(topic)
        member = self._by_name.get(address.device) if isinstance(address, DeviceTopic) else None
        if member is None or not payload:
            return
        try:
            member.acknowledged += member.outbox.acknowledge(decode(Ack, payload))
        except MessageError:
            return
