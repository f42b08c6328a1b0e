"""Everything that a registry process holds in memory, and the bell that rings when it changes."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, final

import structlog
from anyio import Event
from anyio.lowlevel import checkpoint

from hub.contract import Contract
from hub.ports.directory import HistoryEvent, InstanceEntry, RegisteredContract
from hub.registry.client.views import ModelStatus
from hub.registry.core.leases import LeaseTable
from hub.registry.core.table import InstanceChange, InstanceTable, Removal
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, WallClock, reserved, wall_clock

_log = structlog.get_logger("hub.registry")

_WORDS: Final = {
    None: "instance removed",
    InstanceState.LIVE: "instance is live",
    InstanceState.NOT_CONSUMING: "instance consumes nothing",
    InstanceState.SUSPECT: "instance is suspect",
    InstanceState.LOADING: "instance is loading",
}


@final
class RegistryState:
    """The table, the contracts, and who waits for news. Plain bookkeeping: only `newer_than` waits.

    Attributes:
        table: The state machine. Hand every change that it reports to `apply`.
        lineage: The contracts; the table asks the same one.
        holdings: Whom this process pings, and what it has to report.
        on_forgotten: Each is told of every model that is dropped.
        departed: Instances that logged out and may still stand in the directory, each with what the history is to say.
    """

    def __init__(self, table: InstanceTable, *, clock: WallClock = wall_clock) -> None:
        self.table = table
        self.holdings = LeaseTable()
        self.lineage = table.lineage
        self.departed: dict[InstanceId, HistoryEvent] = {}
        self._clock = clock
        self._removals: Counter[Removal] = Counter()
        self._ignored: set[ModelName] = set()  # as many as the directory has contracts, at most
        self._forgotten = 0
        self.on_forgotten: list[Callable[[ModelName], None]] = []
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

    @property
    def removals(self) -> Mapping[Removal, int]:
        """How many instances this process took off the lists, by reason."""
        return self._removals

    def apply(self, changes: Sequence[InstanceChange], *, adopted: bool = False) -> None:
        """Logs changes of the table and wakes everybody who waits for news.

        Args:
            changes: What the table reported.
            adopted: Whether another registry found them out. Our own are for the directory and its history as well.
        """
        for change in changes:
            if not adopted:
                self._tell(change)
            entry = change.entry
            good = change.after in (InstanceState.LIVE, InstanceState.LOADING)
            write = _log.info if good or change.before is None or change.removal is Removal.LOGOUT else _log.warning
            logged_in = change.before is None and change.after is InstanceState.LOADING
            words = "instance logged in" if logged_in else _WORDS[change.after]
            write(words, instance=entry.id, model=entry.model, url=entry.url, reason=change.reason)
        if changes:
            self._ring()

    def _tell(self, change: InstanceChange) -> None:
        entry = change.entry
        event = HistoryEvent(
            at=self._clock(),
            instance=entry.id,
            model=entry.model,
            url=entry.url,
            before=change.before,
            after=change.after,
            reason=change.reason,
        )
        if change.removal is not None:
            self._removals[change.removal] += 1
        if change.removal in (Removal.LOGOUT, Removal.REPLACED):  # whoever pings it
            self.depart(entry.id, event)
        else:
            if change.before is None:
                self.departed.pop(entry.id, None)
            self.holdings.found(entry.id, event)

    def know(self, contracts: Iterable[RegisteredContract]) -> None:
        """Keeps contracts that the directory has accepted, oldest first; the first word about one stands.

        The newest one of a model of which nothing else was known is its present one.
        """
        before = self.table.version
        accepted = [known for known in contracts if not self._is_reserved(known.model)]
        for known in accepted:
            self.lineage.know(known)
        for known in reversed(accepted):
            self.table.remember(known.model, known.contract.fingerprint)
        if self.table.version != before:
            self._ring()

    def _is_reserved(self, model: ModelName) -> bool:
        """Whether an earlier release accepted a name that is that of a queue of hub's own."""
        why = reserved(model)
        if why and model not in self._ignored:
            self._ignored.add(model)
            _log.warning("a model of the directory is ignored, its name is reserved", model=model, reason=why)
        return bool(why)

    def forget(self, contracts: Iterable[tuple[ModelName, Fingerprint]]) -> None:
        """Drops contracts that the directory keeps no more, and models without any; those of instances here stay."""
        before = self.table.version
        used = {(status.entry.model, status.entry.fingerprint) for status in self.table.instances()}
        for model, fingerprint in contracts:
            if (model, fingerprint) in used:
                continue
            self.lineage.forget(model, fingerprint)
            self._forgotten += 1
            status, left = self.table.model(model), self.lineage.contracts(model)
            if status is None or status.fingerprint != fingerprint:
                continue
            self.table.forget(model, left[-1].contract.fingerprint if left else None)
            if not left:
                _log.info("a model is forgotten, no instance of it was up for long", model=model)
                for told in self.on_forgotten:
                    told(model)
        if self.table.version != before:
            self._ring()

    @property
    def forgotten(self) -> int:
        """Contracts dropped since this process started."""
        return self._forgotten

    def contract(self, model: ModelName, fingerprint: Fingerprint) -> RegisteredContract | None:
        return self.lineage.contract(model, fingerprint)

    def compatible_with(self, entry: InstanceEntry, contract: Contract) -> frozenset[Fingerprint]:
        """The other contracts that instances of its model have now, and that may be up together with this one."""
        return self.lineage.compatible_with(entry.model, contract, self.table.others(entry))

    def depart(self, instance: InstanceId, event: HistoryEvent) -> None:
        """Notes that the directory is to forget an instance."""
        self.holdings.lost(instance)
        self.departed[instance] = event
        self._departures.set()
        self._departures = Event()

    async def departure(self) -> None:
        """Waits until somebody is in `departed`."""
        await checkpoint()
        while not self.departed:
            await self._departures.wait()

    def present(self, model: ModelStatus) -> RegisteredContract:
        """The contract of a model of the table; whoever puts one there makes its contract known first."""
        known = self.lineage.contract(model.name, model.fingerprint)
        if known is None:
            raise AssertionError("a model that is listed without its contract")
        return known

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
