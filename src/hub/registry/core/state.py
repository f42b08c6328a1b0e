"""In-memory state of a registry, with change notification."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import final

import structlog

from hub.concurrency.notify import Notifier
from hub.contract import Contract
from hub.ports.directory import (
    HistoryEvent,
    InstanceEntry,
    InstanceHealth,
    RegisteredContract,
    StatusUpdate,
    StoredInstance,
)
from hub.registry.client.views import InstanceStatus, ModelStatus
from hub.registry.core.changes import InstanceChange, Removal
from hub.registry.core.contracts import ContractRegistry
from hub.registry.core.leases import LeaseTable
from hub.registry.core.ping_result import PingResult, PingTarget
from hub.registry.core.table import DEFAULT_MISSES, InstanceTable
from hub.settings.registry import ContractMode
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, ModelName, WallClock, reserved, wall_clock

_log = structlog.get_logger("hub.registry")


@final
class RegistryState:
    """Instances, leases and contracts of one registry process.

    Every change is logged, kept for the directory unless it came from there, and wakes the tasks that wait for a change.
    All methods are plain `def`, except `wait_for_change` and `wait_for_logout`.

    Args:
        misses: Pings in a row without an answer after which an instance is removed.
        contract_mode: Which contracts of a model may be up at the same time; see `ContractRegistry`.
        on_stats: Called with the statistics of each ping reply, in the order of the replies.
        clock: Source of Unix time.

    Attributes:
        leases: The leases that this registry holds, and its findings that are not reported yet.
        contracts: The accepted contracts. Add to them by `add_contracts`.
        pending_logouts: Instances that the directory has yet to remove, each with the event for the history.
        on_model_forgotten: Called with the name of each model that is dropped.
    """

    def __init__(
        self,
        *,
        misses: int = DEFAULT_MISSES,
        contract_mode: ContractMode = "strict",
        on_stats: Callable[[ModelName, InstanceId, InstanceStats], None] = lambda _model, _instance, _stats: None,
        clock: WallClock = wall_clock,
    ) -> None:
        self.leases = LeaseTable()
        self.contracts = ContractRegistry(contract_mode)
        self.pending_logouts: dict[InstanceId, HistoryEvent] = {}
        self.on_model_forgotten: list[Callable[[ModelName], None]] = []
        self.now = clock
        self._table = InstanceTable(misses=misses, contracts=self.contracts, on_stats=on_stats)
        self._removals: Counter[Removal] = Counter()
        self._ignored: set[ModelName] = set()  # as many as the directory has contracts, at most
        self._contracts_forgotten = 0
        self._epoch = secrets.token_hex(4)
        self._changed = Notifier()
        self._logout_pending = Notifier()
        self._closed = False
        self._watchers = 0

    @property
    def version(self) -> int:
        """Rises with every change of what the lists of instances and models show."""
        return self._table.version

    @property
    def etag(self) -> str:
        """The version of the lists as a weak HTTP validator, unique among processes and restarts."""
        return f'W/"{self._epoch}-{self.version}"'

    def changed_models(self, etag: str | None) -> Collection[ModelName] | None:
        """The models that have changed since the version that a client names, those included that are not known any more.

        `None` if that is not known: the etag is not one of this process, or too old.
        """
        prefix = f'W/"{self._epoch}-'
        version = (etag or "").removeprefix(prefix).removesuffix('"')
        if not (etag or "").startswith(prefix) or not version.isdecimal():
            return None
        return self._table.changed_models(int(version))

    @property
    def watchers(self) -> int:
        """Tasks in `wait_for_change`."""
        return self._watchers

    @property
    def removals(self) -> Mapping[Removal, int]:
        """Instances that this process has removed, by reason."""
        return self._removals

    @property
    def contracts_forgotten(self) -> int:
        """Contracts dropped since this process started."""
        return self._contracts_forgotten

    def instances(self) -> tuple[InstanceStatus, ...]:
        """All instances, oldest login first."""
        return self._table.instances()

    def instance(self, instance: InstanceId) -> InstanceStatus | None:
        return self._table.instance(instance)

    def models(self) -> tuple[ModelStatus, ...]:
        """Every known model, by name, with or without instances."""
        return self._table.models()

    def model(self, name: ModelName) -> ModelStatus | None:
        return self._table.model(name)

    def targets(self) -> Sequence[PingTarget]:
        """A ping target for every instance, whatever its state."""
        return self._table.targets()

    def target(self, instance: InstanceId) -> PingTarget | None:
        return self._table.target(instance)

    def other_contracts(self, entry: InstanceEntry) -> frozenset[Fingerprint]:
        """The contracts of all other instances of its model."""
        return self._table.other_contracts(entry)

    def compatible_with(self, entry: InstanceEntry, contract: Contract) -> frozenset[Fingerprint]:
        """Those contracts of the other instances of its model that may be up at the same time as `contract`."""
        return self.contracts.compatible_with(entry.model, contract, self.other_contracts(entry))

    def current_contract(self, model: ModelStatus) -> RegisteredContract:
        """The contract of a listed model. It is known, because contracts are added before their instances."""
        known = self.contracts.get(model.name, model.fingerprint)
        if known is None:
            raise AssertionError("a model that is listed without its contract")
        return known

    def login(self, entry: InstanceEntry) -> bool:
        """Adds an instance whose login the directory has accepted. Returns whether that has changed anything."""
        return self._commit(self._table.login(entry))

    def logout(self, instance: InstanceId) -> None:
        """Removes an instance, here and soon in the directory."""
        self._commit(self._table.logout(instance))

    def report_not_consuming(self, instance: InstanceId) -> None:
        """Marks an instance not consuming because it reported so. Results of pings in flight are dropped."""
        self._commit(self._table.report_not_consuming(instance, now=self.now()))

    def pinged(self, target: PingTarget, result: PingResult, *, scheduled: bool = True) -> None:
        """Applies the result of a ping.

        Args:
            target: The pinged instance.
            result: The result.
            scheduled: Whether it was one of the periodic pings; only their misses are counted.
        """
        self._commit(self._table.pinged(target, result, now=self.now(), scheduled=scheduled))
        self.leases.add_finding(target.entry.id)

    def consumer_counts(self, consumers: Mapping[ModelName, int], *, began: float) -> None:
        """Applies the numbers of consumers that the broker counts, to the instances whose lease this registry holds.

        Args:
            consumers: By model; a model that is missing was not polled.
            began: When the poll began, in Unix seconds.
        """
        self._commit(self._table.consumer_counts(consumers, began=began, among=self.leases))

    def apply_remote(self, stored: StoredInstance) -> None:
        """Applies what the directory has about an instance, unless this registry knows better.

        It does while it holds the newest lease and lists the instance, or has a finding that is not reported yet.
        """
        entry, held = stored.entry, self.leases.token(stored.entry.id)
        if entry.id in self.pending_logouts or self.contracts.get(entry.model, entry.fingerprint) is None:
            return
        known = self._table.instance(entry.id) is not None or self.leases.has_finding(entry.id)
        if held >= stored.token > 0 and known:
            return
        if stored.token > held > 0:
            self.leases.drop(entry.id)
        self._commit(self._table.apply_remote(entry, stored.health), remote=True)

    def remove_remote(self, instance: InstanceId) -> None:
        """Removes an instance that another registry has removed from the directory."""
        self.leases.drop(instance)
        self._commit(self._table.remove_remote(instance), remote=True)

    def take_updates(self) -> Sequence[StatusUpdate]:
        """Takes the findings to report, as `LeaseTable.take_updates` does, with the health of the instances now."""

        def health(instance: InstanceId) -> InstanceHealth | None:
            status = self.instance(instance)
            return None if status is None else status.health

        return self.leases.take_updates(health)

    def add_contracts(self, contracts: Iterable[RegisteredContract]) -> None:
        """Adds contracts that the directory has accepted, oldest first. One that is known stays as it is.

        The newest contract of a model that was not known becomes its current one.
        """
        before = self.version
        accepted = [known for known in contracts if not self._is_reserved(known.model)]
        for known in accepted:
            self.contracts.add(known)
        for known in reversed(accepted):
            self._table.add_model(known.model, known.contract.fingerprint)
        if self.version != before:
            self._changed.notify()

    def forget_contracts(self, contracts: Iterable[tuple[ModelName, Fingerprint]]) -> None:
        """Drops contracts that the directory has dropped, unless an instance here has them, and models without any."""
        before = self.version
        used = {(status.entry.model, status.entry.fingerprint) for status in self.instances()}
        for model, fingerprint in contracts:
            if (model, fingerprint) in used:
                continue
            self.contracts.remove(model, fingerprint)
            self._contracts_forgotten += 1
            status, left = self.model(model), self.contracts.of(model)
            if status is None or status.fingerprint != fingerprint:
                continue
            self._table.set_model(model, left[-1].contract.fingerprint if left else None)
            if not left:
                _log.info("model forgotten: it had no instance for the lifetime of contracts", model=model)
                for callback in self.on_model_forgotten:
                    callback(model)
        if self.version != before:
            self._changed.notify()

    def mark_departed(self, instance: InstanceId, event: HistoryEvent) -> None:
        """Queues the removal of an instance from the directory."""
        self.leases.drop(instance)
        self.pending_logouts[instance] = event
        self._logout_pending.notify()

    async def wait_for_logout(self) -> None:
        """Waits until `pending_logouts` is not empty."""
        await self._logout_pending.wait_for(lambda: self.pending_logouts)

    async def wait_for_change(self, version: int) -> None:
        """Waits until the version is another one than `version`, or the state is closed."""
        self._watchers += 1
        try:
            await self._changed.wait_for(lambda: self._closed or self.version != version)
        finally:
            self._watchers -= 1

    def close(self) -> None:
        """Ends `wait_for_change`, now and later: the process is about to stop."""
        self._closed = True
        self._changed.notify()

    def _commit(self, changes: Sequence[InstanceChange], *, remote: bool = False) -> bool:
        """Logs and records changes of the table, and wakes the tasks that wait for one. Returns whether there are any.

        Args:
            changes: The changes.
            remote: Whether they come from the directory, so that they need not be reported to it.
        """
        for change in changes:
            if not remote:
                self._record(change)
            entry = change.entry
            write = _log.info if change.expected else _log.warning
            write(change.event, instance=entry.id, model=entry.model, url=entry.url, reason=change.reason)
        if changes:
            self._changed.notify()
        return bool(changes)

    def _record(self, change: InstanceChange) -> None:
        entry = change.entry
        event = HistoryEvent(
            at=self.now(),
            instance=entry.id,
            model=entry.model,
            url=entry.url,
            before=change.before,
            after=change.after,
            reason=change.reason,
        )
        if change.removal is not None:
            self._removals[change.removal] += 1
        if change.removal in (Removal.LOGOUT, Removal.REPLACED):  # whichever registry holds the lease
            self.mark_departed(entry.id, event)
        else:
            if change.before is None:
                self.pending_logouts.pop(entry.id, None)
            self.leases.add_finding(entry.id, event)

    def _is_reserved(self, model: ModelName) -> bool:
        """Whether the name, which an earlier release accepted, belongs to a queue of hub itself."""
        why = reserved(model)
        if why and model not in self._ignored:
            self._ignored.add(model)
            _log.warning("a model of the directory is ignored, its name is reserved", model=model, reason=why)
        return bool(why)
