"""Samples from an MQTT topic: JSON, or an image, WAV or npy file as the whole payload.

A live source. The broker's messages are taken at once, so that neither it nor the network thread holds
them back; the newest wait for the model, and older ones are dropped and counted before they cost any
decoding. The name of a message without an id is its topic and its number, `cameras/door#17`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Final

from edge.adapters.decoding import Intake
from edge.adapters.sources import IDLE
from edge.online.live_queue import LiveQueue
from edge.online.streams import payload_kind
from edge.online.tally import Tally
from edge.results import Sample
from wire.errors import EdgeflockError
from wire.link import Incoming, Link, LinkDown, LinkUp, SubscribeRefused

log = logging.getLogger(__name__)

_TURN_S: Final = 0.2


def mqtt_stream(link: Link, topic: str, capacity: int, intake: Intake) -> Iterator[Sample]:
    """Yield the messages on `topic` (wildcards allowed) as samples until the end; then closes `link`.

    What is no sample is counted. A broker that is away is waited for.
    """
    waiting: LiveQueue[tuple[int, Incoming]] = LiveQueue(capacity, "mqtt: newer message", intake.tally.drop)
    intake.tally.watch(waiting)
    ended = threading.Event()
    thread = threading.Thread(target=_take, args=(link, waiting, intake.tally, ended), name="mqtt source")
    link.subscribe([topic])
    link.start()
    thread.start()
    try:
        while not intake.stop.is_set():
            item = waiting.get(_TURN_S)
            yield IDLE if item is None else _sample(*item, intake)
    finally:
        ended.set()
        thread.join()
        link.close()
        while (event := link.receive(0)) is not None:  # what the network thread had taken besides
            if isinstance(event, Incoming):
                waiting.put((0, event))
        waiting.abandon("mqtt: waiting at the end")


def _take(link: Link, waiting: LiveQueue[tuple[int, Incoming]], tally: Tally, ended: threading.Event) -> None:
    """Be the thread that is always ready for the broker."""
    number = 0
    while not ended.is_set():
        match link.receive(_TURN_S):
            case Incoming() as message:
                number += 1
                waiting.put((number, message))
            case LinkDown(reason):
                tally.tell("mqtt source", f"mqtt source: {reason}; trying again")
            case SubscribeRefused(topic, reason):
                tally.tell("mqtt refused", f"mqtt source: the broker refuses to send {topic}: {reason}")
            case LinkUp():
                log.info("the mqtt source is connected")
            case _:
                continue


def _sample(number: int, message: Incoming, intake: Intake) -> Sample:
    name, payload = f"{message.topic[:100]}#{number}", message.payload
    try:
        return intake.decoder.from_bytes(payload, payload_kind(payload), f"message {name}", name)
    except EdgeflockError as error:  # a stranger's message ends nothing, not even an image without Pillow
        intake.tally.refuse("message", f"{error}" if name in str(error) else f"message {name}: {error}")
        return IDLE
