"""The markers of tests that need a server or start processes. Fixtures and folders set them, so tests need not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SLOW: Final = (
    "brokers/test_delays.py",
    "brokers/test_deleted_queues.py",
    "browser",
    "cli/test_doctor.py",
    "cli/test_doctor_rabbitmq.py",
    "cli/test_doctor_redis.py",
    "cli/test_generate.py",
    "cli/test_schema.py",
    "cli/test_watch.py",
    "client/test_bench.py",
    "client/test_calls.py",
    "client/test_commands.py",
    "client/test_gateway_killed.py",
    "client/test_generate.py",
    "clients",
    "concurrency/test_process.py",
    "contract/test_against_json_format.py",
    "contract/test_rules_conformance.py",
    "deploy",
    "described",
    "docs/test_proxy.py",
    "docs/test_run.py",
    "docs/test_servers.py",
    "docs/test_site.py",
    "examples",
    "foreign",
    "gateway/test_batch_flow.py",
    "gateway/test_batches.py",
    "gateway/test_chunks_redis.py",
    "gateway/test_congestion.py",
    "gateway/test_disconnect.py",
    "gateway/test_hostile_documents.py",
    "gateway/test_lost_waits.py",
    "gateway/test_strange_headers.py",
    "gateway/test_task_headers.py",
    "http/test_connections.py",
    "meta/test_distribution.py",
    "meta/test_files.py",
    "meta/test_peers.py",
    "meta/test_scripts.py",
    "meta/test_supply.py",
    "model/calls",
    "model/test_batches.py",
    "model/test_batches_in_processes.py",
    "model/test_busy_models.py",
    "model/test_exits.py",
    "model/test_process_pool.py",
    "model/test_responses.py",
    "model/test_streams.py",
    "model/test_worker_processes.py",
    "observability",
    "observability/test_watchdog.py",
    "registry/test_http.py",
    "registry/test_service.py",
    "registry/test_watch.py",
    "system",
)
"""Folders and files below `tests` whose tests start processes, or take longest: more than 5 s a file."""

WITHOUT_SLOW: Final = "not (rabbitmq or redis or browser or slow)"
"""The `-m` of `make test-fast`."""

_of_fixture: Final[dict[str, tuple[str, ...]]] = {}
_running_test: frozenset[str] | None = None


class UndeclaredServer(Exception):
    """A test started a server without the marker for it, so `make test-fast` would not leave it out."""


def is_slow(path: str) -> bool:
    """Whether a file, relative to `tests`, is in `SLOW`."""
    return any(path == each or path.startswith(f"{each}/") for each in SLOW)


def starts(*markers: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator of a fixture, below `@pytest.fixture`: tests that use the fixture get `markers`."""

    def register(fixture: Callable[P, T]) -> Callable[P, T]:
        _of_fixture[fixture.__name__] = markers
        return fixture

    return register


def markers_of(fixtures: Collection[str]) -> frozenset[str]:
    """Markers of a test that uses these fixtures, directly or through others."""
    return frozenset(marker for fixture in fixtures for marker in _of_fixture.get(fixture, ()))


def set_running_test(markers: Collection[str] | None) -> None:
    """Sets the markers of the test that runs now; `None` between tests."""
    global _running_test  # noqa: PLW0603 - one test runs at a time
    _running_test = None if markers is None else frozenset(markers)


def check_declared(program: str, programs: Mapping[str, str]) -> None:
    """Checks that the running test has the marker for `program`; a no-op outside tests.

    Args:
        program: Name of the program that is about to be started.
        programs: The marker that each program needs; others need none.

    Raises:
        UndeclaredServer: The running test does not have it.
    """
    marker = programs.get(program)
    if marker is not None and _running_test is not None and marker not in _running_test:
        raise UndeclaredServer(
            f"this test starts {program}: take the fixture that starts it, or mark the test with pytest.mark.{marker}"
        )
