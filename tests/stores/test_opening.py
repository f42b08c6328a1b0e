"""URLs, and what they are opened with."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import fail_after
from hypothesis import given, strategies as st

from hub.directories import open_directory
from hub.errors import ConfigurationError
from hub.redis.address import RedisAddress, TlsFiles, redis_address
from hub.stores import open_store
from tests.stores.helpers import TIMEOUT


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress(nodes=(("localhost", 6379),))),
        ("redis://10.0.0.7:1234/5", RedisAddress(nodes=(("10.0.0.7", 1234),), db=5)),
        ("redis://[::1]:1234/", RedisAddress(nodes=(("::1", 1234),))),
        ("redis://:p%40ss@host", RedisAddress(nodes=(("host", 6379),), password="p@ss")),
        ("redis+redispy://me:p%3A%2F@host", RedisAddress(nodes=(("host", 6379),), username="me", password="p:/")),
        ("rediss://host:1", RedisAddress(nodes=(("host", 1),), tls=TlsFiles())),
        (
            "redis+sentinel://:pw@one,two:1/main/2",
            RedisAddress(nodes=(("one", 26379), ("two", 1)), service="main", db=2, password="pw"),
        ),
    ],
)
def test_a_url_is_read(url: str, address: RedisAddress) -> None:
    assert redis_address(url) == address


@pytest.mark.parametrize(
    ("url", "repair"),
    [
        ("redis://", "names no host"),
        ("redis://:1234", "names no host"),
        ("redis://host:port", "port"),
        ("redis://host:99999", "[Pp]ort"),
        ("redis://host/main", "number of a database"),
        ("redis://host/1/2", "number of a database"),
        ("redis://host?db=1", "only rediss:// takes a query"),
        ("rediss://host?verify=no", "verify is none of cafile, certfile, keyfile"),
        ("rediss://host?cafile=/nowhere", "certificates cannot be read"),
        ("redis+sentinel://host", "name the service"),
        ("redis+sentinel://host/main/x", "number of a database"),
    ],
)
def test_a_bad_url_is_refused_with_the_repair(url: str, repair: str) -> None:
    with pytest.raises(ConfigurationError, match=repair):
        redis_address(url)


@given(st.text(max_size=20))
def test_no_text_does_anything_but_give_an_address_or_be_refused(text: str) -> None:
    try:
        address = redis_address(f"redis://{text}")
    except ConfigurationError:
        return
    assert address.nodes


def test_a_password_is_in_no_text() -> None:
    address = redis_address("redis://me:secret@host/1")
    assert "secret" not in f"{address!r} {address.server}"
    with pytest.raises(ConfigurationError) as caught:
        redis_address("redis://me:secret@host/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "memory", "localhost:6379", "http://localhost", "redis+cluster://localhost"])
def test_another_scheme_is_refused(url: str) -> None:
    repair = "none of redis://, .*memory://" if "://" in url else f"no scheme: write redis://{url or 'host'}"
    with pytest.raises(ConfigurationError, match=repair):
        open_store(url)
    with pytest.raises(ConfigurationError, match=repair):
        open_directory(url)


def test_several_hosts_that_are_no_sentinels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://"):
        open_store("redis://a:6379,b:6379")


async def test_redispy_on_trio_is_refused_with_the_repair(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis+redispy://")
    with fail_after(TIMEOUT), pytest.raises(ConfigurationError, match=r"asyncio only.*--backend asyncio"):
        async with open_store(url):
            raise AssertionError("entered on trio")
    with fail_after(TIMEOUT), pytest.raises(ConfigurationError, match=r"asyncio only.*--backend asyncio"):
        async with open_directory(url):
            raise AssertionError("entered on trio")


def test_a_certificate_is_read_when_the_url_is(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="certificates cannot be read"):
        redis_address(f"rediss://host?cafile={tmp_path}/ca.pem")
