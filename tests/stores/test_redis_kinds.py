"""Servers behind TLS, behind a password, and behind Sentinels that elect another primary."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme
from anyio import fail_after

from hub.errors import ConnectionLost, ConnectionRefused
from hub.stores import StoreOptions, open_store
from hub.types import InstanceId
from tests.stores.conftest import CASES, Case
from tests.stores.helpers import MANY, record_of, success, task
from tests.stores.test_redis_outages import once_back
from tests.support.server import ServerProcess, answers, free_port

TIMEOUT = 60.0
"""Seconds; an election takes a few."""

IMPATIENT = StoreOptions(read_timeout=1.0, timeout=0.5)


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@contextmanager
def server(
    folder: Path, port: int, *arguments: str, question: bytes = b"PING\r\n", answer: bytes = b"+PONG"
) -> Iterator[ServerProcess]:
    process = ServerProcess(
        ["redis-server", *arguments],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        log=folder / f"{port}.log",
        ready=lambda: answers(port, question, answer),
    )
    try:
        process.start()
        yield process
    finally:
        process.kill()


def plain(folder: Path, port: int) -> list[str]:
    own = folder / str(port)
    own.mkdir()
    return ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(own), "--save", ""]


async def use(url: str) -> None:
    one = task()
    async with open_store(url, IMPATIENT) as store:
        await store.create([one])
        await store.start([one], InstanceId("instance-1"), attempts=MANY)
        assert await store.finish([success(one)]) == [True]
        assert await store.wait_for_change(one.id, after=1, until_terminal=True) == await record_of(store, one)


async def test_a_store_behind_tls(case: Case, tmp_path: Path) -> None:
    authority, stranger, port = trustme.CA(), trustme.CA(), free_port()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    arguments = [*plain(tmp_path, port), "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
    for option, name in (("cert-file", "cert"), ("key-file", "key"), ("ca-cert-file", "ca")):
        arguments += (f"--tls-{option}", str(tmp_path / f"{name}.pem"))
    scheme = case.scheme.replace("redis", "rediss", 1)
    with server(tmp_path, port, *arguments, question=b"", answer=b""), fail_after(TIMEOUT):
        await use(f"{scheme}://127.0.0.1:{port}?cafile={tmp_path}/ca.pem")
        with pytest.raises(ConnectionRefused, match=r"its certificate is not valid here.*cafile"):
            await use(f"{scheme}://127.0.0.1:{port}?cafile={tmp_path}/stranger.pem")
        with pytest.raises(ConnectionRefused, match="write rediss:// instead of redis://"):
            await use(f"{case.scheme}://127.0.0.1:{port}")


async def test_a_store_behind_a_password(case: Case, tmp_path: Path) -> None:
    port = free_port()
    arguments = [*plain(tmp_path, port), "--requirepass", "p@ss:/word"]
    with server(tmp_path, port, *arguments, answer=b"-NOAUTH"), fail_after(TIMEOUT):
        await use(f"{case.scheme}://:p%40ss%3A%2Fword@127.0.0.1:{port}/3")
        with pytest.raises(ConnectionRefused, match="does not accept the credentials") as caught:
            await use(f"{case.scheme}://:wrong@127.0.0.1:{port}/3")
        assert "wrong" not in str(caught.value)
        with pytest.raises(ConnectionRefused, match="redis://:PASSWORD@host"):
            await use(f"{case.scheme}://127.0.0.1:{port}")


async def test_a_database_that_does_not_exist_is_a_refused_connection(case: Case, redis_url: str) -> None:
    address = redis_url.partition("://")[2]
    with fail_after(TIMEOUT), pytest.raises(ConnectionRefused, match="DB index is out of range: change the URL"):
        await use(f"{case.scheme}://{address}/99999")


async def test_tls_at_a_port_without_it_is_a_refused_connection(case: Case, redis_url: str) -> None:
    address = redis_url.partition("://")[2]
    scheme = case.scheme.replace("redis", "rediss", 1)
    with fail_after(TIMEOUT), pytest.raises(ConnectionRefused, match="write redis:// instead of rediss://"):
        await use(f"{scheme}://{address}/0")


@pytest.mark.parametrize(
    "case",
    [pytest.param(CASES[name], id=name, marks=CASES[name].marks) for name in ("redis-asyncio", "redis-trio")],
    indirect=True,
)
async def test_a_store_behind_sentinels_follows_the_primary(case: Case, tmp_path: Path) -> None:
    primary, replica, sentinel = free_port(), free_port(), free_port()
    (tmp_path / "sentinel.conf").write_text(
        f"port {sentinel}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor main 127.0.0.1 {primary} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
    url = f"{case.scheme}+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel}/main/1"
    with ExitStack() as servers, fail_after(TIMEOUT):
        first = servers.enter_context(server(tmp_path, primary, *plain(tmp_path, primary)))
        servers.enter_context(
            server(tmp_path, replica, *plain(tmp_path, replica), "--replicaof", f"127.0.0.1 {primary}")
        )
        replicated(primary)  # a Sentinel that starts later learns of the replica at once
        servers.enter_context(server(tmp_path, sentinel, str(tmp_path / "sentinel.conf"), "--sentinel"))
        one = task()
        async with open_store(url, IMPATIENT) as store:
            await store.create([one])
            before = await record_of(store, one)
            replicated(primary)
            first.kill()
            assert await once_back(lambda: store.fetch([one.id])) == [before]
            assert await once_back(lambda: store.finish([success(one)])) == [True]
            assert store.statistics().reconnects >= 1
        with pytest.raises(ConnectionLost, match="redis 'unknown' behind sentinel at 127"):
            await use(url.replace("/main/", "/unknown/"))


def replicated(port: int) -> None:
    """Returns once a replica has everything that was written so far."""
    subprocess.run(
        ["redis-cli", "-p", str(port)],
        input=b"SET written by-the-test\nWAIT 1 30000\n",
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=40,
    )
