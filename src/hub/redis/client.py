"""One Redis link, kept alive, and commands carried over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, final

from anyio import (
    TASK_STATUS_IGNORED,
    AsyncContextManagerMixin,
    Event,
    create_task_group,
    current_time,
    move_on_after,
    sleep_until,
)
from anyio.abc import TaskStatus
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import CallRefused, ConnectionLost, Undecodable
from hub.redis.connection import Command, Connector, ErrorReply, ErrorReplyKind, RedisConnection, Reply
from hub.redis.script import Script

BACKOFF: Final = ExponentialBackoff(initial=0.05, maximum=1.0)
"""Between two tries to link. One connection per process is cheap, and everybody waits for it."""


def _ignore(_: Sequence[bytes]) -> None: ...


def _nothing() -> None: ...


@final
class RedisClient(AsyncContextManagerMixin):
    """Keeps one link open while its block runs, and opens the next one when it breaks.

    A call that meets no link waits for the next one, `timeout` seconds at most. A call that was under way when the
    link broke ends in `ConnectionLost`: whether the server carried it out is unknown.

    Args:
        links: Opens links.
        channel: What to subscribe each link to.
        on_messages: Called with the messages of the channel, as many as have arrived.
        on_connected: Called each time a link works and is subscribed. Messages from before then may have been missed.
        timeout: Seconds that a call waits for a link; also how often a link is tested.
        probe: Made by each test too, to find out whether the server carries out what hub needs; see `refusal`.
    """

    def __init__(
        self,
        links: Connector,
        *,
        channel: str | None = None,
        on_messages: Callable[[Sequence[bytes]], None] = _ignore,
        on_connected: Callable[[], None] = _nothing,
        timeout: float,
        probe: Command | None = None,
    ) -> None:
        self._links = links
        self._channel = channel
        self._on_messages = on_messages
        self._on_linked = on_connected
        self._timeout = timeout
        self._link: RedisConnection | None = None
        self._linked = Event()
        self._reason = "it was never reached"
        self._probe = probe
        self._refusal: str | None = None
        self.round_trips = 0
        self.connections_opened = 0

    @property
    def server(self) -> str:
        return self._links.server

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def refusal(self) -> str | None:
        """Why the server did not carry out the last probe, in its words; `None`: it did, or there is none."""
        return self._refusal

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters with a link that works.

        Raises:
            ConnectionRefused: The server does not accept the credentials, or speaks TLS where the URL does not, or otherwise.
            ConnectionLost: The server cannot be reached.
            ConfigurationError: The client library cannot run on this backend.
        """
        with collapse_exception_group():
            async with create_task_group() as tg:
                await tg.start(self._keep_linked, name=f"hub.redis client of {self.server}")
                try:
                    yield self
                finally:
                    tg.cancel_scope.cancel("redis client closed")

    async def run(self, script: Script, commands: Sequence[Command]) -> Sequence[Reply]:
        """Carries out commands made by `script.by_digest`, in one round trip, or two when the server lacks the script.

        Raises:
            ConnectionLost: The server is out of reach, or refused one of them.
            Undecodable: There is something else under a key of hub.
        """
        replies = list(await self.call(commands))
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, ErrorReply) and reply.kind is ErrorReplyKind.NO_SCRIPT
        ]
        if unknown:
            again = await self.call([script.in_full(commands[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return self.accepted(replies)

    def accepted(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """`replies`, if the server refused none of the commands.

        Raises:
            CallRefused: It did; such a refusal passes, as that of a server which is out of memory or still loading.
            Undecodable: There is something else under a key of hub.
        """
        for reply in replies:
            if isinstance(reply, ErrorReply):
                if reply.kind is ErrorReplyKind.WRONG_TYPE:
                    raise Undecodable("value of hub", reply.text)
                raise CallRefused(self.server, f"it refused: {reply.text}")
        return replies

    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        """Carries out commands in one round trip; the server's error replies are among the replies.

        Raises:
            ConnectionLost: The server is out of reach.
        """
        link = self._link
        if link is None:
            with move_on_after(self._timeout):
                await self._linked.wait()
            link = self._link
            if link is None:
                raise ConnectionLost(self.server, self._reason)
        self.round_trips += 1
        try:
            replies = await link.call(commands)
        except ConnectionLost as lost:
            self._unlink(link, lost.reason)
            link.abort(lost.reason)  # or the session would keep a link that nobody uses any more
            raise
        if any(isinstance(reply, ErrorReply) and reply.kind is ErrorReplyKind.NOT_PRIMARY for reply in replies):
            link.abort("it is no longer the primary")
        return replies

    async def _keep_linked(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async def session(linked: Callable[[], None]) -> None:
            try:
                with collapse_exception_group():
                    async with self._links(self._channel) as link:
                        self._link = link
                        self.connections_opened += 1
                        linked()
                        if self.connections_opened == 1:
                            task_status.started()
                        self._linked.set()
                        self._on_linked()
                        await self._use(link)
            except ConnectionLost as lost:
                self._reason = lost.reason
                raise
            finally:
                self._unlink(self._link, self._reason)

        await run_reconnecting(session, name=self.server, backoff=BACKOFF, retry_for=0.0)

    def _unlink(self, link: RedisConnection | None, reason: str) -> None:
        """From here on calls wait for the next link."""
        if link is not None and link is self._link:
            self._link = None
            self._linked = Event()
            self._reason = reason

    async def _use(self, link: RedisConnection) -> None:
        async with create_task_group() as tg:
            tg.start_soon(self._test, link, name=f"hub.redis test of {self.server}")
            while True:
                self._on_messages(await link.receive())

    async def _test(self, link: RedisConnection) -> None:
        due = current_time()
        if self._probe is None:  # a link that has just been made needs no ping
            due += self._timeout
        while True:
            await sleep_until(due)
            (reply,) = await link.call([self._probe or ("PING",)])
            self._refusal = reply.text if isinstance(reply, ErrorReply) else None
            due += self._timeout
