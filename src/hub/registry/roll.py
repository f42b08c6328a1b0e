"""Everything that a registry process holds in memory, and the bell that rings when it changes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Final, final

import structlog
from anyio import Event
from anyio.lowlevel import checkpoint

from hub.ports import KnownContract
from hub.registry.states import InstanceState, ModelStatus
from hub.registry.table import Change, Table
from hub.vocabulary import Fingerprint, InstanceId, ModelName

_log = structlog.get_logger("hub.registry")

_WORDS: Final = {
    None: "instance removed",
    InstanceState.LIVE: "instance is live",
    InstanceState.DEAF: "instance consumes nothing",
    InstanceState.SUSPECT: "instance is suspect",
}


@final
class Roll:
    """The table, the contracts, and who waits for news. Plain bookkeeping: only `newer_than` waits.

    Attributes:
        table: The state machine. Hand every change that it reports to `apply`.
        departed: Instances that left the table and may still stand in the directory.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.departed: set[InstanceId] = set()
        self._contracts: dict[tuple[ModelName, Fingerprint], KnownContract] = {}
        self._epoch = secrets.token_hex(4)
        self._news = Event()
        self._departures = Event()
        self._closed = False
        self._waiting = 0

    @property
    def etag(self) -> str:
        """The version of the lists as a weak HTTP validator; another process, or another start, never repeats one."""
        return f'W/"{self._epoch}-{self.table.version}"'

    @property
    def waiting(self) -> int:
        """Who waits for news now."""
        return self._waiting

    def apply(self, changes: Sequence[Change]) -> None:
        """Logs changes of the table and wakes everybody who waits for news."""
        for change in changes:
            entry = change.entry
            if change.after is None:
                self.depart(entry.id)
            elif change.before is None:
                self.departed.discard(entry.id)
            write = _log.info if change.after is InstanceState.LIVE else _log.warning
            if change.before is None or change.reason == "logged out":
                write = _log.info
            write(_WORDS[change.after], instance=entry.id, model=entry.model, url=entry.url, reason=change.reason)
        if changes:
            self._ring()

    def know(self, contracts: Iterable[KnownContract]) -> None:
        """Keeps contracts that the directory has accepted; the first word about one stands."""
        before = self.table.version
        for known in contracts:
            self._contracts.setdefault((known.model, known.contract.fingerprint), known)
            self.table.remember(known.model, known.contract.fingerprint)
        if self.table.version != before:
            self._ring()

    def contract(self, model: ModelName, fingerprint: Fingerprint) -> KnownContract | None:
        return self._contracts.get((model, fingerprint))

    def depart(self, instance: InstanceId) -> None:
        """Notes that the directory is to forget an instance."""
        self.departed.add(instance)
        self._departures.set()
        self._departures = Event()

    async def departure(self) -> None:
        """Waits until somebody is in `departed`."""
        await checkpoint()
        while not self.departed:
            await self._departures.wait()

    def present(self, model: ModelStatus) -> KnownContract:
        """The contract of a model of the table; whoever puts one there makes its contract known first."""
        return self._contracts[model.name, model.fingerprint]

    async def newer_than(self, version: int) -> None:
        """Waits until the version of the table is another one than `version`, or the registry closes."""
        await checkpoint()
        self._waiting += 1
        try:
            while self.table.version == version and not self._closed:
                await self._news.wait()
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Lets everybody go who waits for news, now and later: the process is about to stop."""
        self._closed = True
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = Event()
