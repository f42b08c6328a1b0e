"""Detects that the registry, not the instances, is partitioned. No I/O.

When most of the instances that answered their last ping miss one at the same time, the likelier explanation is that the
registry has lost its network, or was suspended. If it counted these misses, it would take every model off the list.
Eureka calls this state self-preservation.
"""

from __future__ import annotations

from typing import Final, final

MIN_MISSED: Final = 3
"""Missed pings in one round below which all of them count: one or two instances may well have died together."""

MAX_MISSED_SHARE: Final = 0.5
"""Share of the voters whose misses still count: half of the instances may be on one machine that lost its power."""


@final
class PingRound:
    """One round of pings. Its voters are the instances that answered their last ping; other misses tell nothing new.

    Args:
        voters: Pinged voters.
    """

    def __init__(self, voters: int) -> None:
        self._voters = voters
        self._answered = 0
        self._missed = 0
        self.late = False

    def answered(self) -> None:
        """A voter replied or refused the connection: the network works."""
        self._answered += 1

    def missed(self, *, late: bool) -> None:
        """A voter missed its ping. `late`: the timeout was noticed so late that this process may be the cause."""
        self._missed += 1
        self.late = self.late or late

    @property
    def conclusive(self) -> bool:
        """Whether the misses of this round count, however the pings in flight end."""
        return not self.late and not self._too_many(self._voters - self._answered)

    @property
    def silent(self) -> bool:
        """Whether several voters have missed their pings and none has answered."""
        return self._missed >= MIN_MISSED and not self._answered

    @property
    def suspicious(self) -> bool:
        """Whether the misses of this round, which is over, are too many to count."""
        return self.late or self._too_many(self._missed)

    def _too_many(self, missed: int) -> bool:
        return missed >= MIN_MISSED and missed > MAX_MISSED_SHARE * self._voters


@final
class SelfPreservation:
    """Limits the number of suspicious rounds in a row whose misses are not counted.

    Args:
        limit: That number. The misses of later rounds count, until a round is not suspicious.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rounds = 0
        self._active = False

    @property
    def active(self) -> bool:
        """Whether the misses of the last round were not counted."""
        return self._active

    def accept(self, *, suspicious: bool, has_leases: bool) -> bool:
        """Whether the misses of a round that is over count.

        Args:
            suspicious: Whether the misses of the round are too many to count.
            has_leases: Whether this registry holds the lease of a pinged instance. Otherwise other registries decide
                about them, and the number of rounds stays as it is.
        """
        if not suspicious:
            self._rounds = 0
            self._active = False
        elif has_leases and self._rounds >= self._limit:
            self._active = False
        else:
            self._rounds += has_leases
            self._active = True
        return not self._active
