"""`hub models`, `hub instances` and `hub top`, over real servers and embedded, on a terminal and piped."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio import fail_after
from anyio.to_thread import run_sync

from examples.model_a import ModelA
from hub.cli.terminal import console
from hub.cli.up import UpSummary, run_up
from hub.cli.watch.listing import instances_table, models_table
from hub.cli.watch.top import GatewayOverview, OverviewSource, RegistryOverview, view
from hub.errors import ConnectionLost, ConnectionRefused
from hub.gateway.schemas import OverviewBody
from hub.http.client import open_client
from hub.registry.client.client import RegistryClient
from hub.registry.client.schemas import InstanceBody, ModelBody
from hub.settings.up import UpSettings
from hub.types import InstanceState, wall_clock
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied

TIME_LIMIT: Final = 60.0
ROOT: Final = Path(__file__).parents[2]
HUB: Final = Path(sys.executable).with_name("hub")


@asynccontextmanager
async def running(**settings: Any) -> AsyncGenerator[UpSummary]:
    given = UpSettings(
        gateway_port=0,
        registry_port=0,
        dashboard_port=0,
        ping_period=0.5,
        ping_timeout=0.45,
        depth_period=0.1,
        **settings,
    )
    async with anyio.create_task_group() as tg:
        yield await tg.start(run_up, [ModelA], given)
        tg.cancel_scope.cancel()


async def reading_with_work(source: OverviewSource) -> OverviewBody:
    """The first reading in which the rates show the tasks that have ended; counters come with pings."""
    while True:
        reading = await source.read()
        work = reading.models[0].work
        if work is not None and work.finished_per_second and work.run.p50 is not None:
            return reading
        await anyio.sleep(0.05)


async def check_readings(up: UpSummary, *, token: str = "") -> None:
    async with open_client() as http:
        registry = RegistryOverview(RegistryClient(up.registry_url, http, token=token))
        gateway = GatewayOverview(http, up.gateway_url, "")
        for source in (registry, gateway):
            while (await source.read()).models[0].work is None:  # a gateway asks for the counters every two seconds
                await anyio.sleep(0.05)
        for _ in range(3):
            reply = await http.post(f"{up.gateway_url}/v1/models/ModelA", json={"messages": "hi"})
            assert reply.status_code == 200, reply.text
        for source in (registry, gateway):
            reading = await reading_with_work(source)
            (model,) = reading.models
            assert (model.name, model.live, model.instances, model.active) == ("ModelA", 1, 1, True)
            assert model.queue is not None
            assert (model.queue.ready, model.queue.dead, model.queue.consumers) == (0, 0, 1)
            assert model.work is not None
            assert model.work.failed == 0
            shown = view(source.server, reading, None)
            assert source.server in str(shown.renderables[0])


async def test_registry_and_gateway_show_the_same_when_embedded() -> None:
    with fail_after(TIME_LIMIT):
        async with running() as up:
            await check_readings(up)


async def test_registry_and_gateway_show_the_same_over_real_servers(amqp_url: str, redis_url: str) -> None:
    url = emptied(redis_url, 11)
    with fail_after(TIME_LIMIT):
        async with running(broker_url=amqp_url, store_url=url, directory_url=url, token="t" * 8) as up:
            await check_readings(up, token="t" * 8)
    await run_sync(delete_queues, amqp_url, "ModelA")


async def test_a_server_that_is_down_refuses_or_is_another_one() -> None:
    with fail_after(TIME_LIMIT):
        async with running(api_keys="right-one") as up, open_client() as http:
            with pytest.raises(ConnectionRefused, match=r"does not accept the key \(401\): set HUB_API_KEY"):
                await GatewayOverview(http, up.gateway_url, "wrong").read()
            with pytest.raises(ConnectionRefused, match="no gateway of hub"):
                await GatewayOverview(http, up.registry_url, "").read()
            assert (await GatewayOverview(http, up.gateway_url, "right-one").read()).models
        async with open_client() as http:
            with pytest.raises(ConnectionLost):
                await GatewayOverview(http, up.gateway_url, "right-one").read()


INSTANCE: Final = InstanceBody(
    id="01a21df4-941e-76bb-9907-ed1f1f84a71b",
    model="Evil\x1b[31m",
    url="http://h:1",
    fingerprint="f" * 64,
    state=InstanceState.SUSPECT,
    reason="no \x07answer",
    misses=1,
    logged_in_at=0.0,
    answered_at=None,
)
MODEL: Final = ModelBody(
    name="Evil\x1b[31m", active=False, fingerprint="f" * 64, request="a.B", response="a.C", instances=(INSTANCE,)
)


def test_texts_of_others_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print(models_table((MODEL,), wide=True))
    out.print(instances_table([INSTANCE], now=wall_clock()))
    overview = OverviewBody(at=datetime.now(UTC), registry=False, broker=True, figures=True, models=())
    out.print(view("registry\x1b[2J", overview, ConnectionLost("x", "\x1b[2Jdown")))
    out.print(view("registry", None, ConnectionLost("x", "\x1b[2Jdown")))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "not up to date: registry" in shown


# Processes


def environment(up: UpSummary, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR"):
        kept.pop(name, None)
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "HUB_REGISTRY_URL": up.registry_url} | more


def piped(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HUB), *arguments], env=env, capture_output=True, text=True, check=False, timeout=TIME_LIMIT
    )


def on_a_terminal(arguments: Sequence[str], env: Mapping[str, str], *, interrupt_at: str = "") -> tuple[int, str]:
    """The exit code and the output of a command on a terminal; it gets SIGINT when its output has `interrupt_at`."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([str(HUB), *arguments], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the end, on Linux
                break
            if not part:
                break
            shown += part
            if interrupt_at and interrupt_at.encode() in shown:
                interrupt_at = ""
                process.send_signal(signal.SIGINT)
        os.close(ours)
    return process.returncode, shown.decode()


