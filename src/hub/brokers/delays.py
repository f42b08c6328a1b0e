"""RenewingPublisher with delay on RabbitMQ, whichever adapter talks to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from hub.brokers.topology import delay_queue
from hub.errors import PublishRefused
from hub.ports.broker import Publication

Delays: TypeAlias = Mapping[str, set[str]]
"""The delay queues that are needed for each queue."""

Refusals: TypeAlias = Mapping[str, PublishRefused]
"""For queues that nothing can be delayed for, why that is so; one of them does not exist itself."""


async def publish_delayed(
    publications: Sequence[Publication],
    declare: Callable[[Delays], Awaitable[Refusals]],
    publish: Callable[[Sequence[Publication]], Awaitable[Sequence[PublishRefused | None]]],
) -> Sequence[PublishRefused | None]:
    """Publishes messages, some of which have a delay: first their delay queues are declared, each time.

    Args:
        publications: See `hub.ports.broker.Broker.publish`.
        declare: Creates delay queues where there are none.
        publish: Puts messages on queues, those with a delay on their delay queues.
    """
    delays: dict[str, set[str]] = {}
    for each in publications:
        if each.delay > 0:
            delays.setdefault(each.queue, set()).add(delay_queue(each.queue, each.delay))
    refusals = await declare(delays)
    outcomes = iter(await publish([each for each in publications if each.delay <= 0 or each.queue not in refusals]))
    return [
        refusals[each.queue] if each.delay > 0 and each.queue in refusals else _told(next(outcomes), each)
        for each in publications
    ]


def _told(refusal: PublishRefused | None, publication: Publication) -> PublishRefused | None:
    """Names the queue that the caller has named, in place of a delay queue."""
    if refusal is None or refusal.queue == publication.queue:
        return refusal
    return type(refusal)(publication.queue, *refusal.args[1:])
