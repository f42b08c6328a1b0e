from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from ipaddress import ip_network

import anyio
import pytest

from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import ConnectionLost
from hub.registry.client.errors import InstanceUnreachable, InvalidLogin, NameTaken
from hub.registry.client.login import LoginRequest
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.registration import AcceptedLogin, RegistrationService
from hub.types import InstanceId, InstanceState, new_instance_id, new_registry_id
from tests.registry.fakes import FlakyDirectory, ScriptedProbe, unused_reader
from tests.registry.helpers import DIGITS, MODEL, TEXTS, TIMEOUT, entry_of

LOOPBACK = InstanceNetworks([ip_network("127.0.0.0/8")])
URL = "http://127.0.0.1:4000"
OWN = "s" * 43
"""The secret of every instance here."""


@dataclass
class LocalRegistry:
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
            descriptors=unused_reader(LOOPBACK),
            networks=LOOPBACK,
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
async def local() -> AsyncGenerator[LocalRegistry]:
    with anyio.fail_after(TIMEOUT):
        yield LocalRegistry()


async def test_a_login_is_pinged_before_it_is_answered_and_is_live_then(local: LocalRegistry) -> None:
    login = await local.login()
    assert (login.created, login.status.state) == (True, InstanceState.LIVE)
    assert [who for _, who in local.probe.pinged] == [login.status.entry.id]
    assert await local.stored() == {login.status.entry.id}


async def test_a_repeated_login_is_the_same_login(local: LocalRegistry) -> None:
    first = await local.login()
    version = local.state.version
    again = await local.login(instance=first.status.entry.id)
    assert (again.created, again.status.entry) == (False, first.status.entry)
    assert local.state.version == version


async def test_an_instance_that_reports_not_consuming_is_listed_so_until_its_ping(local: LocalRegistry) -> None:
    login = await local.login()
    instance = login.status.entry.id
    shown: list[InstanceState] = []

    async def record() -> None:
        await local.state.wait_for_change(local.state.version)
        shown.extend(local.states().values())

    async with anyio.create_task_group() as tg:
        tg.start_soon(record)
        await anyio.wait_all_tasks_blocked()
        again = await local.login(instance=instance, consuming=False)
    assert shown == [InstanceState.NOT_CONSUMING]
    assert (again.created, again.status.state) == (False, InstanceState.LIVE)


async def test_a_report_of_not_consuming_needs_neither_directory_nor_ping(
    local: LocalRegistry,
) -> None:
    instance = (await local.login()).status.entry.id
    local.directory.down = True
    with pytest.raises(ConnectionLost):
        await local.login(instance=instance, consuming=False)
    assert local.states() == {instance: InstanceState.NOT_CONSUMING}
    local.directory.down = False
    local.probe.hanging.add(instance)
    assert (await local.login(instance=instance)).status.state is InstanceState.NOT_CONSUMING


async def test_a_report_of_consuming_needs_a_ping(local: LocalRegistry) -> None:
    instance = new_instance_id()
    local.probe.results[instance] = PingOk(consuming=False, reason="no connection")
    assert (await local.login(instance=instance)).status.state is InstanceState.NOT_CONSUMING
    stranger = new_instance_id()
    local.probe.results[stranger] = PingRejected("connection refused")
    with pytest.raises(InstanceUnreachable):
        await local.login(instance=stranger, consuming=False)
    assert local.states() == {instance: InstanceState.NOT_CONSUMING}


async def test_a_login_from_an_unreachable_address_is_refused_and_leaves_nothing(local: LocalRegistry) -> None:
    instance = new_instance_id()
    local.probe.results[instance] = PingRejected("connection refused")
    with pytest.raises(InstanceUnreachable, match=r"connection refused.*HUB_ADVERTISE_HOST"):
        await local.login(instance=instance)
    assert local.states() == {}
    await local.sync.flush()
    assert await local.stored() == set()


async def test_a_login_whose_ping_is_slow_is_accepted_as_suspect(local: LocalRegistry) -> None:
    instance = new_instance_id()
    local.probe.hanging.add(instance)
    login = await local.login(instance=instance)
    assert (login.status.state, login.status.reason) == (InstanceState.SUSPECT, "no answer within 0.05 s")


