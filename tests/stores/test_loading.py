"""A Redis that was restarted takes connections while it still reads its data, and answers each command with LOADING."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import pytest
from anyio import Event, fail_after, run_process
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.errors import ConnectionLost
from hub.redis.client import RedisClient
from hub.redis.connection import Command, Connector, RedisConnection, Reply
from hub.stores import StoreOptions, open_store
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.stage import TIMEOUT, record_of, task
from tests.stores.test_redis_outages import once_back
from tests.support.markers import starts
from tests.support.server import ServerProcess, answers, free_port

KEYS = 4096
DELAY = 300
"""Microseconds that this Redis takes for each key when it starts: more than a second in all."""

PATIENT = StoreOptions(read_timeout=5.0, timeout=3.0)
"""The test of an idle link comes after the data are loaded: it finds nothing wrong."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@final
class DeafOnce(Connector, RedisConnection):
    """Links of which the first loses its first call, and nothing else ever breaks by itself."""

    def __init__(self) -> None:
        self._lose = True
        self._aborted = Event()

    @property
    @override
    def server(self) -> str:
        return "nowhere"

    @override
    @asynccontextmanager
    async def connect(self, channel: str | None) -> AsyncGenerator[RedisConnection]:
        yield self

    @override
    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        await checkpoint()
        if self._lose:
            self._lose = False
            raise ConnectionLost(self.server, "lost")
        return [b"value"] * len(commands)

    @override
    async def receive(self) -> Sequence[bytes]:
        await self._aborted.wait()
        self._aborted = Event()
        raise ConnectionLost(self.server, "aborted")

    @override
    def abort(self, reason: str) -> None:
        self._aborted.set()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
@starts("redis")
def slow_to_load(port: int, tmp_path: Path) -> Iterator[ServerProcess]:
    options = {"port": port, "bind": "127.0.0.1", "dir": tmp_path, "save": "", "appendonly": "yes"}
    options |= {"appendfsync": "always", "key-load-delay": DELAY}
    process = ServerProcess(
        ["redis-server", *(f"{word}" for name, value in options.items() for word in (f"--{name}", value))],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        log=tmp_path / "server.log",
        ready=lambda: answers(port, b"PING\r\n", b"+PONG"),
    )
    try:
        process.start()
        fill = f"for i = 1, {KEYS} do redis.call('SET', i, i) end return 1"
        question = f'EVAL "{fill}" 0\r\n'.encode()
        assert answers(port, question, b":1")
        yield process
    finally:
        process.kill()


async def test_a_link_made_while_redis_loads_its_data_works_once_they_are_loaded(
    case: Case, port: int, slow_to_load: ServerProcess
) -> None:
    known = task()
    with fail_after(TIMEOUT):
        async with open_store(on_redis(f"redis://127.0.0.1:{port}", case.scheme), PATIENT) as store:
            await store.create([known])
            before = await record_of(store, known)
            slow_to_load.kill()
            slow_to_load.launch()
            assert await once_back(lambda: record_of(store, known)) == before
            assert store.statistics().connected
    refused = await run_process(["redis-cli", "-p", f"{port}", "info", "errorstats"])
    assert b"errorstat_LOADING" in refused.stdout  # the link was made before it could be used


async def test_a_link_on_which_a_call_was_lost_is_given_up_although_it_goes_on() -> None:
    links = DeafOnce()
    with fail_after(TIMEOUT):
        async with RedisClient(links, timeout=TIMEOUT) as client:
            with pytest.raises(ConnectionLost):
                await client.call([("GET", "key")])
            assert await client.call([("GET", "key")]) == [b"value"]
            assert client.connections_opened == 2
