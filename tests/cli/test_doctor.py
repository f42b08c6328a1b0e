"""Each finding of `hub doctor` about ports, settings, registry and gateway that can be produced."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after

from examples.model_a import ModelA
from hub.cli.doctor.commands import as_json, finding_text, summary
from hub.cli.doctor.examination import examine, settings_of
from hub.cli.doctor.findings import Finding, Status
from hub.cli.up import UpSummary, run_up
from hub.settings.tools import DoctorSettings
from hub.settings.up import UpSettings
from tests.cli.doctor import HOUR, TIME_LIMIT, difference, examined, problems, status
from tests.registry.fixtures import served_registry
from tests.support.server import free_port


async def test_an_embedded_hub_has_no_problems() -> None:
    found = await examined()
    assert {each.status for each in found} == {Status.OK}
    assert {each.area for each in found} == {"process", "settings", "ports", "broker", "store", "directory"}
    assert status(found, "python")[1].startswith("CPython 3.")


def test_defaults_are_those_of_the_component() -> None:
    given = DoctorSettings(store_url="redis://h/1")
    for_gateway = settings_of("gateway", given, {"store_url": "environment HUB_STORE_URL"})
    assert for_gateway.broker_url.startswith("amqp://")
    assert for_gateway.store_url == "redis://h/1"
    assert settings_of("up", given, {"store_url": "x"}).broker_url == "memory://"


def test_every_finding_has_its_lines_and_its_place_in_the_document() -> None:
    found = [
        Finding(area="broker", check="alarms", status=Status.PROBLEM, message="low on [memory]", repair="buy some"),
        Finding(area="store", check="memory", status=Status.OK, message="1 MiB"),
        Finding(area="store", check="eviction", status=Status.WARNING, message="m", repair="r"),
    ]
    assert finding_text(found[0]).plain.splitlines() == [
        "broker    problem   low on [memory]",
        "                    repair: buy some",
    ]
    assert summary(found) == "1 problem, 1 warning"
    assert summary(found[1:2]) == "no problems"
    assert as_json("up", found, [])["ok"] is False
    assert as_json("up", found[1:], [])["ok"] is True


@pytest.fixture
def taken() -> Generator[int]:
    """A port of another program, which accepts connections and sends nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


async def test_ports_are_free_or_held_by_another_program(taken: int) -> None:
    found = await examined(gateway_port=taken, registry_port=free_port())
    assert status(found, "registry", "ports")[0] is Status.OK
    found_status, text = status(found, "gateway", "ports")
    assert found_status is Status.PROBLEM
    assert f"127.0.0.1:{taken}" in text
    assert "HUB_GATEWAY_PORT" in text
    given = DoctorSettings(gateway_port=0, registry_port=0, dashboard_port=taken)
    with fail_after(TIME_LIMIT):
        by_default = await examine("up", given, {})
        asked_for = await examine("up", given, {"dashboard_port": "hub.toml"})
    assert status(by_default, "dashboard")[0] is Status.WARNING
    assert status(asked_for, "dashboard")[0] is Status.PROBLEM


async def test_an_address_that_cannot_be_used_is_named() -> None:
    found = await examined(gateway_host="256.0.0.1", gateway_port=1, api_keys="k")
    assert "HUB_GATEWAY_HOST" in status(found, "gateway", "ports")[1]
    exposed = await examined(registry_host="0.0.0.0")
    found_status, text = status(exposed, "listen")
    assert found_status is Status.PROBLEM
    assert "HUB_TOKEN" in text


async def test_memory_is_a_problem_for_processes_that_share() -> None:
    found = await examined("gateway", broker_url="memory://", store_url="memory://", registry_url="http://127.0.0.1:1")
    assert status(found, "servers")[0] is Status.PROBLEM
    assert "hub up" in status(found, "servers")[1]


async def test_a_readable_file_with_secrets_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub.toml").write_text("token = 'abcdefgh'")
    (tmp_path / "hub.toml").chmod(0o644)
    assert status(await examined(), "secrets")[0] is Status.WARNING


async def test_a_registry_is_checked_with_its_token_and_clock() -> None:
    async with served_registry(token="the right one") as registry:
        ask = partial(examined, "model", registry_url=registry.url, broker_url="memory://", store_url="memory://")
        good = await ask(token="the right one")
        bad = await ask(token="wrong")
        late = await ask(token="the right one", shift=-HOUR)
        slightly = await ask(token="the right one", shift=5.0)
    assert status(good, "reachable", "registry")[0] is Status.OK
    assert status(good, "clock", "registry")[0] is Status.OK
    assert status(bad, "reachable", "registry")[0] is Status.PROBLEM
    assert "HUB_TOKEN" in status(bad, "reachable", "registry")[1]
    assert status(late, "clock", "registry")[0] is Status.PROBLEM
    assert difference(status(late, "clock", "registry")[1]) == pytest.approx(HOUR, abs=TIME_LIMIT)
    assert status(slightly, "clock", "registry")[0] is Status.WARNING


async def test_a_registry_that_is_down() -> None:
    ask = partial(examined, "model", broker_url="memory://", store_url="memory://")
    down = await ask(registry_url="http://127.0.0.1:1")
    assert status(down, "reachable", "registry")[0] is Status.PROBLEM
    assert "HUB_REGISTRY_URL=http://127.0.0.1:1" in status(down, "reachable", "registry")[1]


async def test_a_running_hub_is_recognized_and_checked() -> None:
    given = UpSettings(gateway_port=free_port(), registry_port=free_port(), dashboard_port=0, api_keys="a-key,b-key")
    ports: dict[str, Any] = {"gateway_port": given.gateway_port, "registry_port": given.registry_port}
    with fail_after(TIME_LIMIT):
        async with anyio.create_task_group() as tg:
            up: UpSummary = await tg.start(run_up, [ModelA], given)
            found = await examined(**ports, api_key="a-key")
            without = await examined(**ports)
            swapped = await examined(gateway_url=up.registry_url)
            tg.cancel_scope.cancel()
    assert "registry of hub" in status(found, "registry", "ports")[1]
    assert "gateway of hub" in status(found, "gateway", "ports")[1]
    assert "1 of them are up" in status(found, "reachable", "registry")[1]
    assert status(found, "health", "gateway")[0] is Status.OK
    assert problems(found) == []
    assert status(without, "key", "gateway")[0] is Status.PROBLEM
    assert "HUB_API_KEY" in status(without, "key", "gateway")[1]
    assert "no gateway of hub" in status(swapped, "reachable", "gateway")[1]
    down = await examined(gateway_url="http://127.0.0.1:1")
    assert "out of reach" in status(down, "reachable", "gateway")[1]
