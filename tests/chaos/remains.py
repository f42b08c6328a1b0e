"""What there is when all is over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a system at rest still holds.

    Attributes:
        ready: Messages on the queue of the model.
        unacked: Messages that somebody has and has not settled.
        dead_letters: Messages in its dead-letter queue.
        members: Instances that run.
        live: Instances that the registry lists as live.
    """

    ready: int
    unacked: int
    dead_letters: int
    members: int
    live: int
