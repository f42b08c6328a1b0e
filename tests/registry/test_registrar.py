from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import final

import anyio
import pytest
from typing_extensions import override

from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import ConnectionLost
from hub.ports.directory import (
    Directory,
    DirectoryChanges,
    HistoryEvent,
    InstanceEntry,
    LeaseSet,
    LoginLimits,
    RegisteredContract,
    StatusUpdate,
)
from hub.registry.client.errors import InstanceUnreachable, InvalidLogin, NameTaken
from hub.registry.client.login import LoginRequest
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.registration import AcceptedLogin, RegistrationService
from hub.types import Fingerprint, InstanceId, InstanceState, RegistryId, new_instance_id, new_registry_id
from tests.registry.support import DIGITS, MODEL, TEXTS, TIMEOUT, ScriptedProbe, entry_of

URL = "http://127.0.0.1:4000"
OWN = "s" * 43
"""The secret of every instance here."""


@final
class FlakyDirectory(Directory):
    """A directory in memory whose link is down while `down` is set, and whose lists are held up while `slow` is."""

    def __init__(self, inner: MemoryDirectory) -> None:
        self.inner = inner
        self.down = False
        self.slow: anyio.Event | None = None

    def check(self) -> None:
        if self.down:
            raise ConnectionLost("the directory", "pulled plug")

    @override
    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        compatible_with: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        self.check()
        return await self.inner.login(entry, contract, compatible_with=compatible_with, proof=proof, limits=limits)

    @override
    async def forget(self, ttl: float) -> int:
        self.check()
        return await self.inner.forget(ttl)

    @override
    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        self.check()
        return await self.inner.logout(instance, event)

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        self.check()
        found = await self.inner.instances()
        if self.slow is not None:
            await self.slow.wait()
        return found

    @override
    async def contracts(self) -> Sequence[RegisteredContract]:
        self.check()
        return await self.inner.contracts()

    @override
    async def lease(
        self, registry: RegistryId, *, ttl: float, claim: Collection[InstanceId] = (), standby: bool = False
    ) -> LeaseSet:
        self.check()
        return await self.inner.lease(registry, ttl=ttl, claim=claim, standby=standby)

    @override
    async def release(self, registry: RegistryId) -> None:
        self.check()
        await self.inner.release(registry)

    @override
    async def report(self, updates: Sequence[StatusUpdate]) -> Sequence[bool]:
        self.check()
        return await self.inner.report(updates)

    @override
    async def changes_since(self, revision: int) -> DirectoryChanges:
        self.check()
        found = await self.inner.changes_since(revision)
        if self.slow is not None:
            await self.slow.wait()
        return found

    @override
    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        self.check()
        return await self.inner.history(limit)


@dataclass
class Office:
    """One registry without HTTP. Several may share a directory and a probe."""

    memory: MemoryDirectory = field(default_factory=MemoryDirectory)
    probe: ScriptedProbe = field(default_factory=ScriptedProbe)
    period: float = 0.01

    def __post_init__(self) -> None:
        self.directory = FlakyDirectory(self.memory)
        self.state = RegistryState(clock=lambda: 1000.0)
        self.pinger = Pinger(self.state, self.probe, period=10, timeout=0.05, owned=self.state.leases)
        self.sync = DirectorySync(
            self.state, self.directory, self.pinger, period=self.period, registry=new_registry_id()
        )
        self.registration = RegistrationService(
            self.state,
            self.directory,
            self.sync,
            self.pinger,
            networks=InstanceNetworks([ip_network("127.0.0.0/8")]),
        )

    async def login(
        self,
        contract: Contract = TEXTS,
        instance: InstanceId | None = None,
        url: str = URL,
        *,
        consuming: bool = True,
    ) -> AcceptedLogin:
        return await self.registration.login(
            LoginRequest(
                instance=instance or new_instance_id(),
                model=MODEL,
                url=url,
                contract=contract,
                consuming=consuming,
                secret=OWN,
            )
        )

    def states(self) -> dict[InstanceId, InstanceState]:
        return {status.entry.id: status.state for status in self.state.instances()}

    def lose_data(self) -> None:
        """The directory is an empty one from here on."""
        self.memory = self.directory.inner = MemoryDirectory()

    async def stored(self) -> set[InstanceId]:
        return {entry.id for entry in await self.memory.instances()}


