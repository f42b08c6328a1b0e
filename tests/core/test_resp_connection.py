"""hub's own connection to Redis: which replies belong to which call, and what breaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from anyio import (
    EndOfStream,
    create_task_group,
    create_tcp_listener,
    fail_after,
    move_on_after,
    sleep,
)
from anyio.abc import SocketAttribute, SocketStream, TaskGroup

from hub.errors import ConnectionLost
from hub.redis.address import redis_address
from hub.redis.connection import ErrorReply, ErrorReplyKind, RedisConnection
from hub.redis.resp_connection import RespConnector

READ_TIMEOUT = 0.5


@asynccontextmanager
async def answering(*pieces: Sequence[bytes], channel: str | None = None) -> AsyncGenerator[RedisConnection]:
    """A connection whose server greets, and then sends the pieces of one answer for each read of its commands."""
    answers = iter([[b"+PONG\r\n"], *pieces])

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while await stream.receive():
                    for piece in next(answers, []):
                        await stream.send(piece)
                        await sleep(0.01)
            except EndOfStream:
                return

    async with await create_tcp_listener(local_host="127.0.0.1") as listener, create_task_group() as tg:
        tg.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)
        with fail_after(10):
            async with RespConnector(redis_address(f"redis://127.0.0.1:{port}"), READ_TIMEOUT).connect(
                channel
            ) as opened:
                yield opened
        tg.cancel_scope.cancel("the test has ended")


async def test_a_reply_may_arrive_in_pieces() -> None:
    async with answering([b"$5\r\nhe", b"llo\r", b"\n*2\r\n:1\r\n", b"$-1\r\n"]) as connection:
        assert await connection.call([("GET", "a"), ("LRANGE", "b", 0, 1)]) == [b"hello", [1, None]]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"-NOSCRIPT No matching script.\r\n", ErrorReplyKind.NO_SCRIPT),
        (b"-READONLY You can't write against a read only replica.\r\n", ErrorReplyKind.NOT_PRIMARY),
        (b"-WRONGTYPE Operation against a key\r\n", ErrorReplyKind.WRONG_TYPE),
        (b"-ERR unknown command\r\n", ErrorReplyKind.OTHER),
    ],
)
async def test_an_error_is_a_reply_among_others(line: bytes, kind: ErrorReplyKind) -> None:
    async with answering([line + b"+OK\r\n"]) as connection:
        error, after = await connection.call([("EVALSHA", "x", 0), ("SET", "a", b"1")])

    assert isinstance(error, ErrorReply)
    assert error.kind is kind
    assert after in (b"OK", "OK")


async def test_the_replies_of_a_cancelled_call_go_to_no_other() -> None:
    async with answering([], [b":1\r\n:2\r\n"]) as connection:
        with move_on_after(0.05):
            await connection.call([("INCR", "a")])
        assert await connection.call([("INCR", "a")]) == [2]


async def test_a_server_that_does_not_answer_in_time_is_lost_for_all_calls() -> None:
    async with answering([]) as connection:
        with pytest.raises(ConnectionLost, match=r"no answer within 0\.5 s"):
            await connection.call([("GET", "a")])
        with pytest.raises(ConnectionLost, match=r"no answer within 0\.5 s"):
            await connection.call([("GET", "a")])
        with pytest.raises(ConnectionLost, match=r"no answer within 0\.5 s"):
            await connection.receive()


async def test_calls_end_when_their_connection_is_closed_by_an_error() -> None:
    ended: list[str] = []

    async def caller(connection: RedisConnection) -> None:
        with move_on_after(5, shield=True):
            try:
                await connection.call([("GET", "a")])
            except ConnectionLost as lost:
                ended.append(lost.reason)

    async def closed_by_an_error(tg: TaskGroup) -> None:
        async with answering([]) as connection:
            tg.start_soon(caller, connection)
            await sleep(0.05)
            raise KeyError

    async with create_task_group() as tg:
        with pytest.raises(ExceptionGroup):
            await closed_by_an_error(tg)
    assert ended == ["the connection was closed"]


async def test_an_answer_that_arrives_slowly_is_no_silence() -> None:
    async with answering([b"$100\r\n", *[b"x"] * 100, b"\r\n"]) as connection:
        assert await connection.call([("GET", "a")]) == [b"x" * 100]  # takes a second


@pytest.mark.parametrize("answer", [b":1\r\n:2\r\n", b"no protocol\r\n"])
async def test_an_answer_that_no_call_waits_for_breaks_the_connection(answer: bytes) -> None:
    async with answering([answer]) as connection:
        with pytest.raises(ConnectionLost):
            await call_and_receive(connection)


async def call_and_receive(connection: RedisConnection) -> None:
    await connection.call([("GET", "a")])
    await connection.receive()
