from __future__ import annotations

import pickle
import ssl
from pathlib import Path

import pytest

from hub.amqp import (
    AmqpAddress,
    AmqpOptions,
    ChannelClosed,
    ConnectionClosed,
    ConsumerCancelled,
    LoginRefused,
    Mechanism,
    MessageTooLarge,
    TooManyChannels,
)
from hub.errors import ConfigurationError, HubError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://", AmqpAddress(host="localhost", port=5672)),
        ("amqps://broker", AmqpAddress(host="broker", port=5671, secure=True)),
        ("amqp://u:p@h:1/v", AmqpAddress(host="h", port=1, user="u", password="p", vhost="v")),
        (
            "amqp://u%40x:p%2F%3A%C3%BC@h/%2Fa%2Fb",
            AmqpAddress(host="h", port=5672, user="u@x", password="p/:ü", vhost="/a/b"),
        ),
        ("amqp://h/", AmqpAddress(host="h", port=5672, vhost="/")),
        ("amqp://h/%2F", AmqpAddress(host="h", port=5672, vhost="/")),
        ("amqp://u:@h", AmqpAddress(host="h", port=5672, user="u", password="")),
        ("amqp://[::1]:99", AmqpAddress(host="::1", port=99)),
    ],
)
def test_a_url_is_read_as_rabbitmq_specifies(url: str, address: AmqpAddress) -> None:
    assert AmqpAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "repair"),
    [
        ("http://h", "amqp://, amqps://"),
        ("h:5672", "write amqp://h:5672"),
        ("amqp://h:port", "no port from 1 to 65535"),
        ("amqp://h:99999", "no port from 1 to 65535"),
        ("amqp://h/a/b", "%2F"),
        ("amqp://h?hartbeat=3", "heartbeat"),
        ("amqp://h?auth_mechanism=kerberos", "'plain' or 'external'"),
    ],
)
def test_a_url_that_is_wrong_is_refused_with_the_repair(url: str, repair: str) -> None:
    with pytest.raises(ConfigurationError, match=repair):
        AmqpAddress.parse(url)


@pytest.mark.parametrize("query", ["heartbeat=-1", "heartbeat=x", "heartbeat=70000", "frame_max=100", "verify=maybe"])
def test_a_query_that_is_out_of_range_is_refused(query: str) -> None:
    address = AmqpAddress.parse(f"amqps://h?{query}")
    with pytest.raises(ConfigurationError):
        address.options(AmqpOptions())


def test_the_password_is_in_no_text_about_the_address() -> None:
    address = AmqpAddress.parse("amqps://me:secret@h:1/v")
    assert address.server == "amqps://h:1/v"
    assert "secret" not in repr(address) + str(address)


def test_the_query_comes_before_the_options() -> None:
    address = AmqpAddress.parse(
        "amqp://h?heartbeat=3&frame_max=4096&connection_timeout=1500&connection_name=n&body_limit=9"
    )
    assert address.options(AmqpOptions(heartbeat=9)) == AmqpOptions(
        heartbeat=3, frame_max=4096, connect_timeout=1.5, connection_name="n", body_limit=9
    )
    assert AmqpAddress.parse("amqp://h").options(AmqpOptions(heartbeat=9)).heartbeat == 9


def test_external_login_is_asked_for_in_the_query() -> None:
    assert AmqpAddress.parse("amqps://h?auth_mechanism=external").mechanism is Mechanism.EXTERNAL


def test_a_secure_address_verifies_unless_it_is_told_not_to() -> None:
    verified = AmqpAddress.parse("amqps://h").options(AmqpOptions()).tls
    trusting = AmqpAddress.parse("amqps://h?verify=verify_none").options(AmqpOptions()).tls
    assert verified is not None
    assert trusting is not None
    assert (verified.verify_mode, verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_NONE, False)
    assert AmqpAddress.parse("amqp://h").options(AmqpOptions(tls=verified)).tls is None


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    address = AmqpAddress.parse(f"amqps://h?cacertfile={tmp_path}/missing.pem")
    with pytest.raises(ConfigurationError, match="certificates"):
        address.options(AmqpOptions())


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosed("s", 320, "CONNECTION_FORCED"),
        LoginRefused("s", 403, "ACCESS_REFUSED"),
        ChannelClosed("s", 406, "PRECONDITION_FAILED"),
        ConsumerCancelled("s", "q"),
        TooManyChannels("s", 3),
        MessageTooLarge("q", 5, 4),
    ],
)
def test_an_error_pickles_with_its_facts(error: HubError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, type(error))
    assert (str(copy), copy.extensions, copy.args) == (str(error), error.extensions, error.args)
