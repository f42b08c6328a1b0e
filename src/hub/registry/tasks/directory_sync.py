"""Synchronisation of the state of this registry with the directory that all registries share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from math import inf
from typing import Final, final

import structlog
from anyio import CancelScope, Lock, create_task_group, move_on_after
from anyio.abc import TaskGroup

from hub.concurrency.periodic import every
from hub.concurrency.retrying import retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost, NotYourInstance, Undecodable
from hub.ports.directory import Directory, InstanceEntry, StoredInstance
from hub.registry.core.ping_result import PingTarget
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_health import DirectoryHealth
from hub.registry.tasks.pinger import Pinger
from hub.types import InstanceId, InstanceState, RegistryId, wall_clock

DIRECTORY_TIMEOUT: Final = 5.0
"""Seconds for one call of the directory: an instance that gets an error in time logs in again."""

RENEWALS_PER_LEASE: Final = 4
"""Renewals of leases in one ping period. A lease lasts one period, so two lost renewals cost nothing, and the instances of a
registry that dies are pinged by others within one period and a quarter."""

READ_AT_ONCE: Final = 500
"""Instances read by one call: the directory does nothing else meanwhile."""

SYNC_INTERVAL: Final = 0.5
"""Seconds between two polls for changes by other registries, at most: one cheap call when there are none."""

MAX_CONTRACT_TTL: Final = 1e9
"""Seconds, 31 years: the value of an infinite lifetime."""

RELEASE_TIMEOUT: Final = 2.0
"""Seconds for the last findings and the release of the leases at the end; without it others wait until the leases expire."""

_CONTRACTS: Final = "read contracts"
_RECONCILE: Final = "reconcile"

_log = structlog.get_logger("hub.registry.directory")


def directory_timeout() -> AbstractContextManager[CancelScope]:
    """Bounds calls of the directory by `DIRECTORY_TIMEOUT`; a timeout is a `ConnectionLost`."""
    return connection_timeout("the directory", DIRECTORY_TIMEOUT)


@final
class DirectorySync:
    """Applies changes by other registries to the state, and reports the findings of this registry to the directory.

    Several registries may share a directory. Each instance is pinged by the one that holds its lease; the others apply
    what it reports. Calls of the directory are serialized, so that no reply is older than what was applied before it. A
    directory that has lost its data gets it back from the registries that are up.

    Args:
        state: The state of this registry.
        directory: The directory.
        pinger: Pings instances that this registry has just leased, and checks those that the directory has lost.
        period: Seconds between two pings of one instance, and between two complete comparisons with the directory.
        registry: The id of this registry.
        contract_ttl: Seconds that a contract without instances is kept.

    Attributes:
        health: What works between this registry and the directory.
    """

    def __init__(
        self,
        state: RegistryState,
        directory: Directory,
        pinger: Pinger,
        *,
        period: float,
        registry: RegistryId,
        contract_ttl: float = inf,
    ) -> None:
        self.health: Final = DirectoryHealth()
        self._state = state
        self._directory = directory
        self._pinger = pinger
        self._period = period
        self._registry = registry
        self._contract_ttl = min(contract_ttl, MAX_CONTRACT_TTL)
        self._unusable: dict[InstanceId, StoredInstance] = {}  # instances of contracts that cannot be used
        self._revision = 0
        self._one_at_a_time = Lock()
        self._rejected_updates = 0
        self._registries = 1

    @property
    def registries(self) -> int:
        """Registries that share the instances, as of the last renewal."""
        return self._registries

    @property
    def rejected_updates(self) -> int:
        """Updates that came too late: another registry had got the lease, or the instance was removed."""
        return self._rejected_updates

    async def read_contracts(self) -> None:
        """Reads every contract that the directory stores. `run` tries again if values cannot be read.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        try:
            with directory_timeout():
                found = await self._directory.contracts()
        except Undecodable as error:
            self.health.failed(_CONTRACTS, error)
        else:
            self.health.succeeded(_CONTRACTS)
            self._state.add_contracts(found)

    async def start(self) -> None:
        """Leases all instances that the directory stores, and pings them.

        A registry that starts is certainly alive, while the holder of a lease may have died a moment ago. The others take
        their shares back with their next renewals. If values of the directory cannot be read, `run` tries again; until
        then the lists are incomplete.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        try:
            with directory_timeout():
                async with self._one_at_a_time:
                    await self._read_all()
                    instances = [status.entry.id for status in self._state.instances()]
                    await self._claim(instances)
                    await self._lease()
        except Undecodable as error:
            self.health.failed(_RECONCILE, error)
        else:
            await self._pinger.ping_round(self._targets(instances))

    async def claim(self, instances: Collection[InstanceId]) -> None:
        """Leases instances that other registries may hold: they have just logged in here, or are pinged before a decision.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        with directory_timeout():
            async with self._one_at_a_time:
                await self._claim(instances)

    async def renew(self) -> Sequence[PingTarget]:
        """Renews all leases. Returns the instances that were leased anew: they may not have been pinged for a while.

        Raises:
            ConnectionLost: The directory is out of reach. The leases stay as they were.
        """
        with directory_timeout():
            async with self._one_at_a_time:
                acquired = await self._lease()
                await self._read_unknown(acquired)
        return self._targets(acquired)

    async def follow(self) -> None:
        """Applies the changes of the directory since the last call.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        with directory_timeout():
            async with self._one_at_a_time:
                await self._read_changes()

    async def reconcile(self) -> None:
        """Compares both sides completely. Instances that the directory has lost are pinged, and stored again if live.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        if self.health.has_failed(_CONTRACTS):
            await self.read_contracts()
        with directory_timeout():
            async with self._one_at_a_time:  # a flush in between would make what was read look new
                stored = await self._directory.instance_ids()
                await self._read_unknown(stored)
                await self._read_changes()  # in this order: an instance removed in between is removed, not lost
        lost = [status.entry for status in self._state.instances() if status.entry.id not in stored]
        async with create_task_group() as tg:
            for target in self._targets(entry.id for entry in lost):
                ping = partial(self._pinger.ping, target, scheduled=True, orphan=True)
                tg.start_soon(ping, name=f"hub.registry ping {target.entry.id}")
        for entry in lost:
            await self._restore(entry)

    async def forget(self) -> None:
        """Drops contracts that were unused for their lifetime, here and in the directory, and those that others dropped.

        An instance that logged in a lifetime ago with a contract that cannot be used is logged out. It is not pinged, so it
        would stay for good; if it still runs it logs in again.

        Raises:
            ConnectionLost: The directory is out of reach.
        """
        known = self._state.contracts.keys()  # before the call: a login may add one meanwhile
        with directory_timeout():
            async with self._one_at_a_time:
                await self._log_out_unusable()
                await self._directory.forget(self._contract_ttl)
                kept = {(each.model, each.contract.fingerprint) for each in await self._directory.contracts()}
        self._state.forget_contracts(known - kept)

    async def flush(self) -> None:
        """Reports all findings, and removes all instances from the directory that have logged out.

        Raises:
            ConnectionLost: The directory is out of reach. The rest is kept for the next call.
        """
        logouts = self._state.pending_logouts
        while logouts or self._state.leases.unreported:
            with directory_timeout():
                async with self._one_at_a_time:
                    for instance, event in tuple(logouts.items()):
                        await self._directory.logout(instance, event)
                        logouts.pop(instance, None)
                    await self._report()

    async def run(self) -> None:
        """Synchronises until cancelled, also across losses of the directory; then releases all leases."""
        state, period = self._state, self._period
        try:
            async with create_task_group() as tg:
                for name, due in (("logouts", state.wait_for_logout), ("reports", state.leases.wait_for_findings)):
                    tg.start_soon(self._flush_when_due, name, due, name=f"hub.registry {name}")
                for name, interval, step in (
                    (_RECONCILE, period, self.reconcile),
                    ("contracts", period, self.forget),
                    ("follow", min(SYNC_INTERVAL, period / RENEWALS_PER_LEASE), self.follow),
                    ("reports", min(SYNC_INTERVAL, period / RENEWALS_PER_LEASE), self.flush),
                    ("leases", period / RENEWALS_PER_LEASE, partial(self._renew_and_ping, tg)),
                ):
                    tg.start_soon(self._repeat, name, interval, step, name=f"hub.registry {name}")
        finally:
            with move_on_after(RELEASE_TIMEOUT, shield=True), suppress(ConnectionLost, Undecodable):
                await self.release()

    async def release(self) -> None:
        """Reports the last findings and releases all leases.

        Raises:
            ConnectionLost: The directory is out of reach; the leases expire.
        """
        await self.flush()
        with directory_timeout():
            await self._directory.release(self._registry)

    async def _renew_and_ping(self, group: TaskGroup) -> None:
        for target in await self.renew():
            group.start_soon(self._pinger.ping, target, name=f"hub.registry ping {target.entry.id}")

    async def _flush_when_due(self, name: str, due: Callable[[], Awaitable[None]]) -> None:
        while True:
            await due()
            async for attempt in retrying(on=(ConnectionLost, Undecodable)):
                with attempt, self._noting(name):
                    await self.flush()

    async def _repeat(self, name: str, interval: float, step: Callable[[], Awaitable[None]]) -> None:
        async for _ in every(interval):
            with suppress(ConnectionLost, Undecodable), self._noting(name):
                await step()

    @contextmanager
    def _noting(self, call: str) -> Generator[None]:
        """Notes in `health` whether the block ends with an error of the directory, which is raised."""
        try:
            yield
        except (ConnectionLost, Undecodable) as error:
            self.health.failed(call, error)
            raise
        self.health.succeeded(call)

    def _targets(self, instances: Iterable[InstanceId]) -> Sequence[PingTarget]:
        targets = map(self._state.target, instances)
        return [target for target in targets if target is not None]

    async def _claim(self, instances: Collection[InstanceId]) -> None:
        if instances:
            self._state.leases.add(await self._directory.claim(self._registry, instances, ttl=self._period))

    async def _lease(self) -> Sequence[InstanceId]:
        standby = self._pinger.self_preservation.active
        leases = await self._directory.lease(self._registry, ttl=self._period, standby=standby)
        if leases.registries != self._registries:
            _log.info("number of registries changed", registries=leases.registries, leases=len(leases.tokens))
        self._registries = leases.registries
        return self._state.leases.renew(leases.tokens)

    async def _report(self) -> None:
        updates = self._state.take_updates()
        try:
            accepted = await self._directory.report(updates)
        except BaseException:
            self._state.leases.restore(updates)
            raise
        for update, counts in zip(updates, accepted, strict=True):
            if not counts:
                self._rejected_updates += 1
                _log.info("another registry has the lease", instance=update.instance, token=update.token)
                self._state.leases.drop(update.instance)

    async def _read_changes(self) -> None:
        changes = await self._directory.changes_since(self._revision, reader=self._registry)
        await self._apply(changes.instances)
        for instance in changes.removed:
            self._unusable.pop(instance, None)
            self._state.remove_remote(instance)
        self._revision = changes.revision

    async def _read_all(self) -> None:
        changes = await self._directory.changes_since(0)
        await self._apply(changes.instances)
        if self._revision == 0:  # otherwise removals since then have yet to be read
            self._revision = changes.revision

    async def _read_unknown(self, instances: Iterable[InstanceId]) -> None:
        unknown = [instance for instance in instances if self._state.instance(instance) is None]
        for at in range(0, len(unknown), READ_AT_ONCE):
            await self._apply(await self._directory.stored(unknown[at : at + READ_AT_ONCE]))

    async def _apply(self, instances: Sequence[StoredInstance]) -> None:
        contracts = self._state.contracts
        if any(contracts.get(each.entry.model, each.entry.fingerprint) is None for each in instances):
            self._state.add_contracts(await self._directory.contracts())
        for stored in instances:
            known = contracts.get(stored.entry.model, stored.entry.fingerprint)
            if known is None:
                self._unusable[stored.entry.id] = stored
            else:
                self._unusable.pop(stored.entry.id, None)
                await contracts.compare_all(known.model, known.contract)
            self._state.apply_remote(stored)

    async def _log_out_unusable(self) -> None:
        for stored in tuple(self._unusable.values()):
            entry = stored.entry
            # Another registry may be of a newer release: what it has leased is not touched.
            leased_elsewhere = stored.token not in (0, self._state.leases.token(entry.id))
            if not leased_elsewhere and wall_clock() - entry.logged_in_at >= self._contract_ttl:
                await self._directory.logout(entry.id)
                self._unusable.pop(entry.id, None)
                _log.info("instance of an unusable contract logged out", instance=entry.id, model=entry.model)

    async def _restore(self, entry: InstanceEntry) -> None:
        status = self._state.instance(entry.id)
        known = self._state.contracts.get(entry.model, entry.fingerprint)
        if status is None or status.state is not InstanceState.LIVE or known is None:
            return
        with directory_timeout():
            await self._state.contracts.compare_all(entry.model, known.contract)
            compatible = self._state.compatible_with(entry, known.contract)
            try:
                holder = await self._directory.login(
                    entry, known.contract, compatible_with=compatible, proof=entry.secret_hash
                )
            except NotYourInstance:
                return  # it has logged in anew meanwhile: the next changes have it
        if holder is not None:
            _log.warning("a live instance lost its name to another contract", instance=entry.id, model=entry.model)
            self._state.logout(entry.id)
