"""Whom this registry pings, and what it found out about them that the directory has not heard yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, final

from anyio import Event
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.ports.directory import HistoryEvent, InstanceHealth, StatusUpdate
from hub.types import InstanceId

LONGEST_TALE: Final = 20
"""Events of one instance that wait for a directory that is out of reach; older ones are forgotten."""

LARGEST_GROUP: Final = 256
"""Reports in one call: the directory does nothing else meanwhile."""


@final
class LeaseTable(Container[InstanceId]):
    """The leases of this process with their tokens, and what is to be reported. Plain bookkeeping.

    What was found out about an instance without a lease stays here until there is one: its login is answered with one.
    What was found out under a lease that is lost goes with it, because somebody else is right now.
    """

    def __init__(self) -> None:
        self._tokens: dict[InstanceId, int] = {}
        self._findings: dict[InstanceId, deque[HistoryEvent]] = {}
        self._found = Event()

    @override
    def __contains__(self, instance: object) -> bool:
        return instance in self._tokens

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def unreported(self) -> int:
        """Instances that the directory has to hear of, and can: their leases are ours."""
        return sum(instance in self._tokens for instance in self._findings)

    def token(self, instance: InstanceId) -> int:
        """The token of a lease that is ours, else 0."""
        return self._tokens.get(instance, 0)

    def found(self, instance: InstanceId, event: HistoryEvent | None = None) -> None:
        """Something was found out about an instance: it answered again, or (with an event) changed."""
        events = self._findings.setdefault(instance, deque(maxlen=LONGEST_TALE))
        if event is not None:
            events.append(event)
        self._ring()

    def is_unreported(self, instance: InstanceId) -> bool:
        return instance in self._findings

    def renewed(self, tokens: Mapping[InstanceId, int]) -> Sequence[InstanceId]:
        """Takes in all leases that are ours now. Returns whose lease was not ours before, or was in between."""
        acquired = [instance for instance, token in tokens.items() if self._tokens.get(instance) != token]
        for instance in [instance for instance in self._tokens if instance not in tokens]:
            self.lost(instance)
        self._tokens = dict(tokens)
        if acquired:
            self._ring()
        return acquired

    def lost(self, instance: InstanceId) -> None:
        """Somebody else pings the instance now, or it is gone."""
        self._tokens.pop(instance, None)
        self._findings.pop(instance, None)

    def take(self, health: Callable[[InstanceId], InstanceHealth | None]) -> Sequence[StatusUpdate]:
        """Takes what is to be reported, the longest waiting first; put it back if that fails."""
        ours = [instance for instance in self._findings if instance in self._tokens][:LARGEST_GROUP]
        return [
            StatusUpdate(
                instance=instance,
                token=self._tokens[instance],
                health=health(instance),
                events=tuple(self._findings.pop(instance)),
            )
            for instance in ours
        ]

    def put_back(self, reports: Sequence[StatusUpdate]) -> None:
        for report in reports:
            if self._tokens.get(report.instance) == report.token:
                events = self._findings.setdefault(report.instance, deque(maxlen=LONGEST_TALE))
                room = LONGEST_TALE - len(events)
                events.extendleft(reversed(report.events[-room:] if room else ()))

    async def something_found(self) -> None:
        """Waits until there is something to report."""
        await checkpoint()
        while not self.unreported:
            await self._found.wait()

    def _ring(self) -> None:
        self._found.set()
        self._found = Event()
