"""RabbitMQ servers that a test run starts itself: a node, or a cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, final

from anyio import fail_after
from anyio.from_thread import start_blocking_portal

from hub.amqp import connect
from hub.types import dead_letter_queue
from tests.support.server import ServerMissing, ServerProcess, answers, free_port

MISSING: Final = (
    "no rabbitmq-server on this machine: `apt-get install rabbitmq-server`, or point HUB_TEST_AMQP_URL at a RabbitMQ "
    "that tests may use (tests that kill their server need the installed one all the same)"
)

_SCRIPTS: Final = Path("/usr/lib/rabbitmq/bin")
"""RabbitMQ's own scripts. Those in /usr/sbin (Debian) change user and folder first, which a private node must not."""

_CONFIG: Final = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 1MB
raft.wal_max_size_bytes = 32000000
"""
_CLUSTER: Final = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {node}
cluster_formation.discovery_retry_interval = 500
"""
_MANAGEMENT: Final = """\
management.tcp.port = {port}
management.tcp.ip = 127.0.0.1
"""
_WITH_FILES: Final = """\
files=$(ulimit -H -n)
if [ "$files" = unlimited ] || [ "$files" -gt 65536 ]; then files=65536; fi
ulimit -n "$files"
exec "$0"
"""
"""Each quorum queue reserves three file descriptors. With the usual limit of 1024, a node with three hundred queues accepts
connections and does not answer on them."""

_AMQP_0_9_1: Final = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME_ON_CHANNEL_0: Final = b"\x01\x00\x00"