async def test_a_login_from_outside_of_the_networks_is_refused_without_a_connection(local: LocalRegistry) -> None:
    with pytest.raises(InvalidLogin, match="HUB_INSTANCE_NETWORKS"):
        await local.login(url="http://10.1.1.1:4000")
    assert local.probe.pinged == []
    assert await local.stored() == set()


async def test_another_contract_under_a_taken_name_is_refused_and_the_incumbent_is_undisturbed(
    local: LocalRegistry,
) -> None:
    incumbent = await local.login()
    version = local.state.version
    with pytest.raises(NameTaken) as caught:
        await local.login(DIGITS)
    text = str(caught.value)
    for field_name in ("messages", "pixels", "reply", "label", "probabilities"):
        assert field_name in text
    assert caught.value.incumbents == (f"live instance {incumbent.status.entry.id} at {URL}",)
    assert (local.states(), local.state.version) == ({incumbent.status.entry.id: InstanceState.LIVE}, version)


async def test_a_slow_incumbent_keeps_its_name_after_many_logins(local: LocalRegistry) -> None:
    incumbent = await local.login()
    local.probe.hanging.add(incumbent.status.entry.id)
    for _ in range(5):
        with pytest.raises(NameTaken):
            await local.login(DIGITS)
    assert local.states() == {incumbent.status.entry.id: InstanceState.LIVE}


async def test_a_dead_incumbent_loses_its_name_to_the_first_login(local: LocalRegistry) -> None:
    incumbent = await local.login()
    local.probe.results[incumbent.status.entry.id] = PingRejected("connection refused")
    successor = await local.login(DIGITS)
    assert local.states() == {successor.status.entry.id: InstanceState.LIVE}
    assert await local.stored() == {successor.status.entry.id}


async def test_the_only_holder_of_a_name_may_come_back_with_another_contract(local: LocalRegistry) -> None:
    first = await local.login()
    again = await local.login(DIGITS, instance=first.status.entry.id)
    assert again.created
    assert local.state.models()[0].fingerprint == DIGITS.fingerprint


async def test_a_directory_that_lost_its_data_does_not_give_a_held_name_away(local: LocalRegistry) -> None:
    await local.login()
    local.lose_data()
    with pytest.raises(NameTaken):
        await local.login(DIGITS)


async def test_without_the_directory_logins_fail_and_logouts_and_lists_work(local: LocalRegistry) -> None:
    login = await local.login()
    local.directory.down = True
    with pytest.raises(ConnectionLost):
        await local.login()
    assert local.states() == {login.status.entry.id: InstanceState.LIVE}
    local.registration.logout(login.status.entry.id, secret=OWN)
    assert local.states() == {}


async def test_a_logout_reaches_a_directory_that_was_away(local: LocalRegistry) -> None:
    login = await local.login()
    local.directory.down = True
    async with anyio.create_task_group() as tg:
        tg.start_soon(local.sync.run)
        local.registration.logout(login.status.entry.id, secret=OWN)
        while local.sync.health.ok:
            await anyio.lowlevel.checkpoint()
        local.directory.down = False
        while await local.stored():
            await anyio.lowlevel.checkpoint()
        tg.cancel_scope.cancel()
    assert local.states() == {}


async def test_reconciling_during_a_logout_does_not_restore_the_instance(local: LocalRegistry) -> None:
    login = await local.login()
    local.directory.slow = anyio.Event()
    async with anyio.create_task_group() as tg:
        tg.start_soon(local.sync.reconcile)
        await anyio.wait_all_tasks_blocked()
        local.registration.logout(login.status.entry.id, secret=OWN)
        tg.start_soon(local.sync.flush)
        await anyio.wait_all_tasks_blocked()
        local.directory.slow.set()
    assert (local.states(), await local.stored()) == ({}, set())


async def test_a_registry_that_starts_pings_the_stored_instances(local: LocalRegistry) -> None:
    alive, dead, not_consuming = await local.login(), await local.login(), await local.login()
    local.probe.results[dead.status.entry.id] = PingRejected("connection refused")
    local.probe.results[not_consuming.status.entry.id] = PingOk(consuming=False, reason="no connection")
    successor = LocalRegistry(local.memory, local.probe)
    await local.sync.flush()
    await successor.sync.start()
    assert successor.states() == {
        alive.status.entry.id: InstanceState.LIVE,
        not_consuming.status.entry.id: InstanceState.NOT_CONSUMING,
    }
    await successor.sync.flush()
    assert await local.stored() == {alive.status.entry.id, not_consuming.status.entry.id}
    assert successor.state.contracts.get(MODEL, TEXTS.fingerprint) is not None


