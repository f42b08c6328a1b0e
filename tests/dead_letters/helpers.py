"""What tests of dead letters need: letters as instances and brokers leave them, and a look at where things are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.dead_letters import DeadLetter, Replayed, Replayer, read_letters
from hub.ports.broker import Broker, Delivery, Publication
from hub.ports.result_store import Missing, ResultStore
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import Fingerprint, InstanceId, ModelName, TaskState, dead_letter_queue, new_task_id

TIMEOUT: Final = 20.0
"""Seconds that any one wait of these tests may take."""

ECHO: Final = ModelName("Echo")
INSTANCE: Final = InstanceId("0198c0de-0000-7000-8000-00000000000a")
BORN: Final = 1_700_000_000.0
DIED: Final = 1_700_000_060
NOW: Final = 1_700_000_600.0
REASON: Final = "the task was written for contract ffffffffffff, but the instance has 000000000000"


def new_task(body: bytes = b"", *, model: ModelName = ECHO, deadline: float | None = None) -> Task:
    return Task(
        id=new_task_id(),
        model=model,
        body=body,
        fingerprint=Fingerprint("f" * 64),
        created_at=BORN,
        deadline=deadline,
    )


def hub_headers(code: str = "wrong_contract", *, model: ModelName = ECHO) -> dict[str, str | int]:
    """What an instance writes on a message that it gives up."""
    return {
        "hub-code": code,
        "hub-reason": REASON,
        "hub-attempt": 2,
        "hub-instance": INSTANCE,
        "hub-died-at": DIED,
        "hub-model": model,
    }


def delivery(body: bytes, headers: dict[str, object], *, message_id: str = "") -> Delivery:
    return Delivery(tag=1, body=body, message_id=message_id, redelivered=False, deliveries=0, headers=headers)


def death_of(task: Task) -> Outcome:
    failure = Failure(code="wrong_contract", message=REASON)
    return Outcome(task_id=task.id, state=TaskState.DEAD, failure=failure, attempt=2, finished_at=float(DIED))


async def bury(
    broker: Broker, store: ResultStore, *tasks: Task, code: str = "wrong_contract", model: ModelName = ECHO
) -> None:
    """What is left of tasks that an instance has given up: a dead record, and a dead letter."""
    await broker.declare(model)
    await store.create(tasks)
    assert all(await store.finish([death_of(task) for task in tasks]))
    await leave(broker, *(task.encode() for task in tasks), headers=hub_headers(code, model=model), model=model)


async def leave(
    broker: Broker,
    *bodies: bytes,
    headers: dict[str, str | int],
    model: ModelName = ECHO,
    message_id: str = "",
) -> None:
    """Puts messages among the dead letters of a model."""
    await broker.declare(model)
    for body in bodies:  # one after the other, so that they stand in this order
        letter = Publication(
            queue=dead_letter_queue(model), body=body, message_id=message_id, timestamp=BORN, headers=headers
        )
        assert await broker.publish([letter]) == [None]


async def dead_tasks(broker: Broker, model: ModelName = ECHO) -> list[DeadLetter]:
    async with broker.dead_letters(model, limit=100) as held:
        return read_letters(held.deliveries, model)


async def queued_tasks(broker: Broker, model: ModelName = ECHO) -> list[Task]:
    """The tasks on the queue of a model; they stay there."""
    depth = (await broker.depths([model]))[model]
    assert depth is not None
    found: list[Task] = []
    if depth.ready:
        async with broker.consume(model, prefetch=depth.ready) as consumer:
            while len(found) < depth.ready:
                found += [Task.decode(each.body) for each in await consumer.receive()]
    return found


async def record_of(store: ResultStore, task: Task) -> TaskRecord:
    (record,) = await store.fetch([task.id])
    assert not isinstance(record, Missing)
    return record


async def replay_all(
    broker: Broker,
    store: ResultStore,
    *,
    keep_deadline: bool = False,
    again: bool = False,
    told: list[Replayed] | None = None,
) -> Sequence[Replayed]:
    told = [] if told is None else told
    async with broker.dead_letters(ECHO, limit=1000) as held:
        replayer = Replayer(
            consumer=held.consumer,
            broker=broker,
            store=store,
            tell=told.append,
            keep_deadline=keep_deadline,
            again=again,
            clock=lambda: NOW,
        )
        await replayer.replay(read_letters(held.deliveries, ECHO))
    return told
