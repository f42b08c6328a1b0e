"""Prints the tasks of a running registry, gateway and instance as trees, each below the task that started it.

    python -m scripts.task_tree [--backend trio] [--write]

Everything is real: the three components with RabbitMQ and Redis, and a task in flight. The names are those that the code
gives to its tasks; what differs from one run to the next (ports, ids) is shown as `...`, and tasks of one name with the
same tasks below them are shown once, and tasks of libraries not at all. `--write` puts the trees into docs/architecture.md; a test compares them with it on
both backends.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import anyio
from anyio import TaskInfo, create_task_group, fail_after, get_running_tasks, sleep
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.services import background_service, hold_open
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.model.instance.instance import run_instance
from hub.registry.service import run_registry
from hub.settings.up import UpSettings
from hub.stores import open_store
from hub.types import Backend
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
COMPONENTS: Final = ("registry", "gateway", "instance", "broker", "store")
PREFIX: Final = "hub."
START_TIMEOUT: Final = 60.0

_BLOCK: Final = re.compile(r"(<!-- tasks of (\w+) -->\n```text\n).*?(```)", re.DOTALL)
_VARYING: Final = re.compile(r"\w+://\S+|(?:hub:wake:)?[0-9a-f]{8}-[0-9a-f-]{27}|127\.0\.0\.1:\d+|(?<= )\d+$")


class Waits(hub.Model[ModelARequest, ModelAResponse]):
    """A model whose task is in flight while the trees are read."""

    name: ClassVar[str] = "Waits"

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        await sleep(START_TIMEOUT)
        return ModelAResponse(reply=request.messages)


async def task_trees(broker_url: str, store_url: str) -> Mapping[str, str]:
    """The tree of each component, by the name of the component."""
    async with _components(broker_url, store_url) as gateway_url:
        async with AsyncClient(trust_env=False) as client, create_task_group() as tg:
            reply = await client.post(f"{gateway_url}/v1/models/Waits/tasks", json={"messages": "x"})
            reply.raise_for_status()
            tg.start_soon(partial(client.get, f"{gateway_url}/v1/tasks/{reply.json()['id']}?wait=30", timeout=60))
            while (await client.get(f"{gateway_url}/v1/tasks/{reply.json()['id']}")).json()["state"] != "running":  # noqa: ASYNC110 - another process could as well be what runs the task
                await sleep(0.05)
            await sleep(0.2)
            tasks = get_running_tasks()
            await client.delete(f"{gateway_url}/v1/tasks/{reply.json()['id']}")
            tg.cancel_scope.cancel("the trees are read")
    return {name: _tree(tasks, f"{PREFIX}service {name}") for name in COMPONENTS}


@asynccontextmanager
async def _components(broker_url: str, store_url: str) -> AsyncGenerator[str]:
    settings = UpSettings(gateway_port=0, registry_port=0, broker_url=broker_url, store_url=store_url, drain_grace=0.1)
    with fail_after(START_TIMEOUT):
        async with (
            hold_open(lambda: open_broker(broker_url), name="broker") as broker,
            hold_open(lambda: open_store(store_url), name="store") as store,
            hold_open(lambda: open_directory("memory://"), name="directory") as directory,
            background_service(
                partial(run_registry, settings, directory=directory, broker=broker), name="registry"
            ) as registry_url,
        ):
            told = replace(settings, registry_url=registry_url)
            async with (
                background_service(
                    partial(run_gateway, told, broker=broker, store=store, dashboard=None), name="gateway"
                ) as gateway_url,
                background_service(partial(run_instance, Waits, told, broker=broker, store=store), name="instance"),
            ):
                yield gateway_url


def _tree(tasks: list[TaskInfo], root: str) -> str:
    children = defaultdict[int, list[TaskInfo]](list)
    for task in tasks:
        if task.parent_id is not None:
            children[task.parent_id].append(task)

    def lines(task: TaskInfo) -> tuple[str, ...]:
        below = {lines(child) for child in children[task.id] if (child.name or "").startswith(PREFIX)}
        name = _VARYING.sub("...", (task.name or "").removeprefix(PREFIX))
        return (name, *(f"  {line}" for child in sorted(below) for line in child))

    (top,) = (task for task in tasks if task.name == root)
    return "\n".join(lines(top)) + "\n"


def written(page: str, trees: Mapping[str, str]) -> str:
    """The page with the trees in their places."""
    return _BLOCK.sub(lambda block: f"{block[1]}{trees[block[2]]}{block[3]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="trio")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    backend: Backend = arguments.backend
    with rabbitmq() as broker, redis() as store:
        trees = anyio.run(task_trees, broker.url, store.url, backend=backend)
    for tree in trees.values():
        print(tree)
    if arguments.write:
        PAGE.write_text(written(PAGE.read_text(), trees))
    return 0


if __name__ == "__main__":
    sys.exit(main())