async def test_a_model_without_instances_is_known_again_after_a_restart(local: LocalRegistry) -> None:
    login = await local.login()
    local.registration.logout(login.status.entry.id, secret=OWN)
    await local.sync.flush()
    successor = LocalRegistry(local.memory, local.probe)
    successor.state.add_contracts(await successor.directory.contracts())
    (model,) = successor.state.models()
    assert (model.name, model.active) == (MODEL, False)


async def test_two_registries_with_one_directory_see_each_others_logins(local: LocalRegistry) -> None:
    other = LocalRegistry(local.memory, local.probe)
    login = await local.login()
    await local.sync.flush()
    await other.sync.follow()
    assert other.states() == {login.status.entry.id: InstanceState.LIVE}
    with pytest.raises(NameTaken) as caught:
        await LocalRegistry(local.memory, local.probe).login(DIGITS)
    assert login.status.entry.id in str(caught.value)


async def test_live_instances_are_restored_in_a_directory_that_lost_its_data(local: LocalRegistry) -> None:
    alive, silent = await local.login(), await local.login()
    local.probe.results[silent.status.entry.id] = PingOk(consuming=False, reason="it logged out elsewhere")
    local.lose_data()
    await local.sync.reconcile()
    assert await local.stored() == {alive.status.entry.id}


async def test_a_live_instance_whose_name_another_contract_has_taken_is_removed(local: LocalRegistry) -> None:
    await local.login()
    local.lose_data()
    winner = entry_of(contract=DIGITS)
    assert await local.memory.login(winner, DIGITS) is None
    await local.sync.reconcile()
    assert set(local.states()) == {winner.id}
    assert local.state.models()[0].fingerprint == DIGITS.fingerprint


async def test_a_login_cancelled_at_any_point_leaves_the_registry_usable() -> None:
    for checkpoints in range(12):
        local = LocalRegistry()
        instance = new_instance_id()
        with anyio.fail_after(TIMEOUT):
            async with anyio.create_task_group() as tg:
                request = LoginRequest(instance=instance, model=MODEL, url=URL, contract=TEXTS)
                tg.start_soon(local.registration.login, request)
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            await local.sync.reconcile()
            await local.sync.flush()
            assert set(local.states()) == await local.stored()
            assert (await local.login(instance=instance)).status.state is InstanceState.LIVE
            assert local.pinger.in_flight == 0


async def test_a_flush_cancelled_at_any_point_keeps_the_pending_logouts() -> None:
    for checkpoints in range(6):
        local = LocalRegistry()
        with anyio.fail_after(TIMEOUT):
            logins = [await local.login() for _ in range(3)]
            for login in logins:
                local.registration.logout(login.status.entry.id, secret=OWN)
            async with anyio.create_task_group() as tg:
                tg.start_soon(local.sync.flush)
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            assert await local.stored() <= set(local.state.pending_logouts)
            await local.sync.flush()
            assert await local.stored() == set()


async def test_a_waiter_is_woken_by_a_change(local: LocalRegistry) -> None:
    versions: list[int] = []

    async def wait(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        version = local.state.version
        task_status.started()
        await local.state.wait_for_change(version)
        versions.append(local.state.version - version)

    async with anyio.create_task_group() as tg:
        await tg.start(wait)
        await local.login()
    assert versions
    assert versions[0] > 0


async def test_closing_ends_all_waits_for_a_change(local: LocalRegistry) -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(local.state.wait_for_change, local.state.version)
        await anyio.wait_all_tasks_blocked()
        local.state.close()
    await local.state.wait_for_change(local.state.version)


async def test_a_miss_at_login_is_not_one_of_the_three(local: LocalRegistry) -> None:
    instance = new_instance_id()
    local.probe.results[instance] = PingMissed("it answered 404")
    for _ in range(4):
        await local.login(instance=instance)
    login = await local.login(instance=instance)
    assert (login.status.state, login.status.misses) == (InstanceState.SUSPECT, 0)