@final
class RabbitMQ:
    """One node with its own name, cookie, port mapper, data and ports, all on loopback, with no plugins by default.

    Methods block; see `tests.support.server.ServerProcess`.

    Args:
        folder: For its configuration, data and logs.
        settings: Of the Erlang application `rabbit`, for `advanced.config`: those that `rabbitmq.conf` does not have.
        joins: A running node whose cluster this one joins at its first start; they share port mapper and cookie.
        management: Whether it has the management API, at `management_url`.
        plugins: Names of further plugins.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, int] | None = None,
        *,
        joins: RabbitMQ | None = None,
        management: bool = False,
        plugins: Sequence[str] = (),
    ) -> None:
        self.port: Final = free_port()
        self.node: Final = f"hub{self.port}@localhost"
        mapper_port: int = free_port() if joins is None else joins.mapper_port
        self.mapper_port: Final[int] = mapper_port
        node_port = free_port()
        enabled = folder / "enabled_plugins"
        enabled.write_text(f"[{', '.join([*(['rabbitmq_management'] if management else []), *plugins])}].\n")
        management_port = free_port() if management else 0
        self.management_url: Final = f"http://guest:guest@127.0.0.1:{management_port}" if management else ""
        config = folder / "rabbitmq.conf"
        config.write_text(
            _CONFIG.format(port=self.port)
            + (_CLUSTER.format(node=joins.node) if joins else "")
            + (_MANAGEMENT.format(port=management_port) if management else "")
        )
        advanced = folder / "advanced.config"
        limits = ", ".join(f"{{{name}, {value}}}" for name, value in (settings or {}).items())
        advanced.write_text(f"[{{rabbit, [{limits}]}}].\n")
        cookie = folder / ".erlang.cookie"
        self._cookie: str = secrets.token_hex(16) if joins is None else joins._cookie
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        only_loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(enabled),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": only_loopback,
            "RABBITMQ_CTL_ERL_ARGS": only_loopback,
        }
        self._mapper: ServerProcess = (
            joins._mapper
            if joins
            else ServerProcess(
                [_program("epmd"), "-port", str(mapper_port), "-address", "127.0.0.1"],
                env=self._env,
                log=folder / "epmd.log",
                ready=lambda: answers(mapper_port, b"\x00\x01n", mapper_port.to_bytes(4, "big")),
            )
        )
        self._server = ServerProcess(
            ["/bin/sh", "-c", _WITH_FILES, _program("rabbitmq-server")],
            env=self._env,
            log=folder / "server.log",
            ready=lambda: answers(self.port, _AMQP_0_9_1, _METHOD_FRAME_ON_CHANNEL_0),
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def is_alive(self) -> bool:
        return self._server.is_alive()

    def start(self) -> None:
        """Returns once the broker answers on its port; a no-op while it runs."""
        self._mapper.start()
        self._server.start()

    def kill(self) -> None:
        """kill -9. Confirmed messages of durable queues are kept."""
        self._server.kill()

    def flush(self) -> None:
        """Makes the node write its list of queues to disk (takes seconds); call it after declarations and before `kill`.

        RabbitMQ's raft library flushes the table with the names of quorum queues some seconds late. After an earlier kill,
        a queue may elect no leader (seen with 3.10.8 and one node).
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def restart(self) -> None:
        """Kills and starts it: same port, same messages."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def ctl(self, *arguments: str) -> str:
        """Runs `rabbitmqctl` with `arguments` (takes seconds) and returns what it prints.

        Raises:
            AssertionError: It failed; the text has its output.
        """
        done = subprocess.run(
            [_program("rabbitmqctl"), "--quiet", "--node", self.node, *arguments],
            env=self._env,
            cwd=self._env["HOME"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        self._server.kill()
        self._mapper.kill()


def consumer_timeout_settings(
    consumer_timeout: float, *, tick: float = 0.5, dead_letter_retry: float = 180.0
) -> Mapping[str, int]:
    """Settings of a node that closes the channel of a consumer that does not settle a delivery in time.

    Args:
        consumer_timeout: Seconds that a delivery may stay unsettled; RabbitMQ's default is 30 minutes.
        tick: Seconds between two checks; RabbitMQ's default is a minute.
        dead_letter_retry: Seconds after which at-least-once dead-lettering repeats an unconfirmed publish; RabbitMQ's
            default is the same.
    """
    return {
        "consumer_timeout": round(consumer_timeout * 1000),
        "channel_tick_interval": round(tick * 1000),
        "dead_letter_worker_publisher_confirm_timeout": round(dead_letter_retry * 1000),
    }


def delete_queues(url: str, *models: str) -> None:
    """Deletes the queues of models, with their dead-letter queues, from a server that tests share.

    In an event loop of its own, so that it serves tests on either backend.
    """
    with start_blocking_portal() as portal:
        portal.call(_delete, url, [queue for model in models for queue in (model, dead_letter_queue(model))])


async def _delete(url: str, queues: Sequence[str]) -> None:
    with fail_after(30):
        async with connect(url) as connection, connection.channel() as channel:
            for queue in queues:
                await channel.delete_queue(queue)


@contextmanager
def rabbitmq(
    settings: Mapping[str, int] | None = None, *, management: bool = False, plugins: Sequence[str] = ()
) -> Iterator[RabbitMQ]:
    """Runs a new, empty RabbitMQ while the block runs.

    Args:
        settings: See `RabbitMQ`.
        management: See `RabbitMQ`.
        plugins: See `RabbitMQ`.

    Raises:
        ServerMissing: It is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="hub-rabbitmq-", ignore_cleanup_errors=True) as folder:
        server = RabbitMQ(Path(folder), settings, management=management, plugins=plugins)
        try:
            server.start()
            yield server
        finally:
            server.close()


@contextmanager
def rabbitmq_cluster(size: int = 3) -> Iterator[Sequence[RabbitMQ]]:
    """Runs a new, empty cluster of RabbitMQ nodes while the block runs; the first one is the seed of the others."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-rabbitmq-", ignore_cleanup_errors=True))
        )
        nodes: list[RabbitMQ] = []
        for number in range(size):
            place = folder / f"{number}"
            place.mkdir()
            nodes.append(RabbitMQ(place, joins=nodes[0] if nodes else None))
            stack.callback(nodes[-1].close)
        nodes[0].start()
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(RabbitMQ.start, nodes[1:]))
        nodes[0].ctl("await_online_nodes", f"{size}")
        yield nodes


def _program(name: str) -> str:
    own = _SCRIPTS / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise ServerMissing(MISSING)
    return found
