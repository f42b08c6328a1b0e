"""Whether silence says more about the instances, or about the registry's own network. No I/O.

When most of those who answered last time are silent at once, the likelier explanation is that the registry itself has
lost its network, or was frozen. To believe that silence would take every model off the list for nothing.
"""

from __future__ import annotations

from typing import Final, final

LEAST_SILENT: Final = 3
"""Instances that fall silent in one round before the registry doubts itself: of one or two, both may well be dead."""

MOST: Final = 0.5
"""Share of the witnesses that may fall silent without a doubt: half of them on one machine that lost its power are
believed, more than half are not."""


@final
class PingRound:
    """One round of pings. Its witnesses are those who answered their last ping: the silence of others is no news.

    Args:
        witnesses: How many of them are pinged.
    """

    def __init__(self, witnesses: int) -> None:
        self._witnesses = witnesses
        self._heard = 0
        self._silent = 0
        self.late = False

    def heard(self) -> None:
        """A witness answered, refused the connection, or said anything else: the network is there."""
        self._heard += 1

    def fell_silent(self, *, late: bool) -> None:
        """A witness was silent. `late`: we looked so late that this may well be our own fault."""
        self._silent += 1
        self.late = self.late or late

    @property
    def clear(self) -> bool:
        """Whether this round can be believed, however the pings end that are still under way."""
        return not self.late and not self._too_many(self._witnesses - self._heard)

    @property
    def doubtful(self) -> bool:
        """Whether this round, which is over, is not to be believed."""
        return self.late or self._too_many(self._silent)

    def _too_many(self, silent: int) -> bool:
        return silent >= LEAST_SILENT and silent > MOST * self._witnesses


@final
class SelfPreservation:
    """Keeps the count of rounds that were not believed, so that doubt ends.

    Args:
        limit: Rounds in a row that are not believed at most. The next ones are, whatever they say, until one is clear.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rounds = 0
        self._holds = False
        self.total = 0

    @property
    def holds(self) -> bool:
        """Whether the last round was not believed."""
        return self._holds

    def believe(self, round_: PingRound, *, judging: bool) -> bool:
        """Whether the silence of a round that is over is to be believed.

        Args:
            round_: The round.
            judging: Whether anybody was pinged whom it is ours to judge. Otherwise others do, and the count stands.
        """
        if not round_.doubtful:
            self._rounds = 0
            self._holds = False
            return True
        if judging and self._rounds >= self._limit:
            self._holds = False
            return True
        self._rounds += judging
        self._holds = True
        self.total += 1
        return False
