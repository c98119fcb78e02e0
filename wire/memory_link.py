"""An in-memory broker and its links: the fake beside the real one, for tests and simulations.

It keeps what the protocol leans on: retained messages, `+` filters, wills, order per topic, a
publish that returns False while the link is down, and a refusal of topics (`forbidden`).
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Sequence

from wire.link import (
    Incoming,
    LinkDown,
    LinkEvent,
    LinkUp,
    PublishRefused,
    SubscribeRefused,
    Will,
    check_size,
)


class MemoryBroker:
    """Holds retained messages and hands publishes to every matching link."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.links: list[MemoryLink] = []
        self.published: list[tuple[str, bytes]] = []
        self.forbidden: set[str] = set()  # topics and filters that no link may use

    def link(self, will: Will | None = None) -> MemoryLink:
        return MemoryLink(self, will)

    def route(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self.published.append((topic, payload))
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for link in list(self.links):
            if any(matches(f, topic) for f in link.filters if f not in self.forbidden):
                link.events.put(Incoming(topic, payload))

    def stop(self) -> None:
        """Vanish like a killed broker without persistence: links fall, retained messages are gone."""
        for link in list(self.links):
            link.drop("broker stopped", send_will=False)
        self.retained.clear()


class MemoryLink:
    """A link to a MemoryBroker. It connects when started and reconnects when told to."""

    def __init__(self, broker: MemoryBroker, will: Will | None) -> None:
        self.broker = broker
        self.filters: dict[str, None] = {}
        self.events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self._will = will
        self._up = False
        self._published = 0

    @property
    def taken(self) -> int:
        return self._published

    @property
    def unacknowledged(self) -> int:
        return 0

    def start(self) -> None:
        self._up = True
        self.broker.links.append(self)
        self.events.put(LinkUp())
        self._replay(self.filters)

    def close(self) -> None:
        if self._up:
            self._up = False
            self.broker.links.remove(self)

    def reconnect(self) -> None:
        self.drop("reconnecting", send_will=False)
        self.start()

    def drop(self, reason: str, *, send_will: bool = True) -> None:
        """Lose the connection."""
        self.close()
        self.events.put(LinkDown(reason))
        if send_will and self._will:
            self.broker.route(self._will.topic, self._will.payload, retain=True)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,  # noqa: ARG002  # the port's
    ) -> bool:
        check_size(topic, payload)
        if not self._up:
            return False
        self._published += 1
        if topic in self.broker.forbidden:
            self.events.put(PublishRefused(self._published, "Not authorized"))
        else:
            self.broker.route(topic, payload, retain=retain)
        return True

    def tell(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        for topic, payload in messages if self._up else ():
            check_size(topic, payload)
            if topic not in self.broker.forbidden:
                self.broker.route(topic, payload, retain=True)
        return self._up

    def subscribe(self, topics: Iterable[str]) -> None:
        new = list(topics)
        self.filters.update(dict.fromkeys(new))
        if self._up:
            self._replay(new)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self.filters.pop(topic, None)

    def receive(self, timeout_s: float) -> LinkEvent | None:
        try:
            return self.events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _replay(self, filters: Iterable[str]) -> None:
        for topic_filter in filters:
            if topic_filter in self.broker.forbidden:
                self.events.put(SubscribeRefused(topic_filter, "Not authorized"))
                continue
            for topic, payload in self.broker.retained.items():
                if matches(topic_filter, topic):
                    self.events.put(Incoming(topic, payload, retained=True))


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether an MQTT filter of exact and `+` levels matches `topic` (we use no `#`)."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(w in ("+", g) for w, g in zip(wanted, given, strict=True))
