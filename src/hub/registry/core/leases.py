"""Leases held by this registry, and its findings that the directory does not have yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, final

from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.ports.directory import HistoryEvent, InstanceHealth, StatusUpdate
from hub.types import InstanceId

MAX_PENDING_EVENTS: Final = 20
"""Events of one instance that are kept while the directory is out of reach: the newest."""

MAX_UPDATES: Final = 256
"""Updates in one call: the directory does nothing else meanwhile."""


@final
class LeaseTable(Container[InstanceId]):
    """The leases of this process with their fencing tokens, and the findings to report. Plain bookkeeping.

    A finding about an instance without a lease is kept until there is one, because the login that made it gets a lease.
    A finding made under a lease that is lost is dropped with it: the registry that has the lease now is right.
    """

    def __init__(self) -> None:
        self._tokens: dict[InstanceId, int] = {}
        self._findings: dict[InstanceId, deque[HistoryEvent]] = {}
        self._urgent = False
        self._changed = Notifier()

    @override
    def __contains__(self, instance: object) -> bool:
        return instance in self._tokens

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def unreported(self) -> int:
        """Instances with a finding that can be reported, because this registry holds their lease."""
        return sum(instance in self._tokens for instance in self._findings)

    def token(self, instance: InstanceId) -> int:
        """The fencing token of the lease that this registry holds, 0 without one."""
        return self._tokens.get(instance, 0)

    def has_finding(self, instance: InstanceId) -> bool:
        return instance in self._findings

    def add_finding(self, instance: InstanceId, event: HistoryEvent | None = None) -> None:
        """Adds a finding about an instance: it answered again, or (with an event, which is urgent) changed its state."""
        events = self._findings.setdefault(instance, deque(maxlen=MAX_PENDING_EVENTS))
        if event is not None:
            events.append(event)
            self._urgent = True
            self._changed.notify()

    def renew(self, tokens: Mapping[InstanceId, int]) -> Sequence[InstanceId]:
        """Replaces all leases. Returns the instances whose lease is new, or was another registry's in between."""
        acquired = [instance for instance, token in tokens.items() if self._tokens.get(instance) != token]
        for instance in [instance for instance in self._tokens if instance not in tokens]:
            self.drop(instance)
        self._tokens = dict(tokens)
        if acquired:
            self._changed.notify()
        return acquired

    def add(self, tokens: Mapping[InstanceId, int]) -> None:
        """Adds leases, or newer ones of the same instances."""
        self._tokens.update(tokens)
        if tokens:
            self._changed.notify()

    def drop(self, instance: InstanceId) -> None:
        """Drops the lease and the finding of an instance that is removed, or that another registry has leased."""
        self._tokens.pop(instance, None)
        self._findings.pop(instance, None)

    def take_updates(self, health: Callable[[InstanceId], InstanceHealth | None]) -> Sequence[StatusUpdate]:
        """Takes up to `MAX_UPDATES` findings, oldest first, with the health of their instances; `restore` undoes it."""
        leased = [instance for instance in self._findings if instance in self._tokens][:MAX_UPDATES]
        return [
            StatusUpdate(
                instance=instance,
                token=self._tokens[instance],
                health=health(instance),
                events=tuple(self._findings.pop(instance)),
            )
            for instance in leased
        ]

    def restore(self, updates: Sequence[StatusUpdate]) -> None:
        """Adds the findings of updates that could not be reported, before those made since; the newest events are kept."""
        for update in updates:
            if self._tokens.get(update.instance) == update.token:
                newer = self._findings.get(update.instance, ())
                self._findings[update.instance] = deque((*update.events, *newer), maxlen=MAX_PENDING_EVENTS)

    async def wait_for_findings(self) -> None:
        """Waits until there is something urgent to report."""
        await self._changed.wait_for(lambda: self._urgent and self.unreported)
        self._urgent = False
