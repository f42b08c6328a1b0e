"""Calls over several attempts of the caller, and over faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import anyio
import pytest

import hub
from hub.errors import ConnectionLost
from hub.ports.result_store import Adoption
from hub.task import Task
from hub.types import ModelName, TaskState, child_task_id, wall_clock
from tests.model.calls.helpers import CONTRACT, TIMEOUT, System, ask, echo, model, until

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_second_attempt_finds_what_the_first_one_has_called(system: System) -> None:
    runs = Counter[str]()
    first_attempt_is_at = Counter[int]()

    async def counts(text: str) -> str:
        runs[text] += 1
        if text == "slow":
            await anyio.sleep(0.5)
        return f"{text} {runs[text]}"

    below = model("Below", counts)

    async def process(_: str) -> str:
        task = hub.current_task()
        done = (await task.call(below, ask("done"))).reply
        slow = await task.submit(below, ask("slow"))
        first_attempt_is_at[task.attempt] += 1
        if task.attempt == 1:
            await anyio.sleep_forever()
        return f"{done}, {(await slow.result()).reply}"

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(below):
            async with system.serving(above):  # it is drained at once, and its task goes back
                task = await system.send(above)
                await until(lambda: first_attempt_is_at[1] == 1)
            async with system.serving(above):
                assert await system.reply(task) == "done 1, slow 1"
    assert runs == {"done": 1, "slow": 1}


async def test_a_second_attempt_calls_anew_what_has_failed(system: System) -> None:
    runs = Counter[str]()

    async def fails_once(text: str) -> str:
        runs[text] += 1
        if runs[text] == 1 and text == "bad":
            raise ValueError(text)
        return f"{text} {runs[text]}"

    below = model("Below", fails_once)

    async def process(_: str) -> str:
        task = hub.current_task()
        return f"{(await task.call(below, ask('good'))).reply}, {(await task.call(below, ask('bad'))).reply}"

    above = model("Above", process, retry=hub.Retry(on=(hub.CallFailed,), first=0.05, jitter=0))
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above)) == "good 1, bad 2"


async def test_a_call_goes_on_when_an_earlier_attempt_died_before_its_message_was_confirmed(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.stores.memory.records.PENDING_TTL", 0.0)
    monkeypatch.setattr("hub.stores.redis.commands._PENDING_MS", 0)
    monkeypatch.setattr("hub.model.worker.calls.child_tasks.PENDING_PAUSE", 0.1)
    below = model("Below", echo)
    body = ask("half-way").SerializeToString(deterministic=True)

    async def process(text: str) -> str:
        return (await hub.current_task().call(below, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        task = await system.send(above, "half-way")
        name = ModelName(below.name)
        left = Task(
            id=child_task_id(task.id, name, sha256(body).hexdigest(), 1),
            model=name,
            body=body,
            fingerprint=CONTRACT.fingerprint,
            created_at=wall_clock() - 1,
            idempotency_key="1.0",
        )
        await system.store.create([left])
        async with system.serving(below, above):
            assert await system.reply(task) == "<half-way>"
        assert (await system.record(left.id)).state is TaskState.SUCCEEDED


async def test_a_call_waits_for_a_store_that_is_away(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    below = model("Below", echo)
    failures = iter([ConnectionLost("store", "away")] * 3)
    adopt = system.store.adopt

    async def away_at_first(children: Sequence[Task]) -> Sequence[Adoption]:
        if error := next(failures, None):
            raise error
        return await adopt(children)

    monkeypatch.setattr(system.store, "adopt", away_at_first)

    async def process(text: str) -> str:
        return (await hub.current_task().call(below, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above, "x")) == "<x>"
    assert next(failures, None) is None
