"""Redis servers that a test run starts itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from redis import client

from tests.support.server import ServerMissing, ServerProcess, answers, free_port

MISSING: Final = (
    "no redis-server on this machine: `apt-get install redis-server`, or point HUB_TEST_REDIS_URL at a Redis "
    "that tests may use (tests that kill their server need the installed one all the same)"
)

LONG_HISTORY: Final = 1_000_000
"""Bytes of an append-only file above which a restarted server would refuse calls for a moment, while it loads them."""

REWRITE_TIMEOUT: Final = 30.0


@final
class Redis:
    """One server on loopback. Methods block; see `tests.support.server.ServerProcess`.

    Args:
        folder: For its data and log.
        appendonly: Whether each write is on disk before its reply, so that it survives `kill`.
    """

    def __init__(self, folder: Path, *, appendonly: bool = False) -> None:
        self.port: Final = free_port()
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
        }
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        self._server = ServerProcess(
            [
                _program("redis-server"),
                *(argument for name, value in options.items() for argument in (f"--{name}", value)),
            ],
            env=self._env,
            log=folder / "server.log",
            ready=lambda: answers(self.port, b"PING\r\n", b"+PONG"),
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def is_alive(self) -> bool:
        return self._server.is_alive()

    def start(self) -> None:
        """Returns once the server answers, with its data loaded; a no-op while it runs."""
        self._server.start()

    def kill(self) -> None:
        """kill -9."""
        self._server.kill()

    def restart(self) -> None:
        """Kills and starts it: same port; the same data if it is `appendonly`."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def empty(self) -> None:
        """Removes all keys, and the history in the append-only file if loading it would take long."""
        self.ctl("flushall")
        if _figure(self.ctl("info", "persistence"), "aof_current_size") > LONG_HISTORY:
            self.ctl("bgrewriteaof")
            until = time.monotonic() + REWRITE_TIMEOUT
            while time.monotonic() < until:
                info = self.ctl("info", "persistence")
                if not _figure(info, "aof_rewrite_in_progress") and not _figure(info, "aof_rewrite_scheduled"):
                    return
                time.sleep(0.02)
            raise AssertionError("Redis did not rewrite its append-only file in time")

    def ctl(self, *arguments: str) -> str:
        """Runs `redis-cli` with `arguments` and returns what it prints.

        Raises:
            AssertionError: It failed; the text has its output.
        """
        done = subprocess.run(
            [_program("redis-cli"), "-e", "-p", str(self.port), *arguments],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, f"redis-cli {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        self._server.kill()


@contextmanager
def redis(*, appendonly: bool = False) -> Iterator[Redis]:
    """Runs a new, empty Redis while the block runs.

    Raises:
        ServerMissing: It is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="hub-redis-", ignore_cleanup_errors=True) as folder:
        server = Redis(Path(folder), appendonly=appendonly)
        try:
            server.start()
            yield server
        finally:
            server.close()


def emptied(url: str, database: int) -> str:
    """The URL of a numbered database of a server that tests share, after flushing it: for tests that list all its keys."""
    own = f"{url.rstrip('/')}/{database}"
    with client.Redis.from_url(own) as connection:
        connection.flushdb()
    return own


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServerMissing(MISSING)
    return found


def _figure(info: str, name: str) -> int:
    return next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith(f"{name}:"))
