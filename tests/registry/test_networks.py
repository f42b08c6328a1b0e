from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from hub.registry.client.errors import InvalidLogin
from hub.registry.core.networks import InstanceNetworks, base_url

LOOPBACK = InstanceNetworks([ip_network("127.0.0.0/8"), ip_network("::1/128")])


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ("https://model-a.example:443/base", "https://model-a.example:443/base"),
        ("http://[::1]:4000", "http://[::1]:4000"),
        ("http://model-a", "http://model-a"),
    ],
)
def test_a_base_url_is_taken_without_its_last_slash(text: str, taken: str) -> None:
    assert base_url(text) == taken


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4000",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://",
        "http://:4000",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:port",
        "http://user:secret@127.0.0.1:4000",
        "http://127.0.0.1:4000/?x=1",
        "http://127.0.0.1:4000?",
        "http://127.0.0.1:4000/#",
        "http://[::1:4000",
        "http://127.0.0.1:4000/a b",
        "http://127.0.0.1:4000/\r\nX: y",
        "http://modèle:4000",
        "http://a/" + "x" * 3000,
    ],
)
def test_what_is_no_base_url_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(InvalidLogin, match="write http://host:port") as caught:
        base_url(text)
    assert caught.value.extensions == {"field": "url"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_addresses_of_the_networks_are_in_them(address: str) -> None:
    assert ip_address(address) in LOOPBACK


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::2", "::ffff:10.0.0.1", "0.0.0.0"])
def test_other_addresses_are_not(address: str) -> None:
    assert ip_address(address) not in LOOPBACK


def test_an_address_outside_is_refused_with_the_setting_that_would_allow_it() -> None:
    with pytest.raises(InvalidLogin, match=r"169\.254\.169\.254 is outside.*HUB_INSTANCE_NETWORKS"):
        LOOPBACK.check("http://169.254.169.254/latest")
    LOOPBACK.check("http://127.0.0.1:4000")
    LOOPBACK.check("http://looked.up.at.each.ping:4000")
