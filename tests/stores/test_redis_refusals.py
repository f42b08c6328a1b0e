"""A Redis that is in reach and carries out nothing: the store says so without being asked to change anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from hub.gateway.routes.system import GatewayHealth
from hub.stores import StoreOptions, open_store
from tests.gateway.fixtures import open_gateway
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import TIMEOUT
from tests.support.redis import Redis

OFTEN = StoreOptions(timeout=0.1)


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


def out_of_memory(redis: Redis) -> Callable[[], object]:
    redis.ctl("CONFIG", "SET", "maxmemory", "1")
    return lambda: redis.ctl("CONFIG", "SET", "maxmemory", "0")


def without_scripts(redis: Redis) -> Callable[[], object]:
    redis.ctl("ACL", "SETUSER", "default", "-@scripting")
    return lambda: redis.ctl("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize(("trouble", "words"), [(out_of_memory, "maxmemory"), (without_scripts, "permissions")])
async def test_a_gateway_is_not_ready_while_its_store_takes_no_changes(
    case: Case, private_redis: Redis, trouble: Callable[[Redis], Callable[[], object]], words: str
) -> None:
    with fail_after(TIMEOUT):
        async with (
            open_store(on_redis(private_redis.url, case.scheme), OFTEN) as store,
            open_gateway(store=store) as gateway,
        ):
            await gateway.model()
            health = GatewayHealth(gateway.parts.catalog, gateway.broker, store)
            while health.reasons():
                await checkpoint()
            mended = trouble(private_redis)
            try:
                while not health.reasons():
                    await checkpoint()
                (reason,) = health.reasons()
                assert reason.startswith("the result store accepts no changes: ")
                assert words in reason
                assert (await gateway.client.get("/health/ready")).status_code == 503
            finally:
                mended()
            while health.reasons():
                await checkpoint()