@pytest.fixture
async def office() -> AsyncGenerator[Office]:
    with anyio.fail_after(TIMEOUT):
        yield Office()


async def test_a_login_is_pinged_before_it_is_answered_and_is_live_then(office: Office) -> None:
    login = await office.login()
    assert (login.created, login.status.state) == (True, InstanceState.LIVE)
    assert [who for _, who in office.probe.pinged] == [login.status.entry.id]
    assert await office.stored() == {login.status.entry.id}


async def test_a_repeated_login_is_the_same_login(office: Office) -> None:
    first = await office.login()
    version = office.state.version
    again = await office.login(instance=first.status.entry.id)
    assert (again.created, again.status.entry) == (False, first.status.entry)
    assert office.state.version == version


async def test_an_instance_that_says_that_it_is_deaf_is_shown_so_until_its_ping_says_otherwise(office: Office) -> None:
    login = await office.login()
    instance = login.status.entry.id
    shown: list[InstanceState] = []

    async def look() -> None:
        await office.state.wait_for_change(office.state.version)
        shown.extend(office.states().values())

    async with anyio.create_task_group() as tg:
        tg.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        again = await office.login(instance=instance, consuming=False)
    assert shown == [InstanceState.NOT_CONSUMING]
    assert (again.created, again.status.state) == (False, InstanceState.LIVE)


async def test_an_instance_is_deaf_at_its_word_even_if_the_directory_is_away_and_its_ping_is_slow(
    office: Office,
) -> None:
    instance = (await office.login()).status.entry.id
    office.directory.down = True
    with pytest.raises(ConnectionLost):
        await office.login(instance=instance, consuming=False)
    assert office.states() == {instance: InstanceState.NOT_CONSUMING}
    office.directory.down = False
    office.probe.hanging.add(instance)
    assert (await office.login(instance=instance)).status.state is InstanceState.NOT_CONSUMING


async def test_nobody_is_live_at_its_word(office: Office) -> None:
    instance = new_instance_id()
    office.probe.results[instance] = PingOk(consuming=False, reason="no link")
    assert (await office.login(instance=instance)).status.state is InstanceState.NOT_CONSUMING
    stranger = new_instance_id()
    office.probe.results[stranger] = PingRejected("connection refused")
    with pytest.raises(InstanceUnreachable):
        await office.login(instance=stranger, consuming=False)
    assert office.states() == {instance: InstanceState.NOT_CONSUMING}


async def test_a_login_that_nobody_answers_at_is_refused_and_leaves_nothing(office: Office) -> None:
    instance = new_instance_id()
    office.probe.results[instance] = PingRejected("connection refused")
    with pytest.raises(InstanceUnreachable, match=r"connection refused.*HUB_ADVERTISE_HOST"):
        await office.login(instance=instance)
    assert office.states() == {}
    await office.sync.flush()
    assert await office.stored() == set()


async def test_a_login_that_is_slow_to_answer_is_in_but_suspect(office: Office) -> None:
    instance = new_instance_id()
    office.probe.hanging.add(instance)
    login = await office.login(instance=instance)
    assert (login.status.state, login.status.reason) == (InstanceState.SUSPECT, "no answer within 0.05 s")


async def test_a_login_from_elsewhere_is_refused_before_anything_is_connected_to(office: Office) -> None:
    with pytest.raises(InvalidLogin, match="HUB_INSTANCE_NETWORKS"):
        await office.login(url="http://10.1.1.1:4000")
    assert office.probe.pinged == []
    assert await office.stored() == set()


