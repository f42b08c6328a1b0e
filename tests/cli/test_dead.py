"""`hub dead` as a process of its own, with a real RabbitMQ and a real Redis."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest
from anyio.abc import Process
from anyio.lowlevel import checkpoint

from examples.model_a.v1.model_a_pb2 import ModelARequest
from hub.brokers import BrokerOptions, open_broker
from hub.cli.app import main
from hub.directories.memory import MemoryDirectory
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import ResultStore
from hub.stores import open_store
from hub.task import Task
from hub.types import ModelName, TaskState, new_task_id
from tests.brokers.helpers import RabbitMQAdapter, new_queue
from tests.cli.results import CommandResult
from tests.dead_letters.helpers import (
    BORN,
    REASON,
    TIMEOUT,
    bury,
    dead_tasks,
    hub_headers,
    leave,
    queued_tasks,
    record_of,
)
from tests.registry.fixtures import served_registry
from tests.registry.helpers import TEXTS, entry_of

HUB = Path(sys.executable).with_name("hub")
UNREACHABLE = "http://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class DeadLetterCommand:
    """A model with dead letters on real servers, and the command line beside it."""

    model: ModelName
    broker: Broker
    store: ResultStore
    environment: dict[str, str]
    folder: Path

    def task(self, text: str = "hello", *, deadline: float | None = None) -> Task:
        body = ModelARequest(messages=text).SerializeToString()
        return Task(
            id=new_task_id(),
            model=self.model,
            body=body,
            fingerprint=TEXTS.fingerprint,
            created_at=BORN,
            deadline=deadline,
        )

    async def bury(self, *tasks: Task, code: str = "wrong_contract") -> None:
        await bury(self.broker, self.store, *tasks, code=code, model=self.model)

    async def dead(self) -> list[str]:
        return [letter.id for letter in await dead_tasks(self.broker, self.model)]

    async def __call__(self, *arguments: str, **variables: str) -> CommandResult:
        """Runs `hub dead ...` without a terminal."""
        result = await anyio.run_process(
            [str(HUB), "dead", *arguments], check=False, env={**self.environment, **variables}, cwd=self.folder
        )
        return CommandResult(code=result.returncode, out=result.stdout.decode(), err=result.stderr.decode())


@pytest.fixture
async def letters(
    amqp_url: str, redis_url: str, anyio_backend_name: str, tmp_path: Path
) -> AsyncIterator[DeadLetterCommand]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HUB_") and name != "COLUMNS"
    }
    environment |= {
        "HUB_BROKER_URL": amqp_url,
        "HUB_STORE_URL": redis_url,
        "HUB_REGISTRY_URL": UNREACHABLE,
        "HUB_BACKEND": anyio_backend_name,
    }
    with anyio.fail_after(TIMEOUT * 3):
        async with open_broker(amqp_url, BrokerOptions(delivery_limit=1)) as broker, open_store(redis_url) as store:
            model = new_queue()
            await broker.declare(model)
            yield DeadLetterCommand(model=model, broker=broker, store=store, environment=environment, folder=tmp_path)


@pytest.fixture(autouse=True, scope="module")
def _no_queue_is_left(amqp_url: str) -> Iterator[None]:
    yield
    RabbitMQAdapter(amqp_url).clear()


async def test_the_list_shows_the_reason_of_each_letter_oldest_first(letters: DeadLetterCommand) -> None:
    first, second = letters.task(), letters.task()
    await letters.bury(first)
    await letters.bury(second, code="attempts_exhausted")

    result = await letters("list", letters.model, COLUMNS="80")

    assert result.code == 0, result.err
    _, row, reason, other, *_ = result.out.splitlines()
    assert row.startswith(first.id)
    assert {"wrong_contract", "dead"} <= set(row.split())
    assert REASON[:40] in reason
    assert other.startswith(second.id)
    assert f"2 dead letters of {letters.model}" in result.out
    assert await letters.dead() == [first.id, second.id]


async def test_the_list_shows_that_there_are_more_letters(letters: DeadLetterCommand) -> None:
    tasks = [letters.task() for _ in range(3)]
    await letters.bury(*tasks)

    result = await letters("list", letters.model, "--limit", "2")

    assert tasks[1].id in result.out
    assert tasks[2].id not in result.out
    assert f"the oldest 2 of 3 dead letters of {letters.model}; --limit 3 reads all of them" in result.out


async def test_the_list_has_a_json_form(letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.bury(task)
    await letters.bury(letters.task(), code="attempts_exhausted")

    result = await letters("list", letters.model, "--json", "--code", "wrong_contract")

    assert result.json["total"] == 2
    assert [letter["task"] for letter in result.json["letters"]] == [task.id]
    assert result.json["letters"][0]["state"] == "dead"
    assert result.json["letters"][0]["reason"] == REASON


async def test_the_list_of_a_model_without_dead_letters_is_one_sentence(letters: DeadLetterCommand) -> None:
    result = await letters("list", letters.model)

    assert (result.code, result.out) == (0, f"{letters.model} has no dead letters\n")


async def test_the_list_stores_the_outcome_of_a_task_that_the_broker_dead_lettered(letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.store.create([task])
    await kill_by_delivery_limit(letters, task)

    result = await letters("list", letters.model, "--json")

    (letter,) = result.json["letters"]
    assert (letter["task"], letter["code"], letter["state"]) == (task.id, "delivery_limit", "dead")
    assert letter["died_at"] is not None
    record = await record_of(letters.store, task)
    assert record.state is TaskState.DEAD
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "delivery_limit"
    assert (await letters("replay", letters.model, task.id)).code == 0
    assert await queued_tasks(letters.broker, letters.model) == [task]


async def kill_by_delivery_limit(letters: DeadLetterCommand, task: Task) -> None:
    """Requeues a task until RabbitMQ dead-letters it."""
    publication = Publication(queue=letters.model, body=task.encode(), message_id=task.id, timestamp=BORN)
    assert await letters.broker.publish([publication]) == [None]
    async with letters.broker.consume(letters.model, prefetch=1) as consumer:
        for _ in range(2):  # one more than the delivery limit
            consumer.reject(await consumer.receive(), requeue=True)
        while not await letters.dead():
            await checkpoint()


async def test_one_letter_is_shown_with_its_request_as_json(letters: DeadLetterCommand) -> None:
    task = letters.task("what was asked")
    await letters.bury(task)
    directory = MemoryDirectory()
    await directory.login(entry_of(letters.model), TEXTS)

    async with served_registry(directory=directory) as registry:
        result = await letters("show", letters.model, task.id, HUB_REGISTRY_URL=registry.url)
        as_json = await letters("show", letters.model, task.id, "--json", HUB_REGISTRY_URL=registry.url)

    assert result.code == 0, result.err
    for part in (task.id, REASON, "wrong_contract", f"hub-model: {letters.model}", TEXTS.request, TEXTS.fingerprint):
        assert part in result.out
    assert '"messages": "what was asked"' in result.out
    assert as_json.json["request"] == {"messages": "what was asked"}
    assert as_json.json["headers"]["hub-code"] == "wrong_contract"
    assert await letters.dead() == [task.id]


async def test_a_message_that_is_not_a_task_is_shown_by_its_message_id(letters: DeadLetterCommand) -> None:
    await leave(
        letters.broker,
        b"\xff nonsense",
        headers=hub_headers("undecodable"),
        model=letters.model,
        message_id="message-7",
    )

    result = await letters("show", letters.model, "message-7")

    assert result.code == 0, result.err
    assert "not a task" in result.out
    assert "ff 20 6e 6f 6e 73 65 6e 73 65" in result.out


async def test_an_id_without_a_letter_is_reported_with_the_state_of_the_task(letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.store.create([task])

    for command in (("show",), ("replay",), ("drop", "--yes")):
        result = await letters(*command, letters.model, task.id)

        assert result.code == 1
        assert (
            f"no dead letter of {letters.model} has this id; the task belongs to {letters.model} and is queued"
            in result.out
        )


async def test_a_replayed_task_is_on_its_queue_again_without_its_deadline(letters: DeadLetterCommand) -> None:
    one, other = letters.task(deadline=BORN + 1), letters.task()
    await letters.bury(one, other)

    result = await letters("replay", letters.model, one.id.upper())

    assert result.code == 0, result.err
    assert f"replayed  {one.id}" in result.out
    assert "1 of 1 replayed" in result.out
    (queued,) = await queued_tasks(letters.broker, letters.model)
    assert (queued.id, queued.body, queued.deadline) == (one.id, one.body, None)
    assert await letters.dead() == [other.id]
    assert (await record_of(letters.store, one)).state is TaskState.QUEUED


async def test_all_letters_with_a_code_are_replayed_and_the_others_are_reported(letters: DeadLetterCommand) -> None:
    tasks = [letters.task() for _ in range(2)]
    kept = letters.task()
    await letters.bury(*tasks)
    await leave(letters.broker, b"\xff", headers=hub_headers(), model=letters.model, message_id="message-7")
    await letters.bury(kept, code="attempts_exhausted")

    result = await letters("replay", letters.model, "--all", "--code", "wrong_contract")

    assert result.code == 1
    assert "left      message-7" in result.out
    assert "2 of 3 replayed" in result.out
    assert [each.id for each in await queued_tasks(letters.broker, letters.model)] == [each.id for each in tasks]
    assert await letters.dead() == ["message-7", kept.id]


async def test_dropped_letters_are_removed(letters: DeadLetterCommand) -> None:
    one, other = letters.task(), letters.task()
    await letters.bury(one, other)

    result = await letters("drop", letters.model, one.id, "--yes")

    assert result.code == 0, result.err
    assert f"dropped   {one.id}" in result.out
    assert await letters.dead() == [other.id]
    assert (await record_of(letters.store, one)).state is TaskState.DEAD


async def test_nothing_is_dropped_without_a_terminal_to_confirm_at(letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.bury(task)

    result = await letters("drop", letters.model, "--all")

    assert result.code == 2
    assert "--yes" in result.err
    assert await letters.dead() == [task.id]


@pytest.mark.parametrize(("answer", "code"), [(b"\n", 1), (b"y\n", 0)])
async def test_dropping_is_confirmed_at_a_terminal(answer: bytes, code: int, letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.bury(task)

    async with at_a_terminal(letters, "drop", letters.model, "--all") as terminal:
        assert "Drop 1 of 1 dead letter" in await terminal.question()
        assert await letters.dead() == []  # the command holds the letter
        os.write(terminal.keyboard, answer)
        assert await terminal.process.wait() == code

    assert await letters.dead() == ([] if code == 0 else [task.id])


async def test_an_interrupted_confirmation_drops_nothing(letters: DeadLetterCommand) -> None:
    task = letters.task()
    await letters.bury(task)

    async with at_a_terminal(letters, "drop", letters.model, "--all") as terminal:
        await terminal.question()
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.process.wait() == 1

    assert await letters.dead() == [task.id]


@dataclass(frozen=True)
class Terminal:
    process: Process
    keyboard: int

    async def question(self) -> str:
        assert self.process.stdout is not None
        text = b""
        while b"[y/N]" not in text:
            text += await self.process.stdout.receive()
        return text.decode()


@asynccontextmanager
async def at_a_terminal(letters: DeadLetterCommand, *arguments: str) -> AsyncIterator[Terminal]:
    """Runs `hub dead ...` with a keyboard; what it prints is read through a pipe."""
    keyboard, tty = os.openpty()
    try:
        async with await anyio.open_process(
            [str(HUB), "dead", *arguments], stdin=tty, stdout=PIPE, env=letters.environment, cwd=letters.folder
        ) as process:
            try:
                yield Terminal(process, keyboard)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
    finally:
        os.close(keyboard)
        os.close(tty)


async def test_the_models_are_listed_with_the_counts_of_their_letters(letters: DeadLetterCommand) -> None:
    await letters.bury(letters.task(), letters.task())
    directory = MemoryDirectory()
    await directory.login(entry_of(letters.model), TEXTS)

    async with served_registry(directory=directory) as registry:
        result = await letters("list", HUB_REGISTRY_URL=registry.url)
        as_json = await letters("list", "--json", HUB_REGISTRY_URL=registry.url)

    assert result.code == 0, result.err
    assert [letters.model, "2"] in [line.split() for line in result.out.splitlines()]
    assert as_json.json == {"models": [{"model": letters.model, "dead": 2}]}


async def test_without_a_registry_a_model_must_be_named(letters: DeadLetterCommand) -> None:
    result = await letters("list")

    assert result.code == 3
    assert UNREACHABLE in result.err
    assert "hub dead list MODEL" in result.err


async def test_errors_name_the_servers_that_are_out_of_reach(letters: DeadLetterCommand) -> None:
    result = await letters("list", letters.model, HUB_BROKER_URL="amqp://guest:guest@127.0.0.1:9/")
    assert (result.code, result.out) == (3, "")
    assert "127.0.0.1:9" in result.err
    assert "HUB_BROKER_URL=amqp://guest:***@127.0.0.1:9/" in result.err
    assert len(result.err.splitlines()) == 2

    result = await letters("list", letters.model, HUB_STORE_URL="redis://127.0.0.1:9")
    assert (result.code, result.out) == (3, "")
    assert "127.0.0.1:9" in result.err


async def test_a_model_without_a_queue_is_an_error(letters: DeadLetterCommand) -> None:
    result = await letters("list", "NoSuchModel")

    assert result.code == 1
    assert "NoSuchModel" in result.err
    assert "check the name of the model" in result.err


@pytest.mark.parametrize(
    ("arguments", "repair"),
    [
        (["list", "no model"], "start with a letter"),
        (["replay", "Echo"], "--all"),
        (["drop", "Echo", "--yes"], "--all"),
        (["replay", "Echo", "some-task", "--all"], "both"),
        (["list", "Echo", "--broker-url", "memory://"], "HUB_BROKER_URL"),
        (["list", "Echo", "--store-url", "memory://"], "HUB_STORE_URL"),
        (["list", "Echo", "--limit", "0"], "--limit"),
    ],
)
def test_invalid_arguments_are_refused_with_the_repair(
    arguments: Sequence[str],
    repair: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as caught:
        main(["dead", *arguments])

    result = capsys.readouterr()
    assert repair in " ".join((result.out + result.err).split())
    assert caught.value.code == 2


def test_the_settings_of_the_command_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as caught:
        main(["config", "show", "dead"])

    assert caught.value.code == 0
    result = capsys.readouterr().out
    assert "registry_url" in result
    assert "gateway_port" not in result
