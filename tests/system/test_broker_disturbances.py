"""Instances whose consumer is cancelled by a running broker: they subscribe again, and the registry shows both.

The ping period of the registry is longer than these tests, so its lists show the reports of the instance.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from prometheus_client.parser import text_string_to_metric_families

from hub.http.client import open_client
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import emptied
from tests.system.processes import Hub, HubProcess, hub_process, up

TIMEOUT = 90.0
"""Seconds for a whole scenario: generous, since a machine under load starts processes slowly."""

PING_PERIOD = "600"
CONSUMER_TIMEOUT = 2.0
"""`consumer_timeout` of RabbitMQ in seconds. In these tests only one task takes longer."""

_GET = "{{ok, Value}} = application:get_env(rabbit, {key}), Value."
_SET = "application:set_env(rabbit, {key}, {value})."
_CANCEL = """\
{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)),
[rabbit_channel:send_command(element(1, Consumer), {{'basic.cancel', element(2, Consumer), true}})
 || Consumer <- rabbit_amqqueue:consumers(Queue)]."""
"""Sends what RabbitMQ sends to each consumer when a queue fails over without its consumers."""

pytestmark = pytest.mark.kills_servers


@pytest.fixture(scope="module")
def rabbit(_rabbitmq_to_break: RabbitMQ) -> Iterator[RabbitMQ]:
    """A RabbitMQ with a short consumer timeout, for channels opened while the fixture exists."""
    it = _rabbitmq_to_break
    it.start()
    wanted = {"consumer_timeout": f"{CONSUMER_TIMEOUT * 1000:.0f}", "channel_tick_interval": "250"}
    former = {key: it.ctl("eval", _GET.format(key=key)).strip() for key in wanted}
    try:
        for key, value in wanted.items():
            it.ctl("eval", _SET.format(key=key, value=value))
        yield it
    finally:
        for key, value in former.items():
            it.ctl("eval", _SET.format(key=key, value=value))


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], rabbit: RabbitMQ, redis_url: str) -> AsyncGenerator[Hub]:
    """A registry and a gateway, each a process of its own."""
    backend = anyio_backend[0]
    database = {"asyncio": 9, "trio": 10}[backend]
    redis = emptied(redis_url, database)
    common = {"backend": backend, "broker_url": rabbit.url, "ping_period": PING_PERIOD}
    registry_settings = common | {"directory_url": redis, "registry_port": "0"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            rest = common | {"registry_url": await up(registry), "store_url": redis}
            with hub_process(["hub.gateway"], rest | {"gateway_port": "0"}) as gateway:
                yield Hub(rest, registry_settings, registry, rest["registry_url"], await up(gateway), http)


@dataclass
class ListedInstance:
    """The only instance of Echo, and its state in the registry's list."""

    hub: Hub
    process: HubProcess
    id: str

    async def state(self, etag: str = "") -> tuple[str, str]:
        """Its state and the version of the list; after `etag` at the next change."""
        headers = {"If-None-Match": etag, "Prefer": "wait=60"} if etag else {}
        reply = await self.hub.http.get(f"{self.hub.registry}/v1/instances", headers=headers)
        assert reply.status_code == 200, reply.text
        (instance,) = reply.json()["instances"]
        assert instance["id"] == self.id
        return instance["state"], reply.headers["etag"]

    async def states_after(self, disturb: Callable[[], Awaitable[object]]) -> list[str]:
        """The states from a disturbance until the instance is live again, without repetitions."""
        state, etag = await self.state()
        assert state == "live"
        shown: list[str] = []

        async def watch(etag: str) -> None:
            while shown[-1:] != ["live"]:
                state, etag = await self.state(etag)
                if shown[-1:] != [state]:
                    shown.append(state)

        async with create_task_group() as tg:
            tg.start_soon(watch, etag)
            while await self._watchers() < 2:  # the gateway is the other one
                await checkpoint()
            await disturb()
        return shown

    async def reason_of_the_lost_connection(self) -> str:
        """The reason of the next loss in the log of the process."""
        fields = await run_sync(self.process.wait_for, "connection lost, trying again")
        return str(fields["reason"])

    async def call(self, text: str) -> object:
        """The reply to a synchronous call, once the gateway lists the instance as live."""
        while True:
            reply = await self.hub.http.post(f"{self.hub.gateway}/v1/models/Echo", json={"messages": text})
            if reply.status_code != 503:
                assert reply.status_code == 200, reply.text
                return reply.json()["reply"]
            await self.hub.until_offered("Echo")

    async def _watchers(self) -> float:
        text = (await self.hub.http.get(f"{self.hub.registry}/metrics")).text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return families["hub_registry_watchers"].samples[0].value


@asynccontextmanager
async def listed_instance(hub: Hub) -> AsyncGenerator[ListedInstance]:
    """An instance that has completed a call; it has logged out at the end of the block."""
    async with hub.instances("tests.system.models:Echo") as (process,):
        (instance,) = await hub.until_listed("Echo", 1)
        it = ListedInstance(hub, process, instance)
        assert await it.call("0 before") == "before"
        yield it
        process.terminate()
        assert await run_sync(process.wait) == 0


async def test_an_instance_whose_drained_queue_is_deleted_is_not_consuming_and_recovers(
    hub: Hub, rabbit: RabbitMQ
) -> None:
    said: list[str] = []

    async def delete() -> None:
        said.append(await run_sync(rabbit.ctl, "delete_queue", "Echo"))

    with fail_after(TIMEOUT):
        async with listed_instance(hub) as it:
            assert await it.states_after(delete) == ["not_consuming", "live"]
            assert "cancelled the consumer" in await it.reason_of_the_lost_connection()
            assert await it.call("0 after") == "after"
    assert "with 0 ready messages" in said[0]


async def test_an_instance_whose_consumer_is_cancelled_by_the_broker_is_not_consuming_and_recovers(
    hub: Hub, rabbit: RabbitMQ
) -> None:
    cancel = partial(run_sync, rabbit.ctl, "eval", _CANCEL.format(queue="Echo"))
    with fail_after(TIMEOUT):
        async with listed_instance(hub) as it:
            assert await it.states_after(cancel) == ["not_consuming", "live"]
            assert "cancelled the consumer" in await it.reason_of_the_lost_connection()
            assert await it.call("0 after") == "after"


async def test_an_instance_whose_channel_is_closed_by_a_failed_precondition_is_not_consuming_and_recovers(
    hub: Hub,
) -> None:
    ids: list[str] = []

    async def outstay() -> None:
        ids.append(await hub.submit("Echo", {"messages": f"{2 * CONSUMER_TIMEOUT} slow"}))

    with fail_after(TIMEOUT):
        async with listed_instance(hub) as it:
            assert await it.states_after(outstay) == ["not_consuming", "live"]
            assert "406 PRECONDITION_FAILED" in await it.reason_of_the_lost_connection()
            assert await it.call("0 after") == "after"
            task = await hub.ended(ids[0])
    assert (task["state"], task["attempt"], task["result"]) == ("succeeded", 1, {"reply": "slow"})
