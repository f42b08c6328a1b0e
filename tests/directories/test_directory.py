"""The registry's database, whichever adapter keeps it."""

from __future__ import annotations

from dataclasses import replace

from anyio import create_task_group, fail_after, move_on_after
from hypothesis import HealthCheck, given, settings, strategies as st

from hub.directories.memory import MemoryDirectory
from hub.ports.directory import Directory, InstanceEntry, ModelLimits, RegisteredContract
from hub.types import Fingerprint, new_instance_id
from tests.directories.conftest import Opener
from tests.directories.helpers import ANOTHER, ONE, TIMEOUT, contracts_of, instance, instances_of, new_model
from tests.stores.conftest import Case
from tests.stores.helpers import CancelledAt
from tests.support.examples import examples


async def test_an_instance_is_listed_from_login_to_logout(directory: Directory) -> None:
    model = new_model()
    first, second = instance(model, logged_in_at=1.7e9 + 1), instance(model, logged_in_at=1.7e9)
    with fail_after(TIMEOUT):
        assert await directory.login(first, ONE) is None
        assert await directory.login(second, ONE) is None
        assert await instances_of(directory, model) == [second, first]
        assert await directory.logout(second.id) is True
        assert await instances_of(directory, model) == [first]
        assert await directory.logout(second.id) is False
        assert await directory.logout(new_instance_id()) is False


async def test_a_second_login_refreshes_the_entry(directory: Directory) -> None:
    model = new_model()
    first = instance(model)
    moved = replace(first, url="http://10.0.0.8:1", logged_in_at=first.logged_in_at + 60)
    content = replace(moved, example="", comments=(), limits=ModelLimits())
    with fail_after(TIMEOUT):
        for entry in (first, first, moved, content):
            assert await directory.login(entry, ONE) is None
            assert await instances_of(directory, model) == [entry]
        assert await directory.logout(first.id) is True
        assert await directory.login(instance(model, ANOTHER), ANOTHER) is None, "the name is free"


async def test_a_taken_name_is_refused_with_its_holder(directory: Directory) -> None:
    model = new_model()
    incumbents = [instance(model), instance(model)]
    intruder = instance(model, ANOTHER)
    with fail_after(TIMEOUT):
        for incumbent in incumbents:
            await directory.login(incumbent, ONE)
        before = await instances_of(directory, model)
        assert await directory.login(intruder, ANOTHER) == ONE.fingerprint
        assert await instances_of(directory, model) == before
        assert [known.contract for known in await contracts_of(directory, model)] == [ONE]
        assert await directory.logout(intruder.id) is False


async def test_the_last_one_to_go_frees_the_name(directory: Directory) -> None:
    model = new_model()
    first, second = instance(model), instance(model)
    with fail_after(TIMEOUT):
        await directory.login(first, ONE)
        await directory.login(second, ONE)
        await directory.logout(first.id)
        await directory.logout(first.id)
        assert await directory.login(instance(model, ANOTHER), ANOTHER) == ONE.fingerprint
        await directory.logout(second.id)
        assert await directory.login(instance(model, ANOTHER), ANOTHER) is None


async def test_an_instance_alone_may_change_its_contract_and_its_model(directory: Directory) -> None:
    model, other = new_model(), new_model()
    first = instance(model)
    with fail_after(TIMEOUT):
        await directory.login(first, ONE)
        changed = replace(first, fingerprint=ANOTHER.fingerprint)
        assert await directory.login(changed, ANOTHER) is None
        assert await directory.login(instance(model), ONE) == ANOTHER.fingerprint
        renamed = replace(changed, model=other)
        assert await directory.login(renamed, ANOTHER) is None
        assert await instances_of(directory, model, other) == [renamed]
        assert await directory.login(instance(model), ONE) is None, "its former name is free"


