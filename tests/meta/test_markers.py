"""Markers that fixtures and folders set, and what starts a server without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest
from tests.support.markers import SLOW, UndeclaredServer, is_slow, markers_of, starts
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


def test_slow_files_and_folders_exist() -> None:
    assert [each for each in SLOW if not (Path(__file__).parents[1] / each).exists()] == []


def test_files_are_put_in_the_order_of_their_estimates(request: pytest.FixtureRequest) -> None:
    """Pytest takes a function for a hook only if its name begins with `pytest_`, whatever its decorator says."""
    hooks = request.config.pluginmanager.hook.pytest_collection_modifyitems.get_hookimpls()

    assert conftest.pytest_longest_files_first in [each.function for each in hooks]
    assert [name for name in conftest.SECONDS_OF_FILES if not (Path(conftest.__file__).parent / name).exists()] == []


def test_a_file_is_slow_by_its_name_or_folder() -> None:
    assert is_slow("system/test_metrics.py")
    assert is_slow("model/test_exits.py")
    assert not is_slow("systems/test_metrics.py")
    assert not is_slow("model/test_exits_of_others.py")


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
