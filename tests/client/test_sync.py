"""The client without `await`: in threads, and in a thread whose event loop runs, as in a notebook."""

from __future__ import annotations

import signal
import sys
from functools import partial
from subprocess import DEVNULL

import pytest
from anyio import fail_after, open_process, run_process, sleep
from anyio.to_thread import run_sync

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.client import InvalidRequest, ModelFailed
from hub.types import TaskState
from tests.client.models import Count, Echo, Endless

TIMEOUT = 60.0


def everything(url: str) -> None:
    with hub.SyncClient(url) as client:
        assert client.call(Echo, ModelARequest(messages="a")) == ModelAResponse(reply="a")
        assert client.call("Echo", {"messages": "b"}) == {"reply": "b"}
        assert client.call("Echo", ModelARequest(messages="c"), ModelAResponse).reply == "c"
        with pytest.raises(ModelFailed, match="no"):
            client.call(Echo, ModelARequest(messages="!no"))
        handle = client.submit(Echo, ModelARequest(messages="0.3"), timeout=20)
        states = [snapshot.state for snapshot in handle.events()]
        assert states[-1] is handle.wait().state is TaskState.SUCCEEDED
        assert handle.result().reply == "0.3"
        assert client.task(handle.id).result() == {"reply": "0.3"}
        assert handle.cancel() == handle.status()
        assert [chunk.reply for chunk in client.stream(Count, {"messages": "3"})] == ["1-1", "1-2", "1-3"]
        with client.stream(Count, ModelARequest(messages="100000")) as stream:
            next(stream)
        assert client.task(stream.task).wait().state is TaskState.CANCELLED
        answers = list(client.batch(Echo, [ModelARequest(messages="x"), {"bad": 1}]))
        assert answers[0].task is not None
        assert answers[0].task.result().reply == "x"
        assert isinstance(answers[1].error, InvalidRequest)
        assert "Echo" in {model.name for model in client.models()}
    assert client.call(Echo, {"messages": "again"}).reply == "again"  # a closed client opens again
    client.close()
    client.close()


async def test_everything_works_without_await(gateway_url: str) -> None:
    with fail_after(TIMEOUT):
        await run_sync(partial(everything, gateway_url))


async def test_a_cell_of_a_notebook_may_block_its_loop_and_the_process_ends_without_close(gateway_url: str) -> None:
    code = (
        "import asyncio, sys, hub\n"
        "async def cell():\n"
        "    client = hub.SyncClient(sys.argv[1])\n"
        "    print(client.call('Echo', {'messages': 'hello'}))\n"
        "asyncio.run(cell())\n"
    )
    with fail_after(TIMEOUT):
        done = await run_process([sys.executable, "-c", code, gateway_url], check=False)
    assert done.stdout.decode() == "{'reply': 'hello'}\n", done.stderr.decode()
    assert done.returncode == 0


async def test_an_interrupted_call_cancels_its_task_before_the_process_ends(gateway_url: str) -> None:
    # A shell without job control has its background processes, and their children, ignore SIGINT.
    code = (
        "import signal, sys, hub\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "hub.SyncClient(sys.argv[1]).call('Endless', {})"
    )
    runs, left = Endless.runs, Endless.left
    with fail_after(TIMEOUT):
        async with await open_process([sys.executable, "-c", code, gateway_url], stderr=DEVNULL) as process:
            while Endless.runs == runs:
                await sleep(0.02)
            process.send_signal(signal.SIGINT)
            await process.wait()
        while Endless.left == left:
            await sleep(0.02)
