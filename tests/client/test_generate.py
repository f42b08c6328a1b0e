"""`hub client generate` as a process: the package calls the models of a running hub, and follows their contracts."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, new_class
from typing import Any

import pytest
from anyio import EndOfStream, create_task_group, create_tcp_listener, fail_after
from anyio.abc import SocketAttribute, SocketStream
from anyio.to_thread import run_sync
from google.protobuf.message import Message

import hub as hub_package
from examples.model_a import ModelA
from examples.model_a.v1 import model_a_pb2
from examples.writer import Writer
from hub.cli.proto.compiler import compile_files
from hub.cli.up import run_up
from hub.client import ModelFailed
from hub.concurrency.services import background_service
from hub.contract.descriptors.pool import build_pool
from hub.settings.up import UpSettings
from tests.cli.results import CommandResult
from tests.client.test_commands import hub
from tests.support.server import free_port

TIMEOUT = 100.0
PAGE = Path(__file__).parents[2] / "docs" / "client.md"
DOCUMENTED = "http://127.0.0.1:8000"

NOT_A_HUB = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

GROWING = 'syntax = "proto3";\npackage grow.v1;\nmessage Ask {{ string text = 1; {more} }}\n{other}\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package in `tmp_path`, from where it can be imported; a module is imported once in a process."""
    monkeypatch.syspath_prepend(tmp_path)
    return f"generated_in_{tmp_path.name}"


async def generate(url: str, out: Path, package: str, *more: str) -> CommandResult:
    with fail_after(TIMEOUT):
        return await hub(url, "client", "generate", "--out", str(out), "--package", package, *more)


async def test_a_generated_package_calls_the_models(gateway_url: str, tmp_path: Path, package: str) -> None:
    done = await generate(gateway_url, tmp_path, package)
    assert (done.code, done.err) == (0, "")
    assert f"Echo -> {tmp_path / package / 'echo'}.py: Echo, SyncEcho" in done.out
    models, echo = import_module(package), import_module(f"{package}.echo")
    assert echo.Request is not model_a_pb2.ModelARequest, "the descriptors are apart from those of the model"
    assert echo.Request is import_module(f"{package}.count").Request, "models share their messages"
    with fail_after(TIMEOUT):
        async with hub_package.Client(gateway_url) as client:
            await call_all(models.Models(client), echo)
        await run_sync(partial(call_all_without_await, gateway_url, models, echo))


async def call_all(models: Any, echo: ModuleType) -> None:
    reply = await models.echo.call(echo.ModelARequest(messages="a"))
    assert (type(reply), reply.reply) == (echo.Response, "a")
    handle = await models.echo.submit({"messages": "b"}, timeout=30)
    assert (await handle.result()).reply == "b"
    assert (await models.echo.task(handle.id).result()).reply == "b"
    with pytest.raises(ModelFailed, match="no"):
        await models.echo.call(echo.Request(messages="!no"))
    chunks = [chunk.reply async for chunk in models.count.stream(echo.Request(messages="3"))]
    assert chunks == ["1-1", "1-2", "1-3"]
    answers = [answer async for answer in models.echo.batch([echo.Request(messages="c"), {"bad": 1}])]
    assert (await answers[0].task.result()).reply == "c"
    assert answers[1].error.code == "invalid_document"


def call_all_without_await(url: str, models: ModuleType, echo: ModuleType) -> None:
    with hub_package.SyncClient(url) as client:
        typed = models.SyncModels(client)
        assert typed.echo.call(echo.Request(messages="a")).reply == "a"
        handle = typed.echo.submit({"messages": "b"})
        assert typed.echo.task(handle.id).result() == handle.result() == echo.Response(reply="b")
        assert [chunk.reply for chunk in typed.count.stream({"messages": "2"})] == ["1-1", "1-2"]
        (answer,) = typed.echo.batch([echo.Request(messages="c")])
        assert answer.task.result().reply == "c"
        assert client.contract("Endless").limits.max_timeout == 600


async def test_comments_and_limits_of_the_models_are_in_the_package(
    gateway_url: str, tmp_path: Path, package: str
) -> None:
    assert (await generate(gateway_url, tmp_path, package)).code == 0
    folder = tmp_path / package
    stub = (folder / "messages" / "examples" / "model_a" / "v1" / "model_a_pb2.pyi").read_text()
    assert '"""What ModelA takes."""' in stub
    assert '"""The text to process."""' in stub
    assert "What ModelA takes." in (folder / "echo.py").read_text()
    shown = " ".join((folder / "endless.py").read_text().split())
    assert "unless it has a `timeout`, which is 600 s at most" in shown
    assert (folder / "py.typed").exists()


