"""Keeping the memory of this process and the directory in step."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, final

import structlog
from anyio import Lock, create_task_group, current_time, fail_after, sleep, sleep_until

from hub.errors import LinkLost
from hub.ports import Directory, InstanceEntry
from hub.registry.pinger import Pinger
from hub.registry.roll import Roll
from hub.registry.states import InstanceState
from hub.supervision import Backoff

DIRECTORY_PATIENCE: Final = 5.0
"""Seconds that one call of the directory may take: an instance would rather hear of trouble and log in again."""

_log = structlog.get_logger("hub.registry.keeper")


@contextmanager
def directory_patience() -> Generator[None]:
    """Bounds calls of the directory.

    Raises:
        LinkLost: Also when it does not answer.
    """
    try:
        with fail_after(DIRECTORY_PATIENCE):
            yield
    except TimeoutError as error:
        raise LinkLost("the directory", f"no answer within {DIRECTORY_PATIENCE:g} s") from error


@final
class DirectoryKeeper:
    """Brings what others wrote into the directory into the table, and what pings found out into the directory.

    Several registries may share a directory: each pings every instance, and each takes the word of its own pings. A
    directory that lost its data gets it back from the tables of the registries that are up.

    Args:
        roll: The memory of this process.
        directory: What survives it.
        pinger: Checks instances that only one side knows.
        period: Seconds between two looks at the directory.
    """

    def __init__(self, roll: Roll, directory: Directory, pinger: Pinger, *, period: float) -> None:
        self._roll = roll
        self._directory = directory
        self._pinger = pinger
        self._period = period
        self._linked = True
        self._one_at_a_time = Lock()

    @property
    def linked(self) -> bool:
        """Whether the directory answered when it was last asked. Without it nobody can log in; lists go on."""
        return self._linked

    async def reconcile(self) -> None:
        """Compares both sides once. Instances that only one of them knows are pinged before they are believed.

        Raises:
            LinkLost: The directory is out of reach.
        """
        table = self._roll.table
        with directory_patience():
            async with self._one_at_a_time:  # a flush in between would make what was read look like news
                stored = await self._directory.instances()
                if any(self._roll.contract(entry.model, entry.fingerprint) is None for entry in stored):
                    self._roll.know(await self._directory.contracts())
                strangers = [entry for entry in stored if self._is_stranger(entry)]
                for entry in strangers:
                    self._roll.apply(table.login(entry))
        ids = {entry.id for entry in stored}
        missing = [status.entry for status in table.instances() if status.entry.id not in ids]
        targets = [table.target(entry.id) for entry in (*strangers, *missing)]
        await self._pinger.ping_all(target for target in targets if target is not None)
        for entry in missing:
            await self._write_back(entry)

    async def flush(self) -> None:
        """Takes everybody out of the directory who left the table.

        Raises:
            LinkLost: The directory is out of reach. Who is left stays noted.
        """
        while self._roll.departed:
            with directory_patience():
                async with self._one_at_a_time:
                    for instance in tuple(self._roll.departed):
                        await self._directory.logout(instance)
                        self._roll.departed.discard(instance)

    async def run(self) -> None:
        """Keeps both sides in step until cancelled, however often the directory goes away."""
        async with create_task_group() as tg:
            tg.start_soon(self._flush_when_due, name="hub.registry directory flush")
            tg.start_soon(self._reconcile_each_period, name="hub.registry directory reconcile")

    async def _flush_when_due(self) -> None:
        delays = Backoff().delays()
        while True:
            await self._roll.departure()
            try:
                await self.flush()
            except LinkLost as lost:
                self._lost(lost)
                await sleep(next(delays))
            else:
                self._linked = True
                delays = Backoff().delays()

    async def _reconcile_each_period(self) -> None:
        due = current_time()
        while True:
            due = max(due + self._period, current_time())
            await sleep_until(due)
            try:
                await self.reconcile()
            except LinkLost as lost:
                self._lost(lost)
            else:
                self._linked = True

    def _lost(self, lost: LinkLost) -> None:
        if self._linked:
            _log.warning("directory out of reach; lists go on, logins have to wait", reason=lost.reason)
        self._linked = False

    def _is_stranger(self, entry: InstanceEntry) -> bool:
        return (
            self._roll.table.instance(entry.id) is None
            and entry.id not in self._roll.departed
            and self._roll.contract(entry.model, entry.fingerprint) is not None
        )

    async def _write_back(self, entry: InstanceEntry) -> None:
        status = self._roll.table.instance(entry.id)
        known = self._roll.contract(entry.model, entry.fingerprint)
        if status is None or status.state is not InstanceState.LIVE or known is None:
            return
        with directory_patience():
            holder = await self._directory.login(entry, known.contract)
        if holder is not None:
            _log.warning("a live instance lost its name to another contract", instance=entry.id, model=entry.model)
            self._roll.apply(self._roll.table.logout(entry.id))