async def test_output_is_a_table_on_a_terminal_and_json_elsewhere(anyio_backend_name: str) -> None:
    backend = {"HUB_BACKEND": anyio_backend_name}
    with fail_after(2 * TIME_LIMIT):
        async with running() as up:
            env = environment(up, **backend)
            models = await run_sync(piped, ["models"], env)
            instances = await run_sync(piped, ["instances", "ModelA"], env)
            lines = await run_sync(piped, ["top", "--count", "2", "--period", "0.1"], env)
            by_gateway = await run_sync(piped, ["top", "--count", "1"], env | {"HUB_GATEWAY_URL": up.gateway_url})
            code, table = await run_sync(on_a_terminal, ["models"], env)
            plain_code, plain = await run_sync(on_a_terminal, ["instances"], env | {"NO_COLOR": "1"})
            top_code, live = await run_sync(
                lambda: on_a_terminal(["top", "--period", "0.1"], env, interrupt_at="ModelA")
            )
    assert [each["name"] for each in json.loads(models.stdout)["models"]] == ["ModelA"]
    assert [each["state"] for each in json.loads(instances.stdout)["instances"]] == ["live"]
    assert [json.loads(line)["models"][0]["live"] for line in lines.stdout.splitlines()] == [1, 1]
    assert json.loads(by_gateway.stdout)["models"][0]["name"] == "ModelA"
    assert (code, plain_code, top_code) == (0, 0, 0), live
    assert "\x1b[32mup" in table
    assert "1 of 1" in table
    assert "live" in plain
    assert "\x1b[3" not in plain
    assert "done/s" in live
    assert "Traceback" not in live


async def test_the_end_of_a_reader_or_a_server_is_no_crash() -> None:
    with fail_after(2 * TIME_LIMIT):
        async with running() as up:
            env = environment(up)
            command = f"{HUB} top --period 0.1 | head -1; echo ${{PIPESTATUS[0]}}"
            done = await run_sync(
                lambda: subprocess.run(
                    ["/bin/bash", "-c", command],
                    env=env,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=TIME_LIMIT,
                )
            )
            document, code = done.stdout.splitlines()
            assert (json.loads(document)["registry"], code, done.stderr) == (True, "0", "")
            left = await anyio.open_process([str(HUB), "top", "--period", "0.1"], env=env, stderr=subprocess.DEVNULL)
            assert left.stdout is not None
            first = await left.stdout.receive()
        assert b'"registry":true' in first
        seen = b""
        while b'"error":"' not in seen:
            seen += await left.stdout.receive()
        left.terminate()
        assert await left.wait() == 0
        await left.aclose()
        down = await run_sync(piped, ["top"], env)
        assert (down.returncode, down.stdout) == (3, "")
        assert f"HUB_REGISTRY_URL={up.registry_url}" in down.stderr
        assert "check that it runs" in down.stderr


def test_top_of_a_gateway_that_is_down_names_its_setting() -> None:
    summary = UpSummary(registry_url="", gateway_url="", dashboard_url="", models=[], embedded=True, seconds=0.0)
    env = environment(replace(summary, registry_url="http://127.0.0.1:1"), HUB_GATEWAY_URL="http://127.0.0.1:9")
    down = piped(["top"], env)
    assert down.returncode == 3
    assert "HUB_GATEWAY_URL=http://127.0.0.1:9" in down.stderr
