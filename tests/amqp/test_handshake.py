from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pamqp import base, commands

from hub.amqp import AmqpOptions, ConnectionClosed, LoginRefused, Mechanism, ProtocolViolation
from hub.amqp.errors import NotAmqp
from hub.amqp.protocol.connection import ConnectionState
from hub.amqp.protocol.handshake import Tuning
from hub.errors import ConnectionLost, ConnectionRefused
from tests.amqp.fake import ADDRESS, PROTOCOL_HEADER, START, TUNE, marshal, unmarshal_all

OPEN_OK = commands.Connection.OpenOk()


def tune(channel_max: int, frame_max: int, heartbeat: int) -> commands.Connection.Tune:
    return commands.Connection.Tune(channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)


def shake(state: ConnectionState, *said: base.Frame) -> list[base.Frame]:
    """What the client answers to what the server says."""
    state.start_handshake()
    assert state.output.take() == PROTOCOL_HEADER
    state.receive(marshal(0, *said))
    return [each for _, each in unmarshal_all(state.output.take()) if isinstance(each, base.Frame)]


def test_a_password_login_gives_user_and_password_and_what_the_client_can() -> None:
    state = ConnectionState(
        replace(ADDRESS, user="ü", password="p w", vhost="/v"), AmqpOptions(connection_name="gateway 1")
    )
    start_ok, tune_ok, opening = shake(state, START, TUNE, OPEN_OK)
    assert isinstance(start_ok, commands.Connection.StartOk)
    assert (start_ok.mechanism, start_ok.response) == ("PLAIN", "\0ü\0p w")
    assert start_ok.client_properties is not None
    assert start_ok.client_properties["connection_name"] == "gateway 1"
    assert isinstance(tune_ok, commands.Connection.TuneOk)
    assert isinstance(opening, commands.Connection.Open)
    assert opening.virtual_host == "/v"
    assert state.opened.settled
    assert state.usable


def test_an_external_login_says_nothing_but_its_name() -> None:
    state = ConnectionState(replace(ADDRESS, mechanism=Mechanism.EXTERNAL), AmqpOptions())
    (start_ok,) = shake(state, START)
    assert isinstance(start_ok, commands.Connection.StartOk)
    assert (start_ok.mechanism, start_ok.response) == ("EXTERNAL", "")


@pytest.mark.parametrize(
    ("offer", "options", "agreed"),
    [
        (tune(0, 0, 0), AmqpOptions(), Tuning(channel_max=2047, frame_max=131072, heartbeat=10)),
        (tune(10, 4096, 5), AmqpOptions(), Tuning(channel_max=10, frame_max=4096, heartbeat=5)),
        (tune(9999, 1 << 20, 60), AmqpOptions(frame_max=8192), Tuning(channel_max=2047, frame_max=8192, heartbeat=10)),
        (tune(0, 0, 60), AmqpOptions(heartbeat=0), Tuning(channel_max=2047, frame_max=131072, heartbeat=0)),
    ],
)
def test_the_smaller_limit_of_the_two_sides_counts(
    offer: commands.Connection.Tune, options: AmqpOptions, agreed: Tuning
) -> None:
    state = ConnectionState(ADDRESS, options)
    _, tune_ok, _ = shake(state, START, offer, OPEN_OK)
    assert isinstance(tune_ok, commands.Connection.TuneOk)
    assert state.tuning == agreed
    assert (tune_ok.channel_max, tune_ok.frame_max, tune_ok.heartbeat) == (
        agreed.channel_max,
        agreed.frame_max,
        agreed.heartbeat,
    )


def closing(code: int, text: str) -> commands.Connection.Close:
    return commands.Connection.Close(reply_code=code, reply_text=text, class_id=0, method_id=0)


REFUSALS: dict[str, tuple[list[base.Frame], type[ConnectionLost], str]] = {
    "credentials": ([START, closing(403, "ACCESS_REFUSED")], LoginRefused, "403 ACCESS_REFUSED"),
    "virtual host": ([START, TUNE, closing(530, "NOT_ALLOWED")], LoginRefused, "530 NOT_ALLOWED"),
    "shutdown": ([START, closing(320, "CONNECTION_FORCED")], ConnectionClosed, "320 CONNECTION_FORCED"),
    "no mechanism": (
        [commands.Connection.Start(server_properties={}, mechanisms="AMQPLAIN GSSAPI", locales="en_US")],
        ConnectionRefused,
        "offers the logins AMQPLAIN, GSSAPI, but not PLAIN",
    ),
    "connection limit": (
        [
            START,
            TUNE,
            closing(530, "NOT_ALLOWED - access to vhost '/' refused for user 'u': connection limit (1) is reached"),
        ],
        ConnectionClosed,
        "limit",
    ),
    "challenge": ([START, commands.Connection.Secure(challenge="?")], ConnectionLost, "challenge"),
    "tune first": ([TUNE], ProtocolViolation, "Connection.Tune while Connection.Start was expected"),
    "open-ok first": ([START, OPEN_OK], ProtocolViolation, "Connection.OpenOk while"),
}


@pytest.mark.parametrize(("said", "error", "text"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_login_says_why(said: list[base.Frame], error: type[ConnectionLost], text: str) -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    shake(state, *said)
    result: Callable[[], None] = state.opened.result
    with pytest.raises(ConnectionLost, match=text) as caught:
        result()
    assert type(caught.value) is error
    assert not state.usable


def test_a_refusal_that_comes_after_the_login_is_no_login_refused() -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    shake(state, START, TUNE, OPEN_OK, closing(403, "ACCESS_REFUSED"))
    assert type(state.closed) is ConnectionClosed


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request", b"AMQP\x00\x01\x00\x00", b"-ERR unknown command"],
    ids=["HTTP", "AMQP 1.0", "Redis"],
)
def test_a_server_of_another_kind_refuses_the_link_for_good(said: bytes) -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    state.start_handshake()
    state.receive(said)
    assert isinstance(state.closed, NotAmqp)
    assert isinstance(state.closed, ConnectionRefused)


def test_nonsense_after_the_handshake_has_begun_is_a_lost_link() -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    shake(state, START)
    state.receive(b"HTTP/1.1 400 Bad Request")
    assert type(state.closed) is ProtocolViolation
