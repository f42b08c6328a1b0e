"""amqps, with a server that has a certificate and one that wants one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from pamqp import commands

from hub.amqp import AmqpOptions, connect
from hub.errors import ConnectionRefused
from tests.amqp.fake import TUNE, FakeBroker, marshal

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

TIMEOUT = 30.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def serving(broker: FakeBroker, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """The port of 127.0.0.1 where `broker` speaks TLS; it closes without close_notify, as RabbitMQ does."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            try:
                while True:
                    await stream.send(broker.receive(await stream.receive()))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        secure = TLSListener(listener.listeners[0], context, standard_compatible=False)
        async with anyio.create_task_group() as tg:
            tg.start_soon(secure.serve, serve, name="hub.test tls server")  # noqa: ASYNC113 - it listens already
            yield port
            tg.cancel_scope.cancel()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_server_whose_certificate_is_known_is_talked_to(authority: trustme.CA, authority_file: Path) -> None:
    broker = FakeBroker()
    with anyio.fail_after(TIMEOUT):
        async with (
            serving(broker, server_context(authority, "127.0.0.1")) as port,
            connect(f"amqps://127.0.0.1:{port}?cacertfile={authority_file}") as connection,
            connection.channel() as channel,
        ):
            assert (await channel.inspect_queue("q")).message_count == 7
    assert broker.asked[-1] == "Connection.Close"


async def test_a_server_whose_certificate_is_not_known_refuses_the_link(authority: trustme.CA) -> None:
    with anyio.fail_after(TIMEOUT):
        async with serving(FakeBroker(), server_context(authority, "127.0.0.1")) as port:
            with pytest.raises(ConnectionRefused, match=r"its certificate is not valid here \(.*cacertfile"):
                async with connect(f"amqps://127.0.0.1:{port}"):
                    pytest.fail("nobody vouches for this server")


async def test_a_server_with_another_name_is_talked_to_when_the_url_says_which(
    authority: trustme.CA, authority_file: Path
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with serving(FakeBroker(), server_context(authority, "broker.example")) as port:
            url = f"amqps://127.0.0.1:{port}?cacertfile={authority_file}"
            with pytest.raises(ConnectionRefused, match=r"its certificate is not valid here \(.*cacertfile"):
                async with connect(url):
                    pytest.fail("the name is another one")
            async with connect(f"{url}&server_name_indication=broker.example") as connection:
                assert connection.usable


async def test_a_client_may_log_in_with_its_certificate(
    authority: trustme.CA, authority_file: Path, tmp_path: Path
) -> None:
    mechanisms: list[str] = []

    def note(_channel: int, method: object) -> bytes:
        assert isinstance(method, commands.Connection.StartOk)
        mechanisms.append(method.mechanism or "")
        return marshal(0, TUNE)

    broker = FakeBroker(answers={commands.Connection.StartOk: note})
    context = server_context(authority, "127.0.0.1")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own = tmp_path / "own.pem"
    authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(str(own))
    with anyio.fail_after(TIMEOUT):
        async with (
            serving(broker, context) as port,
            connect(
                f"amqps://127.0.0.1:{port}?cacertfile={authority_file}&certfile={own}&auth_mechanism=external",
                AmqpOptions(heartbeat=0),
            ) as connection,
        ):
            assert connection.usable
    assert mechanisms == ["EXTERNAL"]


async def test_tls_at_a_port_without_it_and_none_at_one_with_it_are_refused_with_the_repair(
    authority: trustme.CA, amqp_url: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        with pytest.raises(ConnectionRefused, match="does not speak TLS at this port"):
            async with connect(amqp_url.replace("amqp://", "amqps://")):
                pytest.fail("there is no TLS")
        async with serving(FakeBroker(), server_context(authority, "127.0.0.1")) as port:
            with pytest.raises(ConnectionRefused, match="write amqps:// instead of amqp://"):
                async with connect(f"amqp://127.0.0.1:{port}"):
                    pytest.fail("there is nothing but TLS")