async def test_the_documented_code_runs(tmp_path: Path, package: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (code,) = (block for block in blocks if "acme_models" in block)
    with fail_after(TIMEOUT):
        async with up(ModelA, Writer) as url:
            assert (await generate(url, tmp_path, package)).code == 0
            (tmp_path / f"use_{package}.py").write_text(code.replace("acme_models", package).replace(DOCUMENTED, url))
            await import_module(f"use_{package}").main()
    shown = capsys.readouterr().out
    assert shown.count("Processed message: hello") == 2
    assert len(shown.split()) > 20


async def test_a_changed_contract_changes_the_package(tmp_path: Path, package: str) -> None:
    before = growing(tmp_path / "before", more="")
    after = growing(tmp_path / "after", more="Tone tone = 2;", other="message Tone { int32 height = 1; }")
    with fail_after(TIMEOUT):
        async with up(before) as url:
            assert (await generate(url, tmp_path, package)).code == 0
            assert (await generate(url, tmp_path, package, "--check")).code == 0
        async with up(after) as url:
            checked = await generate(url, tmp_path, package, "--check")
            assert checked.code == 1
            assert f"{package}/grow.py differs" in checked.out
            assert (await generate(url, tmp_path, package)).code == 0
            assert "tone: Tone" in checked_stub(tmp_path / package)
            grow = import_module(f"{package}.grow")
            async with hub_package.Client(url) as client:
                models = import_module(package).Models(client)
                reply = await models.grow.call(grow.Ask(text="high", tone={"height": 7}))
    assert reply.tone.height == 7


def checked_stub(folder: Path) -> str:
    """The stub of the messages, in which types have short names."""
    text = (folder / "messages" / "grow" / "v1" / "grow_pb2.pyi").read_text()
    return text.replace("def tone(self) -> Global___Tone", "tone: Tone")


def growing(root: Path, *, more: str, other: str = "") -> type[hub_package.Model[Message, Message]]:
    """A model that returns its request, whose fields a test chooses."""
    file = root / "grow" / "v1" / "grow.proto"
    file.parent.mkdir(parents=True)
    file.write_text(GROWING.format(more=more, other=other))
    ask = build_pool(compile_files(root, ["grow/v1/grow.proto"])).FindMessageTypeByName("grow.v1.Ask")

    async def process_request(_: object, request: Any) -> Any:
        return request

    members: Mapping[str, object] = {
        "name": "Grow",
        "__module__": __name__,
        "get_request_format": lambda _: ask,
        "get_response_format": lambda _: ask,
        "process_request": process_request,
    }
    return new_class("Grow", (hub_package.Model[Message, Message],), exec_body=lambda found: found.update(members))


@asynccontextmanager
async def up(*models: type[hub_package.Model[Any, Any]]) -> AsyncGenerator[str]:
    """The URL of the gateway of a whole hub in this process."""
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0)
    async with background_service(partial(run_up, list(models), settings), name="up") as summary:
        yield summary.gateway_url


@asynccontextmanager
async def another_server() -> AsyncGenerator[str]:
    """A web server that is no gateway."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
                await stream.send(NOT_A_HUB)
            except EndOfStream:
                pass

    async with await create_tcp_listener(local_host="127.0.0.1") as listener, create_task_group() as tg:
        tg.start_soon(listener.serve, answer, name="another server")
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tg.cancel_scope.cancel("the test has ended")


@asynccontextmanager
async def no_server() -> AsyncGenerator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("server", "code", "repair"),
    [
        pytest.param(up, 2, "no model is live at http://127.0.0.1:", id="no model"),
        pytest.param(no_server, 3, "check the URL, and that a gateway runs there", id="wrong port"),
        pytest.param(another_server, 2, "is no gateway of hub: name one by --url", id="no hub"),
    ],
)
async def test_what_is_wrong_ends_in_a_few_lines_with_the_repair(
    server: Callable[[], Any], code: int, repair: str, tmp_path: Path, package: str
) -> None:
    async with server() as url:
        done = await generate("http://127.0.0.1:1", tmp_path, package, "--url", url)
    assert (done.code, done.out) == (code, "")
    assert repair in done.err
    assert len(done.err.splitlines()) <= 5
    assert not (tmp_path / package).exists()
