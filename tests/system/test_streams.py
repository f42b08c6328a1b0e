"""A model that streams as a process of its own, over a real RabbitMQ and a real Redis."""

from __future__ import annotations

from anyio import fail_after

from examples.model_a.v1.model_a_pb2 import ModelAResponse
from hub.ports.result_store import ChunkPage, ChunkPosition, ResultStore
from hub.stores import open_store
from hub.types import TaskId
from tests.system.processes import Hub
from tests.system.test_processes import hub

TIMEOUT = 90.0
COUNT = 1000

__all__ = ["hub"]


async def read(store: ResultStore, task_id: TaskId) -> list[tuple[ChunkPosition, str]]:
    """Everything that a reader sees until the task has ended, over all attempts."""
    found: list[tuple[ChunkPosition, str]] = []
    page = await store.chunks(task_id)
    while isinstance(page, ChunkPage):
        found += [(chunk.position, ModelAResponse.FromString(chunk.body).reply) for chunk in page.chunks]
        if page.complete:
            return found
        page = await store.chunks(task_id, page.last, beyond=page.revision)
    raise AssertionError(page)


async def test_a_stream_whose_instance_is_killed_begins_again_from_its_first_chunk(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        async with (
            open_store(hub.settings["store_url"]) as store,
            hub.instances("tests.system.models:Steps") as (victim,),
        ):
            task_id = TaskId(await hub.submit("Steps", {"messages": str(COUNT)}))
            page = await store.chunks(task_id)
            while isinstance(page, ChunkPage) and page.total < COUNT // 10:
                page = await store.chunks(task_id, page.last, beyond=page.revision)
            victim.kill()
            with hub.instance("tests.system.models:Steps"):
                seen = await read(store, task_id)
    first = [text for position, text in seen if position.attempt == 1]
    second = [text for position, text in seen if position.attempt == 2]
    assert first == [f"1 {number}" for number in range(len(first))]
    assert COUNT > len(first) >= COUNT // 10
    assert second == [f"2 {number}" for number in range(COUNT)]
    assert [position for position, _ in seen] == sorted({position for position, _ in seen})
