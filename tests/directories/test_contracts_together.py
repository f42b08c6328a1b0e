"""Contracts that hold a name at the same time, whichever adapter keeps them."""

from __future__ import annotations

from dataclasses import replace

from anyio import create_task_group, fail_after

from hub.directories.memory import MemoryDirectory
from hub.ports.directory import Directory, InstanceEntry
from hub.types import Fingerprint
from tests.directories.conftest import Opener
from tests.directories.people import ANOTHER, ONE, THIRD, TIMEOUT, contracts_of, instance, instances_of, new_model


async def test_a_contract_joins_those_that_it_may_be_up_with(directory: Directory) -> None:
    model = new_model()
    old, new = instance(model, logged_in_at=1.0), instance(model, ANOTHER, logged_in_at=2.0)
    with fail_after(TIMEOUT):
        assert await directory.login(old, ONE) is None
        assert await directory.login(new, ANOTHER) == ONE.fingerprint
        assert await directory.login(new, ANOTHER, compatible_with=[ONE.fingerprint]) is None
        assert await instances_of(directory, model) == [old, new]
        assert [known.contract for known in await contracts_of(directory, model)] == [ONE, ANOTHER]


async def test_it_may_be_up_with_all_of_them_or_with_none(directory: Directory) -> None:
    model = new_model()
    with fail_after(TIMEOUT):
        await directory.login(instance(model), ONE)
        await directory.login(instance(model, ANOTHER), ANOTHER, compatible_with=[ONE.fingerprint])
        newest = instance(model, THIRD)
        assert await directory.login(newest, THIRD, compatible_with=[ONE.fingerprint]) == ANOTHER.fingerprint
        assert await directory.login(newest, THIRD, compatible_with=[ANOTHER.fingerprint]) == ONE.fingerprint
        assert await directory.login(newest, THIRD, compatible_with=[ONE.fingerprint, ANOTHER.fingerprint]) is None


async def test_a_name_is_held_by_each_contract_until_its_last_instance_goes(directory: Directory) -> None:
    model = new_model()
    old, replica, new = instance(model), instance(model), instance(model, ANOTHER)
    with fail_after(TIMEOUT):
        for entry in (old, replica, replica):
            await directory.login(entry, ONE)
        await directory.login(new, ANOTHER, compatible_with=[ONE.fingerprint])
        for gone in (old, old):
            await directory.logout(gone.id)
            assert (
                await directory.login(instance(model, THIRD), THIRD, compatible_with=[ANOTHER.fingerprint])
                == ONE.fingerprint
            )
        await directory.logout(replica.id)
        last = instance(model, THIRD)
        assert await directory.login(last, THIRD, compatible_with=[ANOTHER.fingerprint]) is None, (
            "nobody has the old one now"
        )
        await directory.logout(new.id)
        assert await directory.login(instance(model), ONE) == THIRD.fingerprint
        await directory.logout(last.id)
        assert await directory.login(instance(model), ONE) is None, "the name is free"


async def test_an_instance_may_go_over_to_another_contract_among_others(directory: Directory) -> None:
    model = new_model()
    first, second = instance(model), instance(model)
    with fail_after(TIMEOUT):
        await directory.login(first, ONE)
        await directory.login(second, ONE)
        changed = replace(first, fingerprint=ANOTHER.fingerprint)
        assert await directory.login(changed, ANOTHER, compatible_with=[ONE.fingerprint]) is None
        await directory.logout(second.id)
        assert await directory.login(instance(model, THIRD), THIRD, compatible_with=[ANOTHER.fingerprint]) is None


async def test_of_two_newcomers_that_do_not_tolerate_each_other_exactly_one_joins(
    opener: Opener, directory: Directory
) -> None:
    with fail_after(TIMEOUT):
        async with opener() as opened:
            other = directory if isinstance(directory, MemoryDirectory) else opened
            for _ in range(20):
                model = new_model()
                await directory.login(instance(model), ONE)
                answers: list[Fingerprint | None] = []

                async def login(
                    to: Directory, entry: InstanceEntry, answers: list[Fingerprint | None] = answers
                ) -> None:
                    contract = ANOTHER if entry.fingerprint == ANOTHER.fingerprint else THIRD
                    answers.append(await to.login(entry, contract, compatible_with=[ONE.fingerprint]))

                async with create_task_group() as tg:
                    tg.start_soon(login, directory, instance(model, ANOTHER))
                    tg.start_soon(login, other, instance(model, THIRD))
                assert answers.count(None) == 1
                assert len(await instances_of(directory, model)) == 2
