"""Several registries with one directory, without HTTP, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network

import anyio
import pytest
import trio.testing

from hub.directories.memory import MemoryDirectory
from hub.ports.directory import InstanceEntry
from hub.registry.client.login import LoginRequest
from hub.registry.core.changes import Removal
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.ping_result import PingOk, PingRejected, PingResult
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.registration import RegistrationService
from hub.types import InstanceId, InstanceState, ReadinessSource, new_instance_id, new_registry_id
from tests.registry.fakes import FlakyDirectory, ScriptedProbe, unused_reader
from tests.registry.helpers import MODEL, TEXTS

LOOPBACK = InstanceNetworks([ip_network("127.0.0.0/8")])
PERIOD, TIMEOUT, MISSES = 10.0, 3.0, 3
URL = "http://127.0.0.1:4000"
OWN = "s" * 43
"""The secret of every instance here."""
LIVE, NOT_CONSUMING, SUSPECT = InstanceState.LIVE, InstanceState.NOT_CONSUMING, InstanceState.SUSPECT


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@dataclass
class World:
    """The instances as they are, and the directory that all registries share."""

    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    probe: ScriptedProbe = field(default_factory=ScriptedProbe)

    def times(self, began: float) -> Counter[InstanceId]:
        return Counter(who for when, who in self.probe.pinged if when > began)


@dataclass
class Peer:
    """One registry. `cut_off`: none of its pings arrives anywhere."""

    world: World
    cut_off: bool = False
    resubscribed: list[InstanceId] = field(default_factory=list[InstanceId])
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def __post_init__(self) -> None:
        self.link = FlakyDirectory(self.world.directory)
        self.state = RegistryState(misses=MISSES, clock=anyio.current_time)
        self.pinger = Pinger(
            self.state,
            self.probe,
            period=PERIOD,
            timeout=TIMEOUT,
            owned=self.state.leases,
            misses=MISSES,
            resubscribe=self.resubscribe,
        )
        self.sync = DirectorySync(self.state, self.link, self.pinger, period=PERIOD, registry=new_registry_id())
        self.registration = RegistrationService(
            self.state,
            self.link,
            self.sync,
            self.pinger,
            descriptors=unused_reader(LOOPBACK),
            networks=LOOPBACK,
        )

    async def probe(self, entry: InstanceEntry) -> PingResult:
        if self.cut_off:
            await anyio.sleep_forever()
        return await self.world.probe(entry)

    async def resubscribe(self, entry: InstanceEntry) -> None:
        await anyio.lowlevel.checkpoint()
        self.resubscribed.append(entry.id)

    async def login(self, instance: InstanceId | None = None, *, consuming: bool = True) -> InstanceId:
        login = await self.registration.login(
            LoginRequest(
                instance=instance or new_instance_id(),
                model=MODEL,
                url=URL,
                contract=TEXTS,
                consuming=consuming,
                secret=OWN,
            )
        )
        return login.status.entry.id

    def states(self) -> dict[InstanceId, InstanceState]:
        return {status.entry.id: status.state for status in self.state.instances()}

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.sync.start()
            async with anyio.create_task_group() as tg:
                tg.start_soon(self.pinger.run)
                tg.start_soon(self.sync.run)
                task_status.started()

    def die(self) -> None:
        """Ends it as kill -9 does, without any further call."""
        self.link.down = True
        self.scope.cancel()


@asynccontextmanager
async def peers(count: int, world: World | None = None) -> AsyncGenerator[list[Peer]]:
    shared = world or World()
    async with anyio.create_task_group() as tg:
        running = [Peer(shared) for _ in range(count)]
        for peer in running:
            await tg.start(peer.run)
        yield running
        tg.cancel_scope.cancel()


async def test_each_instance_is_pinged_by_one_registry_once_a_period() -> None:
    async with peers(3) as running:
        first, *_ = running
        instances = {await first.login() for _ in range(9)}
        await anyio.sleep(PERIOD)
        assert [len(peer.state.leases) for peer in running] == [3, 3, 3]
        began = anyio.current_time()
        await anyio.sleep(10 * PERIOD)
        assert first.world.times(began) == Counter(dict.fromkeys(instances, 10))
        assert all(peer.states() == dict.fromkeys(instances, LIVE) for peer in running)


async def test_findings_of_one_registry_are_listed_by_all_within_a_second() -> None:
    async with peers(2) as (one, other):
        who = await one.login()
        await anyio.sleep(1)
        assert other.states() == {who: LIVE}
        await one.login(who, consuming=False)
        await anyio.sleep(1)
        assert other.states() == one.states()
        one.registration.logout(who, secret=OWN)
        await anyio.sleep(1)
        assert other.states() == {}
        assert other.state.removals == {}
        assert one.state.removals == {Removal.LOGOUT: 1}


async def test_a_logout_works_at_any_registry() -> None:
    async with peers(2) as (one, other):
        who = await one.login()
        await anyio.sleep(1)
        other.registration.logout(who, secret=OWN)
        await anyio.sleep(1)
        assert (one.states(), other.states(), len(one.state.leases)) == ({}, {}, 0)
        await anyio.sleep(3 * PERIOD)
        assert (one.states(), await one.world.directory.instances()) == ({}, [])


async def test_when_a_registry_dies_no_instance_is_lost_and_all_are_pinged_within_two_periods() -> None:
    async with peers(2) as (victim, survivor):
        instances = {await victim.login() for _ in range(10)}
        await anyio.sleep(3.3 * PERIOD)
        assert len(survivor.state.leases) == 5
        victim.die()
        died = anyio.current_time()
        checks = 0
        while set(victim.world.times(died)) != instances:
            assert survivor.states() == dict.fromkeys(instances, LIVE)
            checks += 1
            await anyio.sleep(0.1)
        assert checks > 10
        assert anyio.current_time() - died < 1.5 * PERIOD
        assert len(survivor.state.leases) == 10


async def test_a_registry_that_stops_releases_its_leases_at_once() -> None:
    async with peers(2) as (stopping, survivor):
        instances = {await stopping.login() for _ in range(6)}
        await anyio.sleep(3.3 * PERIOD)
        stopping.scope.cancel()
        await anyio.sleep(PERIOD / 4 + 0.1)
        assert len(survivor.state.leases) == 6
        assert survivor.states() == dict.fromkeys(instances, LIVE)


async def test_a_suspended_registry_cannot_overwrite_findings_of_its_successor() -> None:
    world = World()
    frozen = Peer(world)
    who = await frozen.login()
    await frozen.sync.flush()
    async with peers(1, world) as (successor,):
        assert len(successor.state.leases) == 1
        target = frozen.state.target(who)
        assert target is not None
        frozen.state.pinged(target, PingRejected("its own network is down"))
        assert frozen.states() == {}
        await frozen.sync.flush()
        assert (frozen.sync.rejected_updates, len(frozen.state.leases)) == (1, 0)
        await anyio.sleep(2 * PERIOD)
        assert successor.states() == {who: LIVE}
        assert [event.reason for event in await world.directory.history(10) if event.after is None] == []
        await frozen.sync.reconcile()
        assert frozen.states() == {who: LIVE}, "and it learns better"


async def test_a_registry_drops_its_lease_when_another_one_has_a_newer() -> None:
    world = World()
    former, new = Peer(world), Peer(world)
    who = await former.login()
    await former.sync.flush()
    await new.sync.start()
    assert who in former.state.leases
    await former.sync.follow()
    assert who not in former.state.leases
    assert former.states() == {who: LIVE}


async def test_a_finding_is_not_undone_by_an_earlier_report() -> None:
    only = Peer(World())
    who = await only.login()
    await only.sync.flush()
    only.world.probe.results[who] = PingOk(consuming=False, reason="no connection")
    target = only.state.target(who)
    assert target is not None
    await only.pinger.ping(target)
    await only.sync.reconcile()
    assert only.states() == {who: NOT_CONSUMING}


async def test_reconciling_does_not_restore_a_removed_instance() -> None:
    world = World()
    one, other = Peer(world), Peer(world)
    who = await one.login()
    await one.sync.flush()
    await other.sync.start()
    one.registration.logout(who, secret=OWN)
    await one.sync.flush()
    await other.sync.reconcile()
    assert other.states() == {}
    assert await world.directory.instances() == [], "it is not restored"


async def test_an_instance_that_logs_in_again_is_not_removed_by_an_older_change() -> None:
    world = World()
    one, other = Peer(world), Peer(world)
    who = await one.login()
    await one.sync.flush()
    await other.sync.start()
    await world.directory.logout(who)
    other.link.slow = anyio.Event()
    async with anyio.create_task_group() as tg:
        tg.start_soon(other.sync.follow)
        await anyio.wait_all_tasks_blocked()
        other.state.leases.drop(who)
        tg.start_soon(partial(other.login, who))
        await anyio.wait_all_tasks_blocked()
        other.link.slow.set()
    assert other.states() == {who: LIVE}


async def test_a_late_answer_of_a_ping_that_began_under_a_lost_lease_is_dropped() -> None:
    world = World()
    slow = Peer(world)
    who = await slow.login()
    world.probe.hanging = {who}
    async with anyio.create_task_group() as tg:
        target = slow.state.target(who)
        assert target is not None
        tg.start_soon(partial(slow.pinger.ping, target, scheduled=True))
        await anyio.wait_all_tasks_blocked()
        await Peer(world).sync.claim([who])
        await slow.sync.renew()
    assert slow.states() == {who: LIVE}


async def test_the_next_registry_continues_the_count_of_misses() -> None:
    async with peers(2) as (victim, survivor):
        who = await victim.login()
        await anyio.sleep(1)
        victim.world.probe.hanging.add(who)
        while survivor.states().get(who) is not SUSPECT:
            await anyio.sleep(0.5)
        holder, other = (victim, survivor) if who in victim.state.leases else (survivor, victim)
        holder.die()
        await anyio.sleep((MISSES + 1) * PERIOD)
        assert other.states() == {}
        assert other.state.removals == {Removal.MISSED: 1}
        (removal, *_) = await victim.world.directory.history(1)
        assert (removal.instance, removal.before, removal.after) == (who, SUSPECT, None)


async def test_without_the_directory_a_registry_pings_its_last_leases() -> None:
    async with peers(2) as (one, other):
        instances = {await one.login() for _ in range(4)}
        await anyio.sleep(3 * PERIOD)
        one.link.down = other.link.down = True
        await anyio.sleep(1)
        began = anyio.current_time()
        await anyio.sleep(5 * PERIOD)
        assert one.world.times(began) == Counter(dict.fromkeys(instances, 5))
        assert not one.sync.health.ok
        assert one.states() == other.states() == dict.fromkeys(instances, LIVE)
        one.link.down = other.link.down = False
        await anyio.sleep(2 * PERIOD)
        assert len(one.state.leases) == len(other.state.leases) == 2
        assert one.sync.health.ok


async def test_a_directory_that_lost_its_data_is_filled_and_leases_are_shared_again() -> None:
    async with peers(2) as (one, other):
        instances = {await one.login() for _ in range(4)}
        await anyio.sleep(3 * PERIOD)
        empty = MemoryDirectory()
        for peer in (one, other):
            peer.link.inner = empty
        for _ in range(30):
            await anyio.sleep(0.1 * PERIOD)
            assert set(one.states()) == set(other.states()) == instances
        assert {entry.id for entry in await empty.instances()} == instances
        assert len(one.state.leases) == len(other.state.leases) == 2


async def test_a_registry_without_a_network_releases_its_leases() -> None:
    async with peers(2) as (blind, other):
        instances = {await blind.login() for _ in range(8)}
        await anyio.sleep(3 * PERIOD)
        assert len(blind.state.leases) == 4
        blind.cut_off = True
        for _ in range(80):
            await anyio.sleep(0.1 * PERIOD)
            assert blind.states() == other.states() == dict.fromkeys(instances, LIVE)
        assert (blind.pinger.self_preservation.active, len(blind.state.leases), len(other.state.leases)) == (True, 0, 8)
        blind.cut_off = False
        await anyio.sleep(3 * PERIOD)
        assert (blind.pinger.self_preservation.active, len(blind.state.leases), len(other.state.leases)) == (
            False,
            4,
            4,
        )
        assert all(event.after is not SUSPECT or event.before is None for event in await other.link.history(100))


async def test_without_other_registries_self_preservation_ends_and_misses_count() -> None:
    async with peers(1) as (only,):
        for _ in range(4):
            await only.login()
        only.cut_off = True
        await anyio.sleep((MISSES + 1) * PERIOD)
        assert set(only.states().values()) <= {LIVE, SUSPECT}
        assert len(only.states()) == 4
        await anyio.sleep((MISSES + 1) * PERIOD)
        assert only.states() == {}


async def test_an_instance_that_does_not_consume_is_asked_to_subscribe_once_a_period_by_one_registry() -> None:
    async with peers(2) as (one, other):
        not_consuming, sick, well = [await one.login() for _ in range(3)]
        one.world.probe.results[not_consuming] = PingOk(consuming=False, reason="no connection")
        one.world.probe.results[sick] = PingOk(consuming=False, reason="no GPU", source=ReadinessSource.HEALTH)
        await anyio.sleep(5.5 * PERIOD)
        asked = Counter(one.resubscribed + other.resubscribed)
        assert set(asked) == {not_consuming}
        assert asked[not_consuming] in (5, 6)
        assert one.pinger.resubscribes[MODEL] + other.pinger.resubscribes[MODEL] == asked[not_consuming]
        assert one.states() == {not_consuming: NOT_CONSUMING, sick: NOT_CONSUMING, well: LIVE}


async def test_only_the_registry_with_the_lease_marks_an_instance_without_a_consumer() -> None:
    async with peers(2) as (one, other):
        instances = [await one.login() for _ in range(4)]
        await anyio.sleep(2 * PERIOD)
        ours = [who for who in instances if who in one.state.leases]
        for _ in range(2):
            await anyio.sleep(0.01)
            one.state.consumer_counts({MODEL: 0}, began=anyio.current_time())
        assert {who for who, state in one.states().items() if state is NOT_CONSUMING} == set(ours)
        await anyio.sleep(PERIOD + 1)
        assert other.states() == one.states(), "the other one lists it"
        assert set(one.resubscribed) == set(ours)
        assert other.resubscribed == []


async def test_the_history_has_each_change_once() -> None:
    async with peers(2) as (one, other):
        who = await one.login()
        await anyio.sleep(1)
        one.world.probe.results[who] = PingOk(consuming=False, reason="no connection")
        await anyio.sleep(PERIOD)
        one.world.probe.results[who] = PingRejected("connection refused")
        await anyio.sleep(PERIOD)
        events = await other.link.history(10)
        assert [(event.before, event.after, event.reason) for event in events] == [
            (NOT_CONSUMING, None, "connection refused"),
            (LIVE, NOT_CONSUMING, "no connection"),
            (InstanceState.LOADING, LIVE, ""),
            (None, InstanceState.LOADING, "logged in, not pinged yet"),
        ]
        assert {(event.instance, event.model, event.url) for event in events} == {(who, MODEL, URL)}
        assert [event.at for event in events] == sorted((event.at for event in events), reverse=True)
