"""Markers that fixtures and folders set, and what starts a server without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.markers import UndeclaredServer, markers_of, starts
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import redis
from tests.support.server import ServerProcess

SERVERS = {"rabbitmq", "redis", "browser", "slow", "kills_servers"}


def markers(request: pytest.FixtureRequest) -> set[str]:
    return {marker.name for marker in request.node.iter_markers()} & SERVERS


def test_a_test_with_no_fixture_of_a_server_has_no_marker(request: pytest.FixtureRequest) -> None:
    assert markers(request) == set()


@pytest.mark.usefixtures("redis_url")
def test_a_test_of_the_shared_redis_is_marked(request: pytest.FixtureRequest) -> None:
    assert markers(request) == {"redis"}


@pytest.mark.usefixtures("private_redis")
def test_a_test_that_may_kill_redis_is_marked_so(request: pytest.FixtureRequest) -> None:
    assert markers(request) == {"redis", "kills_servers"}


def test_fixtures_give_their_markers_through_others() -> None:
    @starts("redis", "slow")
    def fixture_of_this_test() -> None: ...

    assert fixture_of_this_test() is None
    assert markers_of(["tmp_path", "fixture_of_this_test", "amqp_url"]) == {"redis", "slow", "rabbitmq"}


def test_redis_does_not_start_in_a_test_without_its_marker() -> None:
    with pytest.raises(UndeclaredServer, match=r"redis-server.*pytest\.mark\.redis"), redis():
        pass


def test_rabbitmq_does_not_start_in_a_test_without_its_marker(tmp_path: Path) -> None:
    server = RabbitMQ(tmp_path)
    try:
        with pytest.raises(UndeclaredServer, match=r"pytest\.mark\.rabbitmq"):
            server.start()
    finally:
        server.close()


def test_other_programs_need_no_marker(tmp_path: Path) -> None:
    process = ServerProcess(["/bin/sleep", "60"], env={}, log=tmp_path / "log", ready=lambda: True)
    try:
        process.start()
        assert process.is_alive()
    finally:
        process.kill()