async def test_another_contract_under_a_taken_name_is_refused_and_the_incumbent_is_undisturbed(office: Office) -> None:
    incumbent = await office.login()
    version = office.state.version
    with pytest.raises(NameTaken) as caught:
        await office.login(DIGITS)
    text = str(caught.value)
    for field_name in ("messages", "pixels", "reply", "label", "probabilities"):
        assert field_name in text
    assert caught.value.incumbents == (f"live instance {incumbent.status.entry.id} at {URL}",)
    assert (office.states(), office.state.version) == ({incumbent.status.entry.id: InstanceState.LIVE}, version)


async def test_a_slow_incumbent_keeps_its_name_however_often_somebody_asks_for_it(office: Office) -> None:
    incumbent = await office.login()
    office.probe.hanging.add(incumbent.status.entry.id)
    for _ in range(5):
        with pytest.raises(NameTaken):
            await office.login(DIGITS)
    assert office.states() == {incumbent.status.entry.id: InstanceState.LIVE}


async def test_a_dead_incumbent_loses_its_name_to_the_first_who_asks(office: Office) -> None:
    incumbent = await office.login()
    office.probe.results[incumbent.status.entry.id] = PingRejected("connection refused")
    successor = await office.login(DIGITS)
    assert office.states() == {successor.status.entry.id: InstanceState.LIVE}
    assert await office.stored() == {successor.status.entry.id}


async def test_the_only_holder_of_a_name_may_come_back_with_another_contract(office: Office) -> None:
    first = await office.login()
    again = await office.login(DIGITS, instance=first.status.entry.id)
    assert again.created
    assert office.state.models()[0].fingerprint == DIGITS.fingerprint


async def test_a_directory_that_lost_its_data_does_not_give_a_held_name_away(office: Office) -> None:
    await office.login()
    office.lose_data()
    with pytest.raises(NameTaken):
        await office.login(DIGITS)


async def test_without_the_directory_nobody_logs_in_but_logouts_and_lists_go_on(office: Office) -> None:
    login = await office.login()
    office.directory.down = True
    with pytest.raises(ConnectionLost):
        await office.login()
    assert office.states() == {login.status.entry.id: InstanceState.LIVE}
    office.registration.logout(login.status.entry.id, secret=OWN)
    assert office.states() == {}


async def test_a_logout_that_the_directory_missed_reaches_it_when_it_is_back(office: Office) -> None:
    login = await office.login()
    office.directory.down = True
    async with anyio.create_task_group() as tg:
        tg.start_soon(office.sync.run)
        office.registration.logout(login.status.entry.id, secret=OWN)
        while office.sync.health.ok:
            await anyio.lowlevel.checkpoint()
        office.directory.down = False
        while await office.stored():
            await anyio.lowlevel.checkpoint()
        tg.cancel_scope.cancel()
    assert office.states() == {}


async def test_a_look_at_the_directory_during_a_logout_brings_nobody_back(office: Office) -> None:
    login = await office.login()
    office.directory.slow = anyio.Event()
    async with anyio.create_task_group() as tg:
        tg.start_soon(office.sync.reconcile)
        await anyio.wait_all_tasks_blocked()
        office.registration.logout(login.status.entry.id, secret=OWN)
        tg.start_soon(office.sync.flush)
        await anyio.wait_all_tasks_blocked()
        office.directory.slow.set()
    assert (office.states(), await office.stored()) == ({}, set())


async def test_a_registry_that_starts_believes_pings_and_not_its_memory(office: Office) -> None:
    alive, dead, not_consuming = await office.login(), await office.login(), await office.login()
    office.probe.results[dead.status.entry.id] = PingRejected("connection refused")
    office.probe.results[not_consuming.status.entry.id] = PingOk(consuming=False, reason="no link")
    successor = Office(office.memory, office.probe)
    await office.sync.flush()
    await successor.sync.start()
    assert successor.states() == {
        alive.status.entry.id: InstanceState.LIVE,
        not_consuming.status.entry.id: InstanceState.NOT_CONSUMING,
    }
    await successor.sync.flush()
    assert await office.stored() == {alive.status.entry.id, not_consuming.status.entry.id}
    assert successor.state.contracts.get(MODEL, TEXTS.fingerprint) is not None


