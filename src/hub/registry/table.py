"""The table of instances: a state machine without I/O. Logins, logouts and ping results go in, changes come out.

    login -> suspect --answer--> live <--answer--> deaf <--its own word-- any state
                ^                  |                |
                +------- miss -----+----------------+
    suspect --3rd miss in a row--> gone        any state --refused, logout--> gone

Every model name has one contract at a time. Who may have it is decided elsewhere, atomically (`Directory.login`); a
login that arrives here has been accepted, so it puts out whoever held the name with another contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from hub.load import Load
from hub.ports import InstanceEntry
from hub.registry.pings import Answered, Missed, PingResult, PingTarget, Refused
from hub.registry.states import InstanceState, InstanceStatus, ModelStatus
from hub.vocabulary import Fingerprint, InstanceId, ModelName

DEFAULT_MISSES: Final = 3
"""Pings in a row without an answer after which an instance is removed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One instance went from one state to another. `before` is `None` for a new one, `after` for one that is gone."""

    entry: InstanceEntry
    before: InstanceState | None
    after: InstanceState | None
    reason: str


@final
class Table:
    """Instances and the models that they make up.

    Every method is total: what names an instance that is not here, or an older login of one, changes nothing.

    Args:
        misses: Pings in a row without an answer after which an instance is removed.
        on_load: Told of each load that an instance has said, in the order in which they came.
    """

    def __init__(
        self,
        *,
        misses: int = DEFAULT_MISSES,
        on_load: Callable[[ModelName, InstanceId, Load], None] = lambda _model, _instance, _load: None,
    ) -> None:
        self._misses = misses
        self._on_load = on_load
        self._statuses: dict[InstanceId, InstanceStatus] = {}
        self._serials: dict[InstanceId, int] = {}
        self._known: dict[ModelName, Fingerprint] = {}
        self._last_serial = 0
        self._version = 0

    @property
    def version(self) -> int:
        """Rises with every change of what the lists show: instances, their states and reasons, and known models.

        The count of misses, the time of the last answer and the load are kept too, but are no news: they do not raise it.
        """
        return self._version

    def instances(self) -> tuple[InstanceStatus, ...]:
        """All instances, oldest login first."""
        return tuple(sorted(self._statuses.values(), key=lambda status: (status.entry.logged_in_at, status.entry.id)))

    def instance(self, instance: InstanceId) -> InstanceStatus | None:
        return self._statuses.get(instance)

    def models(self) -> tuple[ModelStatus, ...]:
        """Every model that was ever here, by name; `ModelStatus.active` tells which are listed."""
        members: dict[ModelName, list[InstanceStatus]] = {name: [] for name in sorted(self._known)}
        for status in self.instances():
            members[status.entry.model].append(status)
        return tuple(
            ModelStatus(name=name, fingerprint=self._known[name], instances=tuple(statuses))
            for name, statuses in members.items()
        )

    def model(self, name: ModelName) -> ModelStatus | None:
        if name not in self._known:
            return None
        instances = tuple(status for status in self.instances() if status.entry.model == name)
        return ModelStatus(name=name, fingerprint=self._known[name], instances=instances)

    def targets(self) -> tuple[PingTarget, ...]:
        """Who is to be pinged: every instance, whatever its state."""
        return tuple(PingTarget(status.entry, self._serials[key]) for key, status in self._statuses.items())

    def target(self, instance: InstanceId) -> PingTarget | None:
        status = self._statuses.get(instance)
        return None if status is None else PingTarget(status.entry, self._serials[instance])

    def remember(self, model: ModelName, fingerprint: Fingerprint) -> None:
        """Makes a model known that has no instance now. One that is known keeps its contract."""
        if model not in self._known:
            self._known[model] = fingerprint
            self._version += 1

    def login(self, entry: InstanceEntry) -> Sequence[Change]:
        """Takes in an instance that has been given the name of its model. It is suspect until it answers a ping.

        The login of an instance that is already here, with the same facts, changes nothing: it keeps its state.
        """
        current = self._statuses.get(entry.id)
        if current is not None and replace(entry, logged_in_at=current.entry.logged_in_at) == current.entry:
            return ()
        changes = [
            change
            for status in list(self._statuses.values())
            if status.entry.model == entry.model and status.entry.fingerprint != entry.fingerprint
            if status.entry.id != entry.id
            for change in self._remove(status, "its name went to a model with another contract")
        ]
        self._known[entry.model] = entry.fingerprint
        self._last_serial += 1
        self._serials[entry.id] = self._last_serial
        status = InstanceStatus(
            entry=entry, state=InstanceState.SUSPECT, reason="not pinged yet", misses=0, answered_at=None
        )
        changes += self._put(status)
        return changes

    def own_word(self, instance: InstanceId, *, now: float) -> Sequence[Change]:
        """Takes an instance at its word that it consumes nothing. What pings that are under way come to is out of date."""
        status = self._statuses.get(instance)
        if status is None:
            return ()
        self._last_serial += 1
        self._serials[instance] = self._last_serial
        return self._put(
            replace(status, state=InstanceState.DEAF, reason="it says so itself", misses=0, answered_at=now)
        )

    def logout(self, instance: InstanceId) -> Sequence[Change]:
        """Takes out an instance at its own request."""
        status = self._statuses.get(instance)
        return () if status is None else self._remove(status, "logged out")

    def pinged(self, target: PingTarget, result: PingResult, *, now: float, scheduled: bool = True) -> Sequence[Change]:
        """Takes in what a ping came to.

        Args:
            target: Who was pinged.
            result: What came of it.
            now: Unix time in seconds.
            scheduled: Whether it was one of the periodic pings. A miss of any other one is not counted, and takes
                nobody off the list: an instance must not be lost sooner because it was asked more often.
        """
        status = self._statuses.get(target.entry.id)
        if status is None or self._serials[target.entry.id] != target.serial:
            return ()
        match result:
            case Answered(consuming=consuming, reason=reason, load=load):
                state = InstanceState.LIVE if consuming else InstanceState.DEAF
                load = load or status.load
                return self._put(replace(status, state=state, reason=reason, misses=0, answered_at=now, load=load))
            case Missed(reason=reason) if not scheduled:
                return self._put(replace(status, reason=reason)) if status.state is InstanceState.SUSPECT else ()
            case Missed(reason=reason) if status.misses + 1 < self._misses:
                return self._put(replace(status, state=InstanceState.SUSPECT, reason=reason, misses=status.misses + 1))
            case Missed(reason=reason) | Refused(reason=reason):
                return self._remove(status, reason)

    def _put(self, status: InstanceStatus) -> Sequence[Change]:
        before = self._statuses.get(status.entry.id)
        self._statuses[status.entry.id] = status
        if status.load is not None and (before is None or status.load is not before.load):
            self._on_load(status.entry.model, status.entry.id, status.load)
        if before is not None and (before.entry, before.state, before.reason) == (
            status.entry,
            status.state,
            status.reason,
        ):
            return ()
        self._version += 1
        return (Change(status.entry, None if before is None else before.state, status.state, status.reason),)

    def _remove(self, status: InstanceStatus, reason: str) -> Sequence[Change]:
        del self._statuses[status.entry.id]
        del self._serials[status.entry.id]
        self._version += 1
        return (Change(status.entry, status.state, None, reason),)
