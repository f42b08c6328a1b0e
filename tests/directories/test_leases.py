"""How registries share the work: leases with fencing tokens, what they report, and who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from typing import Final
from uuid import uuid4

import pytest
from anyio import current_time, fail_after, sleep
from hypothesis import HealthCheck, given, settings, strategies as st

from hub.directories import open_directory
from hub.directories.memory import MemoryDirectory
from hub.histogram import HistogramSnapshot
from hub.ports.directory import HISTORY_LENGTH, Directory, HistoryEvent, InstanceEntry, InstanceHealth, StatusUpdate
from hub.stats import InstanceStats
from hub.types import InstanceId, InstanceState, ModelName, ReadinessSource, RegistryId, TaskState, new_instance_id
from tests.directories.helpers import ONE, TIMEOUT, instance, new_model
from tests.stores.conftest import Case, on_redis
from tests.support.examples import examples
from tests.support.redis import Redis

LONG: Final = 600.0
"""Seconds: longer than any test."""

MODEL: Final = ModelName("Shared")


@pytest.fixture
async def alone(case: Case, request: pytest.FixtureRequest) -> AsyncIterator[Directory]:
    """An empty directory of its own: shares depend on all instances and registries in it."""
    url = "memory://"
    if case.scheme != "memory":
        private: Redis = request.getfixturevalue("private_redis")
        url = on_redis(private.url, case.scheme)
    async with open_directory(url) as directory:
        yield directory


def registry() -> RegistryId:
    return RegistryId(f"registry-{uuid4()}")


async def members(directory: Directory, count: int) -> set[InstanceId]:
    entries = [instance(MODEL) for _ in range(count)]
    for entry in entries:
        await directory.login(entry, ONE)
    return {entry.id for entry in entries}


async def held(
    directory: Directory, who: RegistryId, *, claim: Collection[InstanceId] = (), ttl: float = LONG
) -> set[InstanceId]:
    if claim:
        await directory.claim(who, claim, ttl=ttl)
    return set((await directory.lease(who, ttl=ttl)).tokens)


def event(number: int, *, of: InstanceId | None = None) -> HistoryEvent:
    return HistoryEvent(
        at=float(number),
        instance=of or InstanceId("unknown"),
        model=MODEL,
        url="http://10.0.0.7:1",
        before=None,
        after=InstanceState.LIVE,
        reason=f"ü {number}",
    )


HEALTH: Final = InstanceHealth(
    state=InstanceState.NOT_CONSUMING,
    reason="kein Kanal: ü",
    misses=2,
    answered_at=1.25,
    not_consuming_source=ReadinessSource.BROKER,
    stats=InstanceStats(
        in_flight=3, outcomes={TaskState.DEAD: 1}, run_time=HistogramSnapshot(bounds=(0.5,), counts=(1, 2), sum=2.25)
    ),
)


async def test_the_only_registry_has_all_instances_and_keeps_its_tokens(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        all_instances, one = await members(alone, 5), registry()
        first = await alone.lease(one, ttl=LONG)
        assert (set(first.tokens), first.registries) == (all_instances, 1)
        assert await alone.lease(one, ttl=LONG) == first


async def test_each_instance_has_one_registry_and_the_work_evens_out(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        all_instances, registries = await members(alone, 10), [registry() for _ in range(3)]
        shares: dict[RegistryId, set[InstanceId]] = {}
        for _ in range(3):
            for one in registries:
                shares[one] = await held(alone, one)
        assert sorted(map(len, shares.values())) in ([3, 3, 4], [2, 4, 4])
        assert set(chain(*shares.values())) == all_instances
        assert sum(map(len, shares.values())) == 10
        joined = await members(alone, 2)
        for one in registries:
            shares[one] = await held(alone, one)
        assert set(chain(*shares.values())) == all_instances | joined
        assert all(len(share) <= ceil(12 / 3) for share in shares.values())


async def test_a_change_of_owner_raises_the_token_and_only_the_newest_one_may_write(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        (who,) = await members(alone, 1)
        one, two = registry(), registry()
        old = (await alone.lease(one, ttl=LONG)).tokens[who]
        assert await alone.report([StatusUpdate(instance=who, token=old, health=HEALTH)]) == [True]
        new = (await alone.claim(two, [who], ttl=LONG))[who]
        assert new > old
        assert await alone.claim(two, [who], ttl=LONG) == {who: new}, "it has it already"
        assert await held(alone, two) == {who}
        late = InstanceHealth(state=InstanceState.SUSPECT, reason="it was frozen")
        assert await alone.report([StatusUpdate(instance=who, token=old, health=late, events=[event(1)])]) == [False]
        assert await alone.report([StatusUpdate(instance=who, token=old, health=None)]) == [False]
        (shared,) = (await alone.changes_since(0)).instances
        assert (shared.token, shared.health) == (new, HEALTH)
        assert await alone.history(5) == []
        assert await held(alone, one) == set()
        assert await alone.report([StatusUpdate(instance=who, token=new, health=late)]) == [True]
        (shared,) = (await alone.changes_since(0)).instances
        assert shared.health == late


async def test_a_registry_that_does_not_renew_loses_its_leases_to_the_others(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        all_instances = await members(alone, 4)
        dead, living = registry(), registry()
        assert await held(alone, dead, ttl=1.0) == all_instances
        assert len(await held(alone, living)) == 2
        began = current_time()
        while await held(alone, living) != all_instances:
            await sleep(0.01)
        assert current_time() - began < TIMEOUT / 2
        assert (await alone.lease(living, ttl=LONG)).registries == 1


async def test_a_registry_that_stops_releases_its_leases_at_once(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        all_instances = await members(alone, 4)
        stopping, living = registry(), registry()
        assert await held(alone, stopping) == all_instances
        await alone.release(stopping)
        assert await held(alone, living) == all_instances


async def test_a_standby_registry_releases_leases_only_when_another_one_is_alive(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        all_instances = await members(alone, 4)
        doubtful, other = registry(), registry()
        before = await alone.lease(doubtful, ttl=LONG)
        assert await alone.lease(doubtful, ttl=LONG, standby=True) == before, "it is the only one"
        assert len(await held(alone, other)) == 2
        back = await alone.lease(doubtful, ttl=LONG, standby=True)
        assert (dict(back.tokens), back.registries) == ({}, 1)
        assert await alone.report(
            [StatusUpdate(instance=who, token=token, health=HEALTH) for who, token in before.tokens.items()]
        ) == [False] * len(all_instances)
        assert await held(alone, other) == all_instances
        assert len(await held(alone, doubtful)) == 2


async def test_a_claim_of_an_unknown_instance_does_nothing(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        assert await alone.claim(registry(), [new_instance_id()], ttl=LONG) == {}


async def test_a_claim_makes_a_registry_alive_and_takes_no_more_than_it_names(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        first, second, third = sorted(await members(alone, 3))
        one, two = registry(), registry()
        assert await held(alone, one) == {first, second, third}
        assert set(await alone.claim(two, [second], ttl=LONG)) == {second}
        assert (await alone.lease(one, ttl=LONG)).registries == 2
        assert await held(alone, one) == {first, third}


async def test_a_reader_gets_the_changes_of_others_and_all_removals(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        own, other, gone = sorted(await members(alone, 3))
        one, two = registry(), registry()
        tokens = {**await alone.claim(one, [own, gone], ttl=LONG), **await alone.claim(two, [other], ttl=LONG)}
        assert set(await alone.instance_ids()) == {own, other, gone}
        before = (await alone.changes_since(0)).revision
        await alone.report([StatusUpdate(instance=who, token=tokens[who], health=HEALTH) for who in (own, other)])
        await alone.logout(gone)
        changes = await alone.changes_since(before, reader=one)
        assert [stored.entry.id for stored in changes.instances] == [other]
        assert set(changes.removed) == {gone}
        assert {stored.entry.id for stored in (await alone.changes_since(before)).instances} == {own, other}
        assert set(await alone.instance_ids()) == {own, other}


async def test_removal_by_report_frees_the_name_and_is_a_change(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        (who,) = await members(alone, 1)
        token = (await alone.lease(registry(), ttl=LONG)).tokens[who]
        before = await alone.changes_since(0)
        removal = StatusUpdate(instance=who, token=token, health=None, events=[event(1, of=who)])
        assert await alone.report([removal]) == [True]
        assert await alone.report([removal]) == [False], "once"
        assert await alone.instances() == []
        changes = await alone.changes_since(before.revision)
        assert (changes.complete, changes.instances, set(changes.removed)) == (False, [], {who})
        assert changes.removed[who] > token
        assert await alone.history(5) == [event(1, of=who)]


async def test_changes_since_a_revision_are_returned(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        one, other = await members(alone, 2)
        tokens = (await alone.lease(registry(), ttl=LONG)).tokens
        first = await alone.changes_since(0)
        assert first.complete
        assert {shared.entry.id: shared.token for shared in first.instances} == tokens
        assert {shared.health for shared in first.instances} == {None}
        nothing = await alone.changes_since(first.revision)
        assert (nothing.complete, nothing.instances, nothing.removed) == (False, [], {})
        await alone.report([StatusUpdate(instance=one, token=tokens[one], health=HEALTH)])
        await alone.logout(other, event(2, of=other))
        second = await alone.changes_since(first.revision)
        assert [(shared.entry.id, shared.health) for shared in second.instances] == [(one, HEALTH)]
        assert set(second.removed) == {other}
        assert (await alone.changes_since(second.revision + 1)).complete, (
            "a revision that it does not know is one that it lost"
        )
        assert await alone.history(5) == [event(2, of=other)]
        await alone.logout(other, event(3, of=other))
        assert len(await alone.history(5)) == 1, "who is not there does not leave"


async def test_the_history_is_newest_first_and_bounded(alone: Directory) -> None:
    with fail_after(TIMEOUT):
        (who,) = await members(alone, 1)
        token = (await alone.lease(registry(), ttl=LONG)).tokens[who]
        events = [event(number) for number in range(HISTORY_LENGTH + 5)]
        for start in range(0, len(events), 200):
            report = StatusUpdate(instance=who, token=token, health=HEALTH, events=events[start : start + 200])
            assert await alone.report([report]) == [True]
        assert await alone.history(3) == events[:-4:-1]
        assert await alone.history(10 * HISTORY_LENGTH) == events[:4:-1]
        assert await alone.history(0) == []


Step = tuple[str, int, int, bool]

steps = st.lists(
    st.tuples(
        st.sampled_from(["login", "logout", "lease", "lease", "claim", "release", "report", "report"]),
        st.integers(0, 2),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=25,
)


@dataclass
class Actors:
    """Three registries and five instances, and what a directory made of them."""

    directory: Directory
    registries: list[RegistryId]
    entries: list[InstanceEntry]
    tokens: dict[tuple[int, InstanceId], int] = field(default_factory=dict[tuple[int, InstanceId], int])

    async def carry_out(self, step: Step, number: int) -> object:
        """Does one step and returns what can be compared with another directory: all but tokens and revisions."""
        kind, registry, who, flag = step
        entry = self.entries[who]
        match kind:
            case "login":
                return await self.directory.login(entry, ONE)
            case "logout":
                return await self.directory.logout(entry.id, event(number))
            case "release":
                await self.directory.release(self.registries[registry])
                return None
            case "report":
                token = self.tokens.get((registry, entry.id), 0)
                health = None if flag else HEALTH
                report = StatusUpdate(instance=entry.id, token=token, health=health, events=[event(number)])
                return list(await self.directory.report([report]))
            case "claim":
                return self.leased(
                    registry, await self.directory.claim(self.registries[registry], [entry.id], ttl=LONG)
                )
            case _:
                leases = await self.directory.lease(self.registries[registry], ttl=LONG, standby=flag)
                return self.leased(registry, leases.tokens), leases.registries

    def leased(self, registry: int, tokens: Mapping[InstanceId, int]) -> object:
        for who, token in tokens.items():
            assert token >= max((value for (_, one), value in self.tokens.items() if one == who), default=0)
            self.tokens[registry, who] = token
        return sorted(tokens)

    async def shown(self) -> object:
        changes = await self.directory.changes_since(0)
        shared = sorted((one.entry.id, one.token > 0, one.health is None) for one in changes.instances)
        return shared, list(await self.directory.history(50))


@given(script=steps)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_of_calls_shares_the_work_as_in_memory(
    case: Case, alone: Directory, request: pytest.FixtureRequest, script: list[Step]
) -> None:
    if case.scheme != "memory":
        server: Redis = request.getfixturevalue("private_redis")
        server.ctl("FLUSHALL")
    entries = [instance(new_model()) for _ in range(5)]
    registries = sorted(registry() for _ in range(3))
    with fail_after(TIMEOUT):
        async with MemoryDirectory() as oracle, MemoryDirectory() as empty:
            under_test = alone if case.scheme != "memory" else empty
            ours, theirs = (Actors(directory, registries, entries) for directory in (under_test, oracle))
            for number, step in enumerate(script):
                assert await ours.carry_out(step, number) == await theirs.carry_out(step, number), step
                assert await ours.shown() == await theirs.shown()