async def test_a_model_without_instances_is_known_again_after_a_restart(office: Office) -> None:
    login = await office.login()
    office.registration.logout(login.status.entry.id, secret=OWN)
    await office.sync.flush()
    successor = Office(office.memory, office.probe)
    successor.state.add_contracts(await successor.directory.contracts())
    (model,) = successor.state.models()
    assert (model.name, model.active) == (MODEL, False)


async def test_two_registries_with_one_directory_see_each_others_logins(office: Office) -> None:
    other = Office(office.memory, office.probe)
    login = await office.login()
    await office.sync.flush()
    await other.sync.follow()
    assert other.states() == {login.status.entry.id: InstanceState.LIVE}
    with pytest.raises(NameTaken) as caught:
        await Office(office.memory, office.probe).login(DIGITS)
    assert login.status.entry.id in str(caught.value)


async def test_a_directory_that_lost_its_data_gets_the_living_back(office: Office) -> None:
    alive, silent = await office.login(), await office.login()
    office.probe.results[silent.status.entry.id] = PingOk(consuming=False, reason="it logged out elsewhere")
    office.lose_data()
    await office.sync.reconcile()
    assert await office.stored() == {alive.status.entry.id}


async def test_a_live_instance_whose_name_went_to_another_contract_meanwhile_is_put_out(office: Office) -> None:
    await office.login()
    office.lose_data()
    winner = entry_of(contract=DIGITS)
    assert await office.memory.login(winner, DIGITS) is None
    await office.sync.reconcile()
    assert set(office.states()) == {winner.id}
    assert office.state.models()[0].fingerprint == DIGITS.fingerprint


async def test_a_login_cancelled_at_any_point_leaves_the_registry_usable() -> None:
    for checkpoints in range(12):
        office = Office()
        instance = new_instance_id()
        with anyio.fail_after(TIMEOUT):
            async with anyio.create_task_group() as tg:
                request = LoginRequest(instance=instance, model=MODEL, url=URL, contract=TEXTS)
                tg.start_soon(office.registration.login, request)
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            await office.sync.reconcile()
            await office.sync.flush()
            assert set(office.states()) == await office.stored()
            assert (await office.login(instance=instance)).status.state is InstanceState.LIVE
            assert office.pinger.in_flight == 0


async def test_a_flush_cancelled_at_any_point_forgets_nobody_who_is_still_stored() -> None:
    for checkpoints in range(6):
        office = Office()
        with anyio.fail_after(TIMEOUT):
            logins = [await office.login() for _ in range(3)]
            for login in logins:
                office.registration.logout(login.status.entry.id, secret=OWN)
            async with anyio.create_task_group() as tg:
                tg.start_soon(office.sync.flush)
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            assert await office.stored() <= set(office.state.pending_logouts)
            await office.sync.flush()
            assert await office.stored() == set()


async def test_who_waits_for_news_is_woken_by_it(office: Office) -> None:
    versions: list[int] = []

    async def wait(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        version = office.state.version
        task_status.started()
        await office.state.wait_for_change(version)
        versions.append(office.state.version - version)

    async with anyio.create_task_group() as tg:
        await tg.start(wait)
        await office.login()
    assert versions
    assert versions[0] > 0


async def test_nobody_waits_for_news_of_a_registry_that_closes(office: Office) -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(office.state.wait_for_change, office.state.version)
        await anyio.wait_all_tasks_blocked()
        office.state.close()
    await office.state.wait_for_change(office.state.version)


async def test_a_miss_of_a_newcomer_is_not_one_of_its_three(office: Office) -> None:
    instance = new_instance_id()
    office.probe.results[instance] = PingMissed("it answered 404")
    for _ in range(4):
        await office.login(instance=instance)
    login = await office.login(instance=instance)
    assert (login.status.state, login.status.misses) == (InstanceState.SUSPECT, 0)