async def test_contracts_are_kept_with_the_instance_that_registered_them_first(
    opener: Opener, directory: Directory
) -> None:
    model, later = new_model(), new_model()
    first = instance(model, logged_in_at=1000.0)
    with fail_after(TIMEOUT):
        await directory.login(instance(later, ANOTHER, logged_in_at=3000.0), ANOTHER)
        await directory.login(first, ONE)
        await directory.login(instance(model, logged_in_at=2000.0), ONE)
        for entry in await instances_of(directory, model, later):
            await directory.logout(entry.id)
        second = instance(model, ANOTHER, logged_in_at=4000.0)
        await directory.login(second, ANOTHER)
        known = await contracts_of(directory, model, later)
        assert [(one.model, one.contract, one.first_seen_at) for one in known] == [
            (model, ONE, 1000.0),
            (later, ANOTHER, 3000.0),
            (model, ANOTHER, 4000.0),
        ]
        assert known[0] == RegisteredContract(model=model, contract=ONE, first_seen_at=1000.0, first_seen_from=first.id)
        assert await contracts_of(directory, model, later) == known
        if not isinstance(directory, MemoryDirectory):
            async with opener() as restarted:
                assert await contracts_of(restarted, model, later) == known
                assert await instances_of(restarted, model) == [second]


async def test_of_two_contracts_that_race_for_a_name_exactly_one_gets_it(opener: Opener, directory: Directory) -> None:
    with fail_after(TIMEOUT):
        async with opener() as opened:
            other = directory if isinstance(directory, MemoryDirectory) else opened
            for _ in range(20):
                model = new_model()
                answers: list[tuple[Fingerprint, Fingerprint | None]] = []

                async def login(
                    to: Directory, entry: InstanceEntry, answers: list[tuple[Fingerprint, Fingerprint | None]] = answers
                ) -> None:
                    contract = ONE if entry.fingerprint == ONE.fingerprint else ANOTHER
                    answers.append((entry.fingerprint, await to.login(entry, contract)))

                async with create_task_group() as tg:
                    for _ in range(3):
                        tg.start_soon(login, directory, instance(model, ONE))
                        tg.start_soon(login, other, instance(model, ANOTHER))
                (winner,) = {mine for mine, holder in answers if holder is None}
                assert {holder for mine, holder in answers if mine != winner} == {winner}
                assert {entry.fingerprint for entry in await instances_of(directory, model)} == {winner}


async def test_a_login_cancelled_anywhere_can_be_repeated(directory: Directory) -> None:
    with fail_after(TIMEOUT):
        nth, more = 0, True
        while more:
            nth += 1
            entry = instance(new_model())
            with move_on_after(5) as scope:
                call = CancelledAt(directory.login(entry, ONE), nth, scope)
                await call
            more = call.waits >= nth
            assert await directory.login(entry, ONE) is None
            assert await instances_of(directory, entry.model) == [entry]
            assert await directory.logout(entry.id) is True
            assert await directory.login(instance(entry.model, ANOTHER), ANOTHER) is None, "it was counted once"


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 1), st.booleans()), max_size=12)


@given(script=steps)
@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_of_calls_is_answered_as_in_memory(
    case: Case, directory: Directory, script: list[tuple[bool, int, int, bool]]
) -> None:
    models = [new_model(), new_model()]
    ids = [new_instance_id() for _ in range(4)]
    with fail_after(TIMEOUT):
        async with MemoryDirectory() as oracle:
            for step, (is_login, who, model, own) in enumerate(script):
                contract = ONE if own else ANOTHER
                entry = replace(instance(models[model], contract, logged_in_at=float(step)), id=ids[who])
                if is_login:
                    assert await directory.login(entry, contract) == await oracle.login(entry, contract), case.scheme
                else:
                    assert await directory.logout(entry.id) == await oracle.logout(entry.id)
                assert await instances_of(directory, *models) == await oracle.instances()
            assert await contracts_of(directory, *models) == await oracle.contracts()
            for one in ids:
                await directory.logout(one)
