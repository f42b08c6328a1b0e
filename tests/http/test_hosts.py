"""The host names of a server (DNS rebinding)."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, strategies as st

from hub.errors import ConfigurationError
from hub.http.middleware.hosts import Hosts, hosts_of
from tests.http.helpers import asking, served

OWN = [
    "localhost", "LOCALHOST:8000", "localhost.:8000", "hub.localhost", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9", "10.1.2.3:80",
    "[::1]", "[::1]:8000", "[2001:db8::1]:8000", "[::ffff:127.0.0.1]", "",
]  # fmt: skip

FOREIGN = [
    "evil.example", "evil.example:8000", "EVIL.example.", "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost",
    "localhost@evil.example", "evil.example@localhost", "localhost:8000@evil.example", "localhost:port", "localhost/", "[::1",
    "[::1].evil.example", "[evil.example]", "localhost,evil.example", "localhost evil.example", "2130706433", "0x7f.1", "127.1",
    "127.0.0.1:8000:8000", ".", "..localhost.evil", "\xe9vil.example",
]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_request_for_another_host_is_a_421_on_every_route(host: str) -> None:
    async with asking() as client:
        for method, path in (
            ("GET", "/typed?type=text/plain"),
            ("POST", "/echo"),
            ("OPTIONS", "*"),
            ("HEAD", "/nowhere"),
        ):
            reply = await client.request(method, path, headers=[(b"Host", host.encode("latin-1"))])
            assert reply.status_code == 421, (method, path)
            assert reply.headers["content-type"] == "application/problem+json"
            if method != "HEAD":
                assert reply.json()["code"] == "unknown_host"
                assert "HUB_ALLOWED_HOSTS" in reply.json()["detail"]


@pytest.mark.parametrize("host", OWN)
async def test_addresses_and_localhost_are_served(host: str) -> None:
    async with asking() as client:
        assert (await client.get("/typed?type=text/plain", headers={"Host": host})).status_code == 200


async def test_each_of_several_hosts_must_be_known() -> None:
    async with asking() as client:
        reply = await client.get("/typed?type=a/b", headers=[("Host", "localhost"), ("Host", "evil.example")])
        assert reply.status_code == 421


async def test_the_real_server_refuses_a_rebound_name() -> None:
    async with served() as client:
        assert (await client.get("/typed?type=text/plain")).status_code == 200
        reply = await client.get("/typed?type=text/plain", headers={"Host": "evil.example"})
        assert (reply.status_code, reply.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize(
    ("setting", "host", "served"),
    [
        ("hub.example.com", "hub.example.com:8443", True),
        ("Hub.Example.com.", "HUB.example.COM.", True),
        ("a.example, registry", "registry:8001", True),
        ("hub.example.com", "other.example.com", False),
        ("hub.example.com", "x.hub.example.com", False),
        ("*.example.com", "x.y.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*", "evil.example", True),
        ("*", "what ever", True),
        ("10.0.0.1, [::1]", "evil.example", False),
    ],
)
def test_a_setting_names_further_hosts(setting: str, host: str, *, served: bool) -> None:
    assert hosts_of(setting).allows(host) is served


@pytest.mark.parametrize(
    "setting", ["*, a.example", "http://a.example", "a.example:80", "a.example/x", "a b", "*.*.example", "a.*", "b\xfccher.example", "x" * 254]
)  # fmt: skip
def test_an_invalid_host_name_is_refused_with_the_repair(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"allowed_hosts.*(write names like hub\.example\.com|write \* alone)"):
        hosts_of(setting)


def test_the_listening_and_advertised_hosts_of_a_server_are_known() -> None:
    hosts = Hosts().known_as("box.example", "Model-A.example.", "", "10.0.0.1")
    assert hosts.names >= {"box.example", "model-a.example"}
    assert hosts.allows("model-a.example:4000")
    assert Hosts().known_as("0.0.0.0").allows(f"{socket.gethostname()}:8000")
    assert Hosts().known_as("::").allows(socket.gethostname().partition(".")[0])
    assert not Hosts().known_as("0.0.0.0").allows("evil.example")


@given(st.text(max_size=40), st.sampled_from(["", ":80", ".", "@localhost", "#", "\\", "%00"]))
def test_no_name_below_a_foreign_domain_is_served(prefix: str, suffix: str) -> None:
    assert not hosts_of("hub.example.com").allows(f"{prefix}.evil.example{suffix}")
