"""Keeping the memory of this process and the directory in step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from typing import Final, final

import structlog
from anyio import Lock, create_task_group, current_time, fail_after, move_on_after, sleep, sleep_until
from anyio.abc import TaskGroup

from hub.errors import CallRefused, LinkLost, NotYourInstance, Undecodable
from hub.ports import Directory, InstanceEntry, SharedInstance, Standing
from hub.registry.judging import judge
from hub.registry.pinger import Pinger
from hub.registry.pings import PingTarget
from hub.registry.roll import Roll
from hub.registry.states import InstanceState
from hub.supervision import Backoff
from hub.vocabulary import InstanceId, RegistryId, wall_clock

DIRECTORY_PATIENCE: Final = 5.0
"""Seconds that one call of the directory may take: an instance would rather hear of trouble and log in again."""

RENEWALS: Final = 4
"""Renewals of leases in one ping period. A lease lasts one period, so two lost renewals cost nothing, and whoever dies
is replaced within one period and a quarter."""

FOLLOW: Final = 0.5
"""Seconds between two looks for what other registries found out, at most: one cheap call when there is nothing."""

LONGEST_TTL: Final = 1e9
"""Seconds, 31 years: what a lifetime without end counts as."""

RELEASE_GRACE: Final = 2.0
"""Seconds that the end waits for the directory to take the last findings and the leases; without it others wait until
the leases have run out."""

_RECALL: Final = "recall"
_RECONCILE: Final = "directory reconcile"

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
    """Brings what others wrote into the directory into the table, and what our pings found out into the directory.

    Several registries may share a directory. Each instance is pinged by the one that holds its lease; the others adopt
    what it reports. One conversation with the directory goes on at a time, so that no answer is older than what was
    taken in before it. A directory that lost its data gets it back from the tables of the registries that are up.

    Args:
        roll: The memory of this process.
        directory: What survives it, and what the others see.
        pinger: Pings whom we have just got, and checks instances that the directory lost.
        period: Seconds between two pings of one instance, and between two complete looks at the directory.
        registry: Who we are.
        contract_ttl: Seconds that a contract is kept which no instance has.
    """

    def __init__(
        self,
        roll: Roll,
        directory: Directory,
        pinger: Pinger,
        *,
        period: float,
        registry: RegistryId,
        contract_ttl: float = inf,
    ) -> None:
        self._roll = roll
        self._directory = directory
        self._pinger = pinger
        self._period = period
        self._registry = registry
        self._contract_ttl = min(contract_ttl, LONGEST_TTL)
        self._left_out: dict[InstanceId, SharedInstance] = {}  # instances of contracts that cannot be used
        self._revision = 0
        self._failing: dict[str, LinkLost | Undecodable] = {}
        self._one_at_a_time = Lock()
        self._refused = 0
        self._registries = 1

    @property
    def linked(self) -> bool:
        """Whether the directory carried out what it was last asked. Without it nobody can log in; lists go on."""
        return not self._failing

    @property
    def trouble(self) -> str:
        """Why it does not: out of reach, out of memory, scripts forbidden, values of another type; empty if it does."""
        return "; ".join(dict.fromkeys(error.reason for error in self._failing.values()))

    @property
    def in_reach(self) -> bool:
        """Whether it answers at all; what it answers may be no use, see `trouble`."""
        return not any(
            isinstance(error, LinkLost) and not isinstance(error, CallRefused) for error in self._failing.values()
        )

    @property
    def leases(self) -> int:
        """Instances that this registry pings."""
        return len(self._roll.holdings)

    @property
    def registries(self) -> int:
        """Registries that share the work, as far as the directory knew at the last renewal."""
        return self._registries

    @property
    def refused(self) -> int:
        """Reports that came too late: somebody else had got the lease, or the instance was gone."""
        return self._refused

    async def recall(self) -> None:
        """Reads every contract that the directory keeps; `run` tries again if something else is in the way.

        Raises:
            LinkLost: The directory is out of reach.
        """
        try:
            with directory_patience():
                found = await self._directory.contracts()
        except Undecodable as error:
            self._failed(_RECALL, error)
        else:
            self._worked(_RECALL)
            self._roll.know(found)

    async def start(self) -> None:
        """Takes over everybody whom the directory remembers, and pings them.

        Whoever starts is certainly alive, while the holder of a lease may have died a moment ago. The others take their
        shares back with their next renewals. A directory in which values of something else are in the way is read again
        and again from `run`; until then the lists have less than they should.

        Raises:
            LinkLost: The directory is out of reach.
        """
        try:
            with directory_patience():
                async with self._one_at_a_time:
                    await self._read_all()
                    everybody = [status.entry.id for status in self._roll.table.instances()]
                    await self._lease(everybody)
        except Undecodable as error:
            self._failed(_RECONCILE, error)
        else:
            await self._pinger.round(self._targets(everybody))

    async def claim(self, instances: Collection[InstanceId]) -> None:
        """Makes instances ours, whoever has their leases: they have just spoken with us, or are about to be judged.

        Raises:
            LinkLost: The directory is out of reach.
        """
        with directory_patience():
            async with self._one_at_a_time:
                await self._lease(instances)

    async def renew(self) -> Sequence[PingTarget]:
        """Renews our leases. Returns whom we have got from others: to be pinged soon, for nobody may have lately.

        Raises:
            LinkLost: The directory is out of reach. We go on with the leases that we had.
        """
        with directory_patience():
            async with self._one_at_a_time:
                acquired = await self._lease(())
                if any(self._roll.table.instance(instance) is None for instance in acquired):
                    await self._read_all()
        return self._targets(acquired)

    async def follow(self) -> None:
        """Takes in what changed in the directory since the last time.

        Raises:
            LinkLost: The directory is out of reach.
        """
        with directory_patience():
            async with self._one_at_a_time:
                await self._read_news()

    async def reconcile(self) -> None:
        """Compares both sides completely. Instances that the directory has lost are pinged, and written back if live.

        Raises:
            LinkLost: The directory is out of reach.
        """
        if _RECALL in self._failing:
            await self.recall()
        with directory_patience():
            async with self._one_at_a_time:  # a flush in between would make what was read look like news
                stored = await self._read_all()
                await self._read_news()  # in this order: who left in between is gone, and not lost
        lost = [status.entry for status in self._roll.table.instances() if status.entry.id not in stored]
        async with create_task_group() as tg:
            for target in self._targets(entry.id for entry in lost):
                ping = partial(self._pinger.ping, target, scheduled=True, orphan=True)
                tg.start_soon(ping, name=f"hub.registry ping {target.entry.id}")
        for entry in lost:
            await self._write_back(entry)

    async def forget(self) -> None:
        """Drops contracts that were unused for the lifetime, here and in the directory; also those others dropped.

        An instance that logged in a lifetime ago with a contract that cannot be used no longer counts as using it: it is
        not pinged, so it would do so for good; if there still is one, it logs in anew.

        Raises:
            LinkLost: The directory is out of reach.
        """
        known = self._roll.lineage.keys()  # before the look: what a login adds meanwhile is no news
        with directory_patience():
            async with self._one_at_a_time:
                await self._release_unusable()
                await self._directory.forget(self._contract_ttl)
                kept = {(each.model, each.contract.fingerprint) for each in await self._directory.contracts()}
        self._roll.forget(known - kept)

    async def flush(self) -> None:
        """Writes what our pings found out, and takes everybody out of the directory who logged out.

        Raises:
            LinkLost: The directory is out of reach. What is left stays noted.
        """
        departed, holdings = self._roll.departed, self._roll.holdings
        while departed or holdings.unreported:
            with directory_patience():
                async with self._one_at_a_time:
                    for instance, event in tuple(departed.items()):
                        await self._directory.logout(instance, event)
                        departed.pop(instance, None)
                    await self._report()

    async def run(self) -> None:
        """Keeps both sides in step until cancelled, however often the directory goes away; then gives all leases up."""
        try:
            async with create_task_group() as tg:
                for due, name in ((self._roll.departure, "logouts"), (self._roll.holdings.something_found, "reports")):
                    tg.start_soon(self._flush_when_due, name, due, name=f"hub.registry {name}")
                renewal = partial(self._renew_and_ping, tg)
                for name, period, step in (
                    (_RECONCILE, self._period, self.reconcile),
                    ("contracts", self._period, self.forget),
                    ("follow", min(FOLLOW, self._period / RENEWALS), self.follow),
                    ("leases", self._period / RENEWALS, renewal),
                ):
                    tg.start_soon(self._each, name, period, step, name=f"hub.registry {name}")
        finally:
            with move_on_after(RELEASE_GRACE, shield=True), suppress(LinkLost, Undecodable):
                await self.release()

    async def release(self) -> None:
        """Writes the last findings and gives all leases up.

        Raises:
            LinkLost: The directory is out of reach; the leases run out by themselves.
        """
        await self.flush()
        with directory_patience():
            await self._directory.release(self._registry)

    async def _renew_and_ping(self, group: TaskGroup) -> None:
        for target in await self.renew():
            group.start_soon(self._pinger.ping, target, name=f"hub.registry ping {target.entry.id}")

    async def _flush_when_due(self, name: str, due: Callable[[], Awaitable[None]]) -> None:
        delays = Backoff().delays()
        while True:
            await due()
            try:
                await self.flush()
            except (LinkLost, Undecodable) as error:
                self._failed(name, error)
                await sleep(next(delays))
            else:
                self._worked(name)
                delays = Backoff().delays()

    async def _each(self, name: str, period: float, step: Callable[[], Awaitable[None]]) -> None:
        due = current_time()
        while True:
            due = max(due + period, current_time())
            await sleep_until(due)
            try:
                await step()
            except (LinkLost, Undecodable) as error:
                self._failed(name, error)
            else:
                self._worked(name)

    def _failed(self, step: str, error: LinkLost | Undecodable) -> None:
        """Notes it for each kind of call: those that only read work in a server that takes no changes."""
        known = list(self._failing.values())
        self._failing[step] = error
        if isinstance(error, Undecodable):  # which names all keys that are in the way
            if not any(isinstance(each, Undecodable) for each in known):
                _log.error("the directory holds something else than hub's values", reason=error.reason)
        elif not any(isinstance(each, LinkLost) for each in known):
            event = "directory refuses calls" if isinstance(error, CallRefused) else "directory out of reach"
            _log.warning(f"{event}; lists go on, logins have to wait", reason=error.reason)

    def _worked(self, step: str) -> None:
        self._failing.pop(step, None)

    def _targets(self, instances: Iterable[InstanceId]) -> Sequence[PingTarget]:
        targets = map(self._roll.table.target, instances)
        return [target for target in targets if target is not None]

    async def _lease(self, claim: Collection[InstanceId]) -> Sequence[InstanceId]:
        standby = self._pinger.doubt.holds and not claim
        leases = await self._directory.lease(self._registry, ttl=self._period, claim=claim, standby=standby)
        if leases.registries != self._registries:
            _log.info("registries share the work", registries=leases.registries, leases=len(leases.tokens))
        self._registries = leases.registries
        return self._roll.holdings.renewed(leases.tokens)

    async def _report(self) -> None:
        reports = self._roll.holdings.take(self._standing)
        try:
            answers = await self._directory.report(reports)
        except BaseException:
            self._roll.holdings.put_back(reports)
            raise
        for report, counts in zip(reports, answers, strict=True):
            if not counts:
                self._refused += 1
                _log.info("another registry pings it now", instance=report.instance, token=report.token)
                self._roll.holdings.lost(report.instance)

    def _standing(self, instance: InstanceId) -> Standing | None:
        status = self._roll.table.instance(instance)
        return None if status is None else status.standing

    async def _read_news(self) -> None:
        news = await self._directory.news(self._revision)
        await self._take_in(news.instances)
        for instance in news.gone:
            self._left_out.pop(instance, None)
            self._roll.holdings.lost(instance)
            self._roll.apply(self._roll.table.removed_elsewhere(instance), adopted=True)
        self._revision = news.revision

    async def _read_all(self) -> Collection[InstanceId]:
        news = await self._directory.news(0)
        await self._take_in(news.instances)
        if self._revision == 0:  # later on, who left has yet to be heard of
            self._revision = news.revision
        return {shared.entry.id for shared in news.instances}

    async def _take_in(self, found: Sequence[SharedInstance]) -> None:
        if any(self._roll.contract(each.entry.model, each.entry.fingerprint) is None for each in found):
            self._roll.know(await self._directory.contracts())
        for shared in found:
            known = self._roll.contract(shared.entry.model, shared.entry.fingerprint)
            if known is None:
                self._left_out[shared.entry.id] = shared
            else:
                self._left_out.pop(shared.entry.id, None)
                await judge(self._roll.lineage, known.model, known.contract)
            self._adopt(shared)

    def _adopt(self, shared: SharedInstance) -> None:
        entry, holdings = shared.entry, self._roll.holdings
        held, listed = holdings.token(entry.id), self._roll.table.instance(entry.id) is not None
        if entry.id in self._roll.departed or self._roll.contract(entry.model, entry.fingerprint) is None:
            return
        if held >= shared.token > 0 and (listed or holdings.is_unreported(entry.id)):
            return  # it is ours: what the directory has is what we said
        if shared.token > held > 0:
            holdings.lost(entry.id)
        self._roll.apply(self._roll.table.adopt(entry, shared.standing), adopted=True)

    async def _release_unusable(self) -> None:
        for shared in tuple(self._left_out.values()):
            entry = shared.entry
            ours = shared.token in (
                0,
                self._roll.holdings.token(entry.id),
            )  # another registry may be of a newer release
            if ours and wall_clock() - entry.logged_in_at >= self._contract_ttl:
                await self._directory.logout(entry.id)
                self._left_out.pop(entry.id, None)
                _log.info(
                    "an instance of a contract that cannot be used is forgotten", instance=entry.id, model=entry.model
                )

    async def _write_back(self, entry: InstanceEntry) -> None:
        status = self._roll.table.instance(entry.id)
        known = self._roll.contract(entry.model, entry.fingerprint)
        if status is None or status.state is not InstanceState.LIVE or known is None:
            return
        with directory_patience():
            await judge(self._roll.lineage, entry.model, known.contract)
            beside = self._roll.beside(entry, known.contract)
            try:
                holder = await self._directory.login(entry, known.contract, beside=beside, proof=entry.secret_hash)
            except NotYourInstance:
                return  # it has logged in anew meanwhile: the news will have it
        if holder is not None:
            _log.warning("a live instance lost its name to another contract", instance=entry.id, model=entry.model)
            self._roll.apply(self._roll.table.logout(entry.id))
