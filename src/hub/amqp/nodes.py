"""The nodes of a RabbitMQ cluster that one URL names, and which of them to connect to."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, Generic, Protocol, TypeVar, final

import structlog
from typing_extensions import override

from hub.amqp.errors import LoginRefused
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused

LEAST_TIMEOUT: Final = 2.0
"""Seconds that each of several nodes gets to accept a connection, at least: a lost SYN is sent again after one."""

_LARGEST_PORT: Final = 65535
_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[^\[\]:\s]+)(?::(?P<port>[^:]*))?", re.ASCII)

_log = structlog.get_logger("hub.amqp")


class OpenConnection(Protocol):
    @property
    def usable(self) -> bool: ...


N = TypeVar("N")
C = TypeVar("C", bound=OpenConnection)


def node_urls(url: str) -> tuple[str, ...]:
    """One URL for each node of `scheme://user:password@a:5672,b,[::1]:5673/vhost?query`, in that order.

    They differ in host and port alone. A URL with one host comes back as it is; it may leave the host out.

    Raises:
        ConfigurationError: A host is empty, or its port is none. The message has nothing of the URL, which may be cut in
            the wrong place by a password that is not percent-encoded.
    """
    scheme, separator, rest = url.partition("://")
    end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    credentials, at_sign, hosts = rest[:end].rpartition("@")
    members = [member.strip() for member in hosts.split(",")]
    for position, member in enumerate(members, 1):
        problem = "" if members == [""] else _problem(member)
        if problem:
            raise ConfigurationError(
                f"the broker URL (HUB_BROKER_URL): {problem} (host {position} of {len(members)}); write "
                "amqp://user:password@a:5672,b:5672,c/vhost, with an IPv6 address in brackets and with '/', '?', '#', '@' "
                "in a password as %2F, %3F, %23, %40"
            )
    if len(members) == 1:
        return (url,)
    if len(set(members)) < len(members):
        raise ConfigurationError("the broker URL (HUB_BROKER_URL) names a host twice; name each node once")
    return tuple(f"{scheme}{separator}{credentials}{at_sign}{member}{rest[end:]}" for member in members)


def _problem(member: str) -> str:
    """What is wrong with one `host[:port]`; empty if nothing is."""
    found = _HOST_AND_PORT.fullmatch(member)
    if not member:
        return "a host is empty, is there a comma too many?"
    if found is None:
        return "what stands for a host is none"
    port = found["port"]
    if port is not None and not (
        port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= _LARGEST_PORT
    ):
        return f"a port is not a number from 1 to {_LARGEST_PORT}"
    return ""


@final
class Nodes(Generic[N]):
    """Connects to one of several nodes, and to the next one when that cannot be reached or is lost.

    All connections of a process prefer the same node, chosen at random at the start, so that the loss of any other one does
    not concern the process.

    Args:
        nodes: What `connected` is to open, one for each node.
        name: The node as logs and metrics show it, without credentials.
        rng: Chooses the first node.
    """

    def __init__(self, nodes: Sequence[N], *, name: Callable[[N], str], rng: random.Random | None = None) -> None:
        self._nodes = tuple(nodes)
        self._name = name
        self._current = (rng or random.Random()).randrange(len(self._nodes))  # noqa: S311 - spreads load, guards nothing
        self._connections = Counter[str]()
        self._logged = ""

    @override
    def __str__(self) -> str:
        return ",".join(map(self._name, self._nodes))

    @property
    def connections(self) -> Mapping[str, int]:
        """How many connections are open to each node, by name; nodes without one are left out."""
        return {name: count for name, count in self._connections.items() if count > 0}

    @property
    def preferred(self) -> str:
        """The name of the node that the next connection is tried with first."""
        return self._name(self._nodes[self._current])

    def timeout(self, whole: float) -> float:
        """Seconds for one node, so that a round over all of them takes `whole` if none answers.

        No less than `LEAST_TIMEOUT`, unless `whole` is less.
        """
        return max(whole / len(self._nodes), min(whole, LEAST_TIMEOUT))

    @asynccontextmanager
    async def connected(self, connect: Callable[[N], AbstractAsyncContextManager[C]]) -> AsyncGenerator[C]:
        """A connection to the preferred node while the block runs, or else to the first one after it that can be reached.

        Raises:
            LoginRefused: By one node, which holds for all: users and virtual hosts belong to the cluster.
            ConnectionRefused: Every node refuses.
            ConnectionLost: No node can be reached; with the reason for each. Or what the block raised.
        """
        async with AsyncExitStack() as stack:
            index, connection = await self._first(connect, stack)
            name = self._name(self._nodes[index])
            self._connections[name] += 1
            try:
                yield connection
            except ConnectionLost:
                self._leave(index)
                raise
            finally:
                self._connections[name] -= 1
                if not connection.usable:
                    self._leave(index)

    async def _first(
        self, connect: Callable[[N], AbstractAsyncContextManager[C]], stack: AsyncExitStack
    ) -> tuple[int, C]:
        start, failures = self._current, list[ConnectionLost]()
        for offset in range(len(self._nodes)):
            index = (start + offset) % len(self._nodes)
            try:
                connection = await stack.enter_async_context(connect(self._nodes[index]))
            except LoginRefused:
                raise
            except ConnectionLost as lost:
                failures.append(lost)
                self._leave(index)
            else:
                self._stay(index)
                return index, connection
        if len(failures) == 1:
            raise failures[0]
        reasons = "; ".join(f"{lost.server}: {lost.reason}" for lost in failures)
        if all(isinstance(failure, ConnectionRefused) for failure in failures):
            raise ConnectionRefused(f"broker {self}", f"every node refuses: {reasons}") from failures[-1]
        raise ConnectionLost(f"broker {self}", f"no node can be reached: {reasons}") from failures[-1]

    def _leave(self, index: int) -> None:
        """Prefers the next node from now on, unless another connection has moved on already."""
        if self._current == index:
            self._current = (index + 1) % len(self._nodes)

    def _stay(self, index: int) -> None:
        self._current = index
        name = self._name(self._nodes[index])
        if len(self._nodes) > 1 and name != self._logged:
            _log.info("connected to a node of the broker", node=name, before=self._logged or None)
            self._logged = name
