"""The table of instances: a state machine without I/O. Logins, logouts and ping results go in, changes come out.

    login -> loading --answer--> live <--answer--> deaf <--its own word-- any state
      |         |                  |                |
      |         +------- miss -----+----------------+--> suspect --answer--> loading, live or deaf
      |                                                  suspect --3rd miss in a row--> gone
      +--> loading --answer: its setup is running--> loading        any state --refused, logout--> gone

    live --two looks in a row, each newer than the last answer, at which the broker counts no consumer--> deaf
    deaf for that reason --a look at which it counts one, or word from the instance that it consumes again--> live

What another registry found out about the instances that it pings is adopted as it stands.

Every model name has one contract at a time, or several that may be up together (`ContractRegistry`). Who may have it is decided
elsewhere, atomically (`Directory.login`); a login that arrives here has been accepted, so it puts out whoever held the
name with a contract that may not be up together with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, final

from hub.ports.directory import InstanceEntry, InstanceHealth
from hub.registry.client.views import InstanceStatus, ModelStatus
from hub.registry.core.contracts import ContractRegistry
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult, PingTarget
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, ReadinessSource

DEFAULT_MISSES: Final = 3
"""Pings in a row without an answer after which an instance is removed."""

LOOKS: Final = 2
"""Looks in a row at which the broker counts no consumer before it is believed: a link that is entered again is between
two consumers for a moment."""

LOGGED_IN: Final = "logged in, not pinged yet"
"""The reason of a state that lasts for a moment: the registry pings whom it lets in."""

NO_CONSUMER: Final = "it says that it consumes, but the broker counts no consumer of its queue"


class Removal(StrEnum):
    """Why an instance is gone."""

    REFUSED = "refused"
    MISSED = "missed"
    LOGOUT = "logout"
    REPLACED = "replaced"
    ELSEWHERE = "elsewhere"
    """Another registry decided it, for one of the other reasons."""


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """One instance went from one state to another. `before` is `None` for a new one, `after` for one that is gone.

    `removal` is `None` unless it is gone.
    """

    entry: InstanceEntry
    before: InstanceState | None
    after: InstanceState | None
    reason: str
    removal: Removal | None = None


@final
class InstanceTable:
    """Instances and the models that they make up.

    Every method is total: what names an instance that is not here, or an older login of one, changes nothing.

    Args:
        misses: Pings in a row without an answer after which an instance is removed.
        on_stats: Told of each load that an instance has said, in the order in which they came.
        lineage: Knows which contracts may be up together; by default none may.
    """

    def __init__(
        self,
        *,
        misses: int = DEFAULT_MISSES,
        lineage: ContractRegistry | None = None,
        on_stats: Callable[[ModelName, InstanceId, InstanceStats], None] = lambda _model, _instance, _stats: None,
    ) -> None:
        self._misses = misses
        self.lineage: Final = lineage or ContractRegistry()
        self._on_stats = on_stats
        self._statuses: dict[InstanceId, InstanceStatus] = {}
        self._serials: dict[InstanceId, int] = {}
        self._known: dict[ModelName, Fingerprint] = {}
        self._looks: dict[InstanceId, int] = {}
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

    def others(self, entry: InstanceEntry) -> frozenset[Fingerprint]:
        """The contracts of all other instances of a model."""
        return frozenset(
            status.entry.fingerprint
            for status in self._statuses.values()
            if status.entry.model == entry.model and status.entry.id != entry.id
        )

    def remember(self, model: ModelName, fingerprint: Fingerprint) -> None:
        """Makes a model known that has no instance now. One that is known keeps its contract."""
        if model not in self._known:
            self._known[model] = fingerprint
            self._version += 1

    def forget(self, model: ModelName, kept: Fingerprint | None) -> None:
        """Gives a model that has no instance another present contract, or none: then it is unknown."""
        if kept is None:
            self._known.pop(model, None)
        else:
            self._known[model] = kept
        self._version += 1

    def login(self, entry: InstanceEntry) -> Sequence[InstanceChange]:
        """Takes in an instance that has been given the name of its model. It is loading until a ping tells more.

        The login of an instance that is already here, with the same facts, changes nothing: it keeps its state.
        """
        current = self._statuses.get(entry.id)
        if current is not None and replace(entry, logged_in_at=current.entry.logged_in_at) == current.entry:
            return ()
        changes = self._admit(entry)
        status = InstanceStatus(entry=entry, state=InstanceState.LOADING, reason=LOGGED_IN, misses=0, answered_at=None)
        changes += self._put(status)
        return changes

    def adopt(self, entry: InstanceEntry, health: InstanceHealth | None) -> Sequence[InstanceChange]:
        """Takes the word of the registry that pings an instance; `None` if it has said nothing yet."""
        current = self._statuses.get(entry.id)
        same = current is not None and replace(entry, logged_in_at=current.entry.logged_in_at) == current.entry
        if health is None:
            return () if same else self.login(entry)
        changes = [] if same else self._admit(entry)
        kept, answered_at, stats = entry, health.answered_at, health.stats
        if current is not None and same:
            kept = current.entry
            if (current.answered_at or 0.0) > (answered_at or 0.0):  # we heard from it later than they
                answered_at, stats = current.answered_at, current.stats
        status = InstanceStatus(
            entry=kept,
            state=health.state,
            reason=health.reason,
            misses=health.misses,
            answered_at=answered_at,
            stats=stats or (None if current is None else current.stats),
            not_consuming_source=health.not_consuming_source,
        )
        changes += self._put(status)
        return changes

    def own_word(self, instance: InstanceId, *, now: float) -> Sequence[InstanceChange]:
        """Takes an instance at its word that it consumes nothing. What pings that are under way come to is out of date."""
        status = self._statuses.get(instance)
        if status is None:
            return ()
        self._last_serial += 1
        self._serials[instance] = self._last_serial
        return self._put(
            replace(
                status,
                state=InstanceState.NOT_CONSUMING,
                reason="it says so itself",
                misses=0,
                answered_at=now,
                not_consuming_source=ReadinessSource.PING,
            )
        )

    def logout(self, instance: InstanceId) -> Sequence[InstanceChange]:
        """Takes out an instance at its own request."""
        status = self._statuses.get(instance)
        return () if status is None else self._remove(status, "logged out", Removal.LOGOUT)

    def removed_elsewhere(self, instance: InstanceId) -> Sequence[InstanceChange]:
        """Takes out an instance that another registry has taken out; the history says why."""
        status = self._statuses.get(instance)
        return () if status is None else self._remove(status, "another registry removed it", Removal.ELSEWHERE)

    def looked(
        self, consumers: Mapping[ModelName, int], *, began: float, among: Container[InstanceId]
    ) -> Sequence[InstanceChange]:
        """Takes in a look at the queues.

        Args:
            consumers: What the broker counts, by model; who is missing was not looked at.
            began: When the look began, in Unix seconds. It says nothing about who has answered later than that.
            among: Whom it is ours to judge.
        """
        changes: list[InstanceChange] = []
        for key, status in list(self._statuses.items()):
            count = consumers.get(status.entry.model)
            if count is None or key not in among:
                continue
            if count > 0:
                self._looks.pop(key, None)
                if status.not_consuming_source is ReadinessSource.BROKER:
                    changes += self._put(
                        replace(status, state=InstanceState.LIVE, reason="", not_consuming_source=None)
                    )
            elif status.state is InstanceState.LIVE and (status.answered_at or began) < began:
                self._looks[key] = self._looks.get(key, 0) + 1
                if self._looks[key] >= LOOKS:
                    not_consuming = replace(
                        status,
                        state=InstanceState.NOT_CONSUMING,
                        reason=NO_CONSUMER,
                        not_consuming_source=ReadinessSource.BROKER,
                    )
                    changes += self._put(not_consuming)
        return changes

    def pinged(
        self, target: PingTarget, result: PingResult, *, now: float, scheduled: bool = True
    ) -> Sequence[InstanceChange]:
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
            case PingOk():
                return self._put(_answered(status, result, now))
            case PingMissed(reason=reason) if not scheduled:
                never_heard = status.state is InstanceState.LOADING and status.answered_at is None
                silent = never_heard or status.state is InstanceState.SUSPECT
                return self._put(replace(status, state=InstanceState.SUSPECT, reason=reason)) if silent else ()
            case PingMissed(reason=reason) if status.misses + 1 < self._misses:
                misses = status.misses + 1
                suspect = replace(
                    status, state=InstanceState.SUSPECT, reason=reason, misses=misses, not_consuming_source=None
                )
                return self._put(suspect)
            case PingMissed(reason=reason):
                return self._remove(status, reason, Removal.MISSED)
            case PingRejected(reason=reason):
                return self._remove(status, reason, Removal.REFUSED)

    def _admit(self, entry: InstanceEntry) -> list[InstanceChange]:
        """Gives an instance the name of its model, and puts out who held it with a contract that is not beside its own."""
        known = self.lineage.contract(entry.model, entry.fingerprint)
        together = {entry.fingerprint}
        if known is not None:
            together |= self.lineage.compatible_with(entry.model, known.contract, self.others(entry))
        changes = [
            change
            for status in list(self._statuses.values())
            if status.entry.model == entry.model and status.entry.fingerprint not in together
            if status.entry.id != entry.id
            for change in self._remove(status, "its name went to a model with another contract", Removal.REPLACED)
        ]
        self._serve(entry.model, self.others(entry) | {entry.fingerprint})
        self._last_serial += 1
        self._serials[entry.id] = self._last_serial
        return changes

    def _serve(self, model: ModelName, fingerprints: Collection[Fingerprint]) -> None:
        """Settles which contract a model has whose instances have these. When nobody is left it keeps its last one."""
        served = self.lineage.served(model, fingerprints) if fingerprints else None
        if served is not None and self._known.get(model) != served:
            self._known[model] = served
            self._version += 1

    def _put(self, status: InstanceStatus) -> Sequence[InstanceChange]:
        before = self._statuses.get(status.entry.id)
        self._statuses[status.entry.id] = status
        if status.state is not InstanceState.LIVE:
            self._looks.pop(status.entry.id, None)
        if status.stats is not None and (before is None or status.stats is not before.stats):
            self._on_stats(status.entry.model, status.entry.id, status.stats)
        if before is not None and (before.entry, before.state, before.reason) == (
            status.entry,
            status.state,
            status.reason,
        ):
            return ()
        self._version += 1
        return (InstanceChange(status.entry, None if before is None else before.state, status.state, status.reason),)

    def _remove(self, status: InstanceStatus, reason: str, removal: Removal) -> Sequence[InstanceChange]:
        del self._statuses[status.entry.id]
        del self._serials[status.entry.id]
        self._looks.pop(status.entry.id, None)
        self._serve(status.entry.model, self.others(status.entry))
        self._version += 1
        return (InstanceChange(status.entry, status.state, None, reason, removal),)


def _answered(status: InstanceStatus, answer: PingOk, now: float) -> InstanceStatus:
    status = replace(status, misses=0, answered_at=now, stats=answer.stats or status.stats)
    if answer.loading:
        return replace(status, state=InstanceState.LOADING, reason=answer.reason, not_consuming_source=None)
    if answer.consuming:
        if status.not_consuming_source is ReadinessSource.BROKER:
            return status  # what it says was not in doubt
        return replace(status, state=InstanceState.LIVE, reason="", not_consuming_source=None)
    return replace(status, state=InstanceState.NOT_CONSUMING, reason=answer.reason, not_consuming_source=answer.signal)
