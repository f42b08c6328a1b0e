"""The table of instances: a state machine without I/O. Logins, logouts and ping results go in, changes come out.

    login -> loading --reply--> live <--reply--> not consuming <--its own report-- any state
      |         |                 |                   |
      |         +------ miss -----+-------------------+--> suspect --reply--> loading, live or not consuming
      |                                                    suspect --3rd miss in a row--> removed
      +--> loading --reply: its setup is running--> loading        any state --refused, logout--> removed

    live --two polls in a row, each later than its last reply, in which the broker counts no consumer--> not consuming
    not consuming for that reason --a poll with a consumer, or a report of the instance--> live

The states of instances that another registry pings are applied as that registry reports them.

Every model name has one contract at a time, or several that may be up together (`ContractRegistry`). The directory decides
atomically which contract gets a name (`Directory.login`). A login that is applied here has been accepted, so it removes the
instances that hold the name with a contract that may not be up together with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, final

from hub.ports.directory import InstanceEntry, InstanceHealth
from hub.registry.client.views import InstanceStatus, ModelStatus
from hub.registry.core.changes import InstanceChange, Removal
from hub.registry.core.contracts import ContractRegistry
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult, PingTarget
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, ReadinessSource

DEFAULT_MISSES: Final = 3
"""Pings in a row without an answer after which an instance is removed."""

CONSECUTIVE_POLLS: Final = 2
"""Polls in a row without a consumer before an instance counts as not consuming: a reconnecting instance has no consumer
for a moment."""

FORGOTTEN_MODELS: Final = 1000
"""Models that are not known any more and whose removal is told to watchers, at most; later ones get the whole list."""

LOGGED_IN: Final = "logged in, not pinged yet"
"""The reason of a state that lasts for a moment: a login ends with a ping."""

REPORTED: Final = "it reported so at its login"

NO_CONSUMER: Final = "it reports that it consumes, but the broker counts no consumer of its queue"


@final
class InstanceTable:
    """Instances and the models that they make up.

    Every method is total: a call that names an unknown instance, or an older login of one, changes nothing.

    Args:
        misses: Pings in a row without an answer after which an instance is removed.
        contracts: Decides which contracts may be up together; by default none may.
        on_stats: Called with each new statistics of an instance, in the order of its replies.
    """

    def __init__(
        self,
        *,
        misses: int = DEFAULT_MISSES,
        contracts: ContractRegistry | None = None,
        on_stats: Callable[[ModelName, InstanceId, InstanceStats], None] = lambda _model, _instance, _stats: None,
    ) -> None:
        self._misses = misses
        self._contracts: Final = contracts or ContractRegistry()
        self._on_stats = on_stats
        self._statuses: dict[InstanceId, InstanceStatus] = {}
        self._serials: dict[InstanceId, int] = {}
        self._models: dict[ModelName, Fingerprint] = {}
        self._members: dict[ModelName, dict[Fingerprint, set[InstanceId]]] = {}
        self._polls_without_consumer: dict[InstanceId, int] = {}
        self._last_serial = 0
        self._version = 0
        self._model_versions: dict[ModelName, int] = {}
        self._forgotten_before = 0

    @property
    def version(self) -> int:
        """Rises with every change of what the lists show: instances, their states and reasons, and known models.

        Misses, the time of the last answer and statistics do not raise it.
        """
        return self._version

    def changed_models(self, since: int) -> Collection[ModelName] | None:
        """The models that have changed after a version, those included that are not known any more.

        `None` if that is not known: the version is too old, or was never reached.
        """
        if not self._forgotten_before <= since <= self._version:
            return None
        return [model for model, version in self._model_versions.items() if version > since]

    def instances(self) -> tuple[InstanceStatus, ...]:
        """All instances, oldest login first."""
        return _by_login(self._statuses.values())

    def instance(self, instance: InstanceId) -> InstanceStatus | None:
        return self._statuses.get(instance)

    def models(self) -> tuple[ModelStatus, ...]:
        """Every known model, by name; those that are listed have `ModelStatus.active`."""
        members: dict[ModelName, list[InstanceStatus]] = {name: [] for name in sorted(self._models)}
        for status in self.instances():
            members[status.entry.model].append(status)
        return tuple(
            ModelStatus(name=name, fingerprint=self._models[name], instances=tuple(statuses))
            for name, statuses in members.items()
        )

    def model(self, name: ModelName) -> ModelStatus | None:
        if name not in self._models:
            return None
        ids = chain.from_iterable(self._members.get(name, {}).values())
        members = _by_login(self._statuses[instance] for instance in ids)
        return ModelStatus(name=name, fingerprint=self._models[name], instances=members)

    def targets(self) -> tuple[PingTarget, ...]:
        """A ping target for every instance, whatever its state."""
        return tuple(PingTarget(status.entry, self._serials[key]) for key, status in self._statuses.items())

    def target(self, instance: InstanceId) -> PingTarget | None:
        status = self._statuses.get(instance)
        return None if status is None else PingTarget(status.entry, self._serials[instance])

    def other_contracts(self, entry: InstanceEntry) -> frozenset[Fingerprint]:
        """The contracts of all other instances of its model."""
        members = self._members.get(entry.model, {})
        return frozenset(fingerprint for fingerprint, ids in members.items() if len(ids) > (entry.id in ids))

    def add_model(self, model: ModelName, fingerprint: Fingerprint) -> None:
        """Adds a model without instances. A known one keeps its contract."""
        if model not in self._models:
            self.set_model(model, fingerprint)

    def set_model(self, model: ModelName, fingerprint: Fingerprint | None) -> None:
        """Replaces the current contract of a model without instances; `None` removes the model."""
        if fingerprint is None:
            self._models.pop(model, None)
        else:
            self._models[model] = fingerprint
        self._touch(model)

    def login(self, entry: InstanceEntry) -> Sequence[InstanceChange]:
        """Adds an instance that has been given the name of its model. It is loading until its first ping.

        The login of a listed instance with the same facts changes nothing: it keeps its state.
        """
        current = self._statuses.get(entry.id)
        if current is not None and entry.same_facts(current.entry):
            return ()
        changes = self._take_name(entry)
        changes += self._set(InstanceStatus(entry=entry, state=InstanceState.LOADING, reason=LOGGED_IN))
        return changes

    def apply_remote(self, entry: InstanceEntry, health: InstanceHealth | None) -> Sequence[InstanceChange]:
        """Applies what the registry that pings an instance has reported; `None` if it has reported nothing yet."""
        current = self._statuses.get(entry.id)
        if current is None or not entry.same_facts(current.entry):
            if health is None:
                return self.login(entry)
            changes = self._take_name(entry)
        elif health is None:
            return ()
        else:
            changes = []
            entry = current.entry
            if (current.answered_at or 0.0) > (health.answered_at or 0.0):  # this registry has a newer reply
                health = replace(health, answered_at=current.answered_at, stats=current.stats)
        status = InstanceStatus(
            entry=entry,
            state=health.state,
            reason=health.reason,
            misses=health.misses,
            answered_at=health.answered_at,
            not_consuming_source=health.not_consuming_source,
            stats=health.stats or (None if current is None else current.stats),
        )
        changes += self._set(status)
        return changes

    def report_not_consuming(self, instance: InstanceId, *, now: float) -> Sequence[InstanceChange]:
        """Marks an instance not consuming because it reported so. Results of pings in flight are out of date."""
        status = self._statuses.get(instance)
        if status is None:
            return ()
        self._next_serial(instance)
        status = replace(status, misses=0, answered_at=now)
        return self._set(_not_consuming(status, REPORTED, ReadinessSource.PING))

    def logout(self, instance: InstanceId) -> Sequence[InstanceChange]:
        """Removes an instance at its own request."""
        status = self._statuses.get(instance)
        return () if status is None else self._remove(status, "logged out", Removal.LOGOUT)

    def remove_remote(self, instance: InstanceId) -> Sequence[InstanceChange]:
        """Removes an instance that another registry has removed; the history has its reason."""
        status = self._statuses.get(instance)
        return () if status is None else self._remove(status, "another registry removed it", Removal.REMOTE)

    def consumer_counts(
        self, consumers: Mapping[ModelName, int], *, began: float, among: Container[InstanceId]
    ) -> Sequence[InstanceChange]:
        """Applies one poll of the queues.

        Args:
            consumers: What the broker counts, by model; a model that is missing was not polled.
            began: When the poll began, in Unix seconds. An instance that has answered later is not affected.
            among: Instances whose lease this registry holds; others are not affected.
        """
        changes: list[InstanceChange] = []
        for key, status in list(self._statuses.items()):
            count = consumers.get(status.entry.model)
            if count is None or key not in among:
                continue
            if count > 0:
                self._polls_without_consumer.pop(key, None)
                if status.not_consuming_source is ReadinessSource.BROKER:
                    changes += self._set(_live(status))
            elif status.state is InstanceState.LIVE and (status.answered_at or began) < began:
                polls = self._polls_without_consumer.get(key, 0) + 1
                self._polls_without_consumer[key] = polls
                if polls >= CONSECUTIVE_POLLS:
                    changes += self._set(_not_consuming(status, NO_CONSUMER, ReadinessSource.BROKER))
        return changes

    def pinged(
        self, target: PingTarget, result: PingResult, *, now: float, scheduled: bool = True
    ) -> Sequence[InstanceChange]:
        """Applies the result of a ping.

        Args:
            target: The pinged instance.
            result: The result.
            now: Unix time in seconds.
            scheduled: Whether it was one of the periodic pings. A miss of any other one is not counted, and does not make
                a live instance suspect: more pings must not remove an instance sooner.
        """
        status = self._statuses.get(target.entry.id)
        if status is None or self._serials[target.entry.id] != target.serial:
            return ()
        match result:
            case PingOk():
                return self._set(_answered(status, result, now))
            case PingMissed(reason=reason) if not scheduled:
                never_answered = status.state is InstanceState.LOADING and status.answered_at is None
                silent = never_answered or status.state is InstanceState.SUSPECT
                return self._set(replace(status, state=InstanceState.SUSPECT, reason=reason)) if silent else ()
            case PingMissed(reason=reason) if status.misses + 1 < self._misses:
                suspect = replace(status, state=InstanceState.SUSPECT, reason=reason, not_consuming_source=None)
                return self._set(replace(suspect, misses=status.misses + 1))
            case PingMissed(reason=reason):
                return self._remove(status, reason, Removal.MISSED)
            case PingRejected(reason=reason):
                return self._remove(status, reason, Removal.REFUSED)

    def _take_name(self, entry: InstanceEntry) -> list[InstanceChange]:
        """Gives an instance the name of its model, and removes those whose contract may not be up together with its own."""
        known = self._contracts.get(entry.model, entry.fingerprint)
        others = self.other_contracts(entry)
        together = {entry.fingerprint}
        if known is not None:
            together |= self._contracts.compatible_with(entry.model, known.contract, others)
        changes = [
            change
            for fingerprint, ids in list(self._members.get(entry.model, {}).items())
            if fingerprint not in together
            for instance in sorted(ids - {entry.id})
            for change in self._remove(
                self._statuses[instance], "its name went to a model with another contract", Removal.REPLACED
            )
        ]
        self._update_model(entry.model, self.other_contracts(entry) | {entry.fingerprint})
        self._next_serial(entry.id)
        return changes

    def _next_serial(self, instance: InstanceId) -> None:
        self._last_serial += 1
        self._serials[instance] = self._last_serial

    def _update_model(self, model: ModelName, fingerprints: Collection[Fingerprint]) -> None:
        """Sets the current contract of a model by those of its instances. Without instances it keeps its last one."""
        serving = self._contracts.serving_contract(model, fingerprints) if fingerprints else None
        if serving is not None and self._models.get(model) != serving:
            self.set_model(model, serving)

    def _set(self, status: InstanceStatus) -> Sequence[InstanceChange]:
        before = self._statuses.get(status.entry.id)
        entry = status.entry
        self._statuses[entry.id] = status
        if before is None or before.entry is not entry:
            if before is not None:
                self._leave(before.entry)
            self._members.setdefault(entry.model, {}).setdefault(entry.fingerprint, set()).add(entry.id)
        if status.state is not InstanceState.LIVE:
            self._polls_without_consumer.pop(status.entry.id, None)
        if status.stats is not None and (before is None or status.stats is not before.stats):
            self._on_stats(status.entry.model, status.entry.id, status.stats)
        shown = (status.entry, status.state, status.reason)
        if before is not None and (before.entry, before.state, before.reason) == shown:
            return ()
        self._touch(entry.model)
        if before is not None and before.entry.model != entry.model:
            self._touch(before.entry.model)
        return (InstanceChange(status.entry, None if before is None else before.state, status.state, status.reason),)

    def _touch(self, model: ModelName) -> None:
        self._version += 1
        self._model_versions.pop(model, None)
        self._model_versions[model] = self._version
        while len(self._model_versions) > len(self._models) + FORGOTTEN_MODELS:
            gone = next(name for name in self._model_versions if name not in self._models)
            self._forgotten_before = max(self._forgotten_before, self._model_versions.pop(gone))

    def _leave(self, entry: InstanceEntry) -> None:
        members = self._members[entry.model]
        members[entry.fingerprint].remove(entry.id)
        if not members[entry.fingerprint]:
            del members[entry.fingerprint]
        if not members:
            del self._members[entry.model]

    def _remove(self, status: InstanceStatus, reason: str, removal: Removal) -> Sequence[InstanceChange]:
        del self._statuses[status.entry.id]
        self._leave(status.entry)
        del self._serials[status.entry.id]
        self._polls_without_consumer.pop(status.entry.id, None)
        self._update_model(status.entry.model, self.other_contracts(status.entry))
        self._touch(status.entry.model)
        return (InstanceChange(status.entry, status.state, None, reason, removal),)


def _by_login(statuses: Iterable[InstanceStatus]) -> tuple[InstanceStatus, ...]:
    return tuple(sorted(statuses, key=lambda status: (status.entry.logged_in_at, status.entry.id)))


def _live(status: InstanceStatus) -> InstanceStatus:
    return replace(status, state=InstanceState.LIVE, reason="", not_consuming_source=None)


def _not_consuming(status: InstanceStatus, reason: str, source: ReadinessSource) -> InstanceStatus:
    return replace(status, state=InstanceState.NOT_CONSUMING, reason=reason, not_consuming_source=source)


def _answered(status: InstanceStatus, reply: PingOk, now: float) -> InstanceStatus:
    status = replace(status, misses=0, answered_at=now, stats=reply.stats or status.stats)
    if reply.loading:
        return replace(status, state=InstanceState.LOADING, reason=reply.reason, not_consuming_source=None)
    if not reply.consuming:
        return _not_consuming(status, reply.reason, reply.source)
    if status.not_consuming_source is ReadinessSource.BROKER:
        return status  # only the broker's count contradicts that
    return _live(status)
