from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import rabbitmq as rabbitmq_module
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.server import ServerDied, ServerMissing, ServerProcess, answers

_HELLO = b"AMQP\x00\x00\x09\x01"


def test_a_killed_redis_restarts_on_its_port_with_its_data(private_redis: Redis) -> None:
    private_redis.ctl("set", "test:kept", "yes")
    port = private_redis.port

    private_redis.kill()

    assert not private_redis.is_alive()
    assert not answers(port, b"PING\r\n", b"+PONG")
    private_redis.start()
    assert private_redis.port == port
    assert private_redis.ctl("get", "test:kept").strip() == "yes"


def test_a_private_redis_is_empty_at_the_start_of_each_test(private_redis: Redis) -> None:
    assert private_redis.ctl("dbsize").strip() == "0"


def test_a_frozen_redis_answers_only_after_it_is_thawed(private_redis: Redis) -> None:
    private_redis.freeze()

    assert private_redis.is_alive()
    assert not answers(private_redis.port, b"PING\r\n", b"+PONG")
    private_redis.thaw()
    assert answers(private_redis.port, b"PING\r\n", b"+PONG")


def test_a_rabbitmq_is_frozen_killed_and_restarted_on_its_port(private_rabbitmq: RabbitMQ) -> None:
    private_rabbitmq.ctl("add_vhost", "kept")
    private_rabbitmq.freeze()
    assert private_rabbitmq.is_alive()
    assert not answers(private_rabbitmq.port, _HELLO, b"\x01")
    private_rabbitmq.thaw()
    assert answers(private_rabbitmq.port, _HELLO, b"\x01")

    private_rabbitmq.kill()

    assert not private_rabbitmq.is_alive()
    assert not answers(private_rabbitmq.port, _HELLO, b"\x01")
    private_rabbitmq.start()
    assert "kept" in private_rabbitmq.ctl("list_vhosts").split()


@pytest.mark.parametrize(
    ("make", "package", "variable"),
    [
        pytest.param(RabbitMQ, "rabbitmq-server", "HUB_TEST_AMQP_URL", id="rabbitmq"),
        pytest.param(Redis, "redis-server", "HUB_TEST_REDIS_URL", id="redis"),
    ],
)
def test_a_server_that_is_not_installed_fails_with_both_repairs(
    make: Callable[[Path], object],
    package: str,
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rabbitmq_module, "_SCRIPTS", tmp_path)

    with pytest.raises(ServerMissing) as missing:
        make(tmp_path)

    assert f"apt-get install {package}" in str(missing.value)
    assert variable in str(missing.value)


def test_a_server_that_ends_at_once_fails_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = ServerProcess(
        ["/bin/sh", "-c", "echo no space left on device; exit 1"],
        env=os.environ,
        log=tmp_path / "log",
        ready=lambda: False,
    )

    with pytest.raises(ServerDied, match="no space left on device"):
        server.start()


def test_a_server_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from tests.support.server import ServerProcess
server = ServerProcess(["sleep", "1000"], env=os.environ, log=Path(sys.argv[1]), ready=lambda: True)
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, check=False
    )
    process = int(done.stdout)

    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return  # the watchdog was faster
    try:
        assert select.select([handle], [], [], 20)[0], "the server still runs"
    finally:
        os.close(handle)


def test_the_history_of_an_emptied_redis_is_short(private_redis: Redis) -> None:
    private_redis.ctl("eval", "for i = 1, 20 do redis.call('set', i, string.rep('x', 1000000)) end", "0")
    assert "aof_current_size:20" in private_redis.ctl("info", "persistence")

    private_redis.empty()

    assert "aof_current_size:20" not in private_redis.ctl("info", "persistence")
