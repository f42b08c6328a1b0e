"""`hub bench` against a whole hub in this process, on both backends."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from typing import Any

import pytest
from anyio import fail_after, move_on_after, open_process, sleep

from hub.cli.client.bench import BenchPlan, run_bench
from hub.client.errors import GatewayError
from hub.settings.client import ClientSettings
from hub.types import ModelName
from tests.client.models import Echo
from tests.client.test_commands import HUB, environment

TIMEOUT = 60.0


def plan(
    model: str = "Echo",
    requests: Sequence[str] = ('{"messages":"hello"}',),
    *,
    rate: float | None = None,
    concurrency: int = 4,
    duration: float = 0.4,
    warm_up: float = 0.0,
) -> BenchPlan:
    return BenchPlan(
        model=ModelName(model),
        requests=[each.encode() for each in requests],
        rate=rate,
        concurrency=concurrency,
        duration=duration,
        warm_up=warm_up,
        timeout=None,
        retry_for=0.0,
    )


async def bench(url: str, of: BenchPlan, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the document."""
    with fail_after(TIMEOUT):
        code = await run_bench(ClientSettings(gateway_url=url), of, json_wanted=True)
    return code, printed(capsys)


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The document of the command, after what the hub in this process has logged."""
    document: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return document


def calls_by_outcome(document: dict[str, Any]) -> dict[str, int]:
    return {each["outcome"]: each["calls"] for each in document["outcomes"]}


async def test_each_call_of_a_bench_is_a_run_of_the_model(gateway_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Echo.runs
    code, document = await bench(gateway_url, plan(), capsys)

    assert code == 0
    assert calls_by_outcome(document) == {"succeeded": document["calls"]}
    assert Echo.runs - before == document["calls"] + 1, "the first call is not counted"
    assert document["answered_twice"] == 0


async def test_a_rate_is_kept_whatever_the_answers_take(gateway_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    slow = plan(requests=['{"messages":"0.2"}'], rate=50, concurrency=30, duration=0.6)
    code, document = await bench(gateway_url, slow, capsys)

    assert (code, document["calls"]) == (0, 30)
    assert document["outcomes"][0]["p50"] >= 200


async def test_latency_counts_from_when_a_call_was_due(gateway_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One connection and 0.2 s a call, ten calls a second: the second call waits 0.1 s, and half of them are never sent."""
    slow = plan(requests=['{"messages":"0.2"}'], rate=10, concurrency=1, duration=1.0)
    code, document = await bench(gateway_url, slow, capsys)

    found = calls_by_outcome(document)
    assert code == 1
    assert sum(found.values()) == document["calls"] == 10
    assert found["not_sent"] >= 4
    succeeded = next(each for each in document["outcomes"] if each["outcome"] == "succeeded")
    assert succeeded["max"] >= 500


async def test_errors_are_counted_by_their_code(gateway_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = plan(
        requests=['{"messages":"a"}', '{"messages":"!no"}', '{"nothing":1}'], rate=30, concurrency=15, duration=0.5
    )
    code, document = await bench(gateway_url, mixed, capsys)

    found = calls_by_outcome(document)
    assert code == 1
    assert set(found) == {"succeeded", "task_failed", "invalid_document"}
    assert set(found.values()) == {5}


async def test_a_streaming_model_is_called_for_all_of_its_chunks(
    gateway_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = await bench(gateway_url, plan("Count", ['{"messages":"3"}'], duration=0.1), capsys)

    assert (code, document["answered_twice"]) == (0, 0)
    assert calls_by_outcome(document) == {"succeeded": document["calls"]}


async def test_a_first_call_that_is_refused_ends_the_bench(gateway_url: str) -> None:
    with fail_after(TIMEOUT), pytest.raises(GatewayError) as refused:
        await run_bench(ClientSettings(gateway_url=gateway_url), plan("Ech"), json_wanted=True)

    assert refused.value.exit_code == 2


async def test_a_bench_that_is_cancelled_prints_what_there_is_and_cancels_its_tasks(
    gateway_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = ['{"messages":"a"}', *['{"messages":"30"}'] * 3]
    with fail_after(TIMEOUT):
        with move_on_after(1.0) as scope:
            await run_bench(
                ClientSettings(gateway_url=gateway_url), plan(requests=requests, duration=20), json_wanted=True
            )
    document = printed(capsys)

    assert scope.cancelled_caught
    assert calls_by_outcome(document)["interrupted"] == 4
    assert document["calls"] == sum(calls_by_outcome(document).values())


async def test_ctrl_c_ends_the_command_with_its_document(gateway_url: str) -> None:
    command = [HUB, "bench", "Echo", '{"messages":"0.01"}', "--duration", "60", "--warm-up", "0"]
    before = Echo.runs
    with fail_after(TIMEOUT):
        async with await open_process(command, env=environment(gateway_url)) as process:
            while Echo.runs < before + 50:
                await sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert process.stderr is not None
            output = b"".join([part async for part in process.stdout])
            errors = b"".join([part async for part in process.stderr])
            code = await process.wait()

    assert (code, errors.decode().strip()) == (1, "hub: interrupted")
    assert calls_by_outcome(json.loads(output))["succeeded"] >= 20
