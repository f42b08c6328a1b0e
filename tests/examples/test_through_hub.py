"""Each example in a whole hub, called over HTTP: with the commands of its README, and with what it is an example of."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import create_task_group, fail_after
from numpy.typing import NDArray

from examples.digits import Digits
from examples.embedding import LONGEST, Embedding
from examples.embedding.v1.embedding_pb2 import EmbeddingRequest, EmbeddingResponse
from examples.model_a import ModelA
from examples.number import Number
from examples.route import MOST_ROUNDS, Route, length_of
from examples.route.v1.route_pb2 import City, RouteRequest, RouteResponse
from examples.writer import Writer
from hub.cli.up import run_up
from hub.client import Client, DeadlineMissed, ModelFailed, TaskSnapshot, TaskWasCancelled
from hub.concurrency.services import background_service
from hub.model.model import AnyModel
from hub.settings.up import UpSettings

ROOT = Path(__file__).parents[2]
MODELS: list[type[AnyModel]] = [ModelA, Digits, Writer, Number, Embedding, Route]
ELSEWHERE = {"node"}
"""Examples that another test runs."""
TIMEOUT = 60.0

_COMMAND = re.compile(r"^hub (call|stream) (\w+) '([^']+)'(?: *# (.*))?$", re.MULTILINE)
_RESULT = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
async def gateway_url(anyio_backend: object) -> AsyncGenerator[str]:  # noqa: ARG001 - its loop is that of this fixture
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0)
    async with background_service(partial(run_up, MODELS, settings), name="up") as summary:
        yield summary.gateway_url


@pytest.fixture
async def client(gateway_url: str) -> AsyncGenerator[Client]:
    async with Client(gateway_url) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a README. `remark` is the comment behind it: the reason for which the task fails."""

    verb: str
    model: str
    request: str
    remark: str


def readmes() -> Iterator[Path]:
    yield from sorted((ROOT / "examples").glob("*/README.md"))


def commands(text: str) -> list[Command]:
    return [Command(*found.groups(default="")) for found in _COMMAND.finditer(text)]


async def carried_out(client: Client, command: Command) -> list[Any]:
    """The documents that the command prints."""
    request = json.loads(command.request)
    if command.verb == "call":
        return [await client.call(command.model, request)]
    async with client.stream(command.model, request) as chunks:
        return [chunk async for chunk in chunks]


def test_each_example_has_a_readme_in_the_index_and_a_model_here() -> None:
    index = (ROOT / "examples" / "README.md").read_text()
    names = {path.parent.name for path in readmes()}

    assert {path.parent.name for path in (ROOT / "examples").glob("*/__init__.py")} == names - ELSEWHERE
    assert {model.__module__.partition(".")[2] for model in MODELS} == names - ELSEWHERE
    assert set(re.findall(r"\]\((\w+)/README\.md\)", index)) == names
    assert all(len(path.read_text().splitlines()) < 50 for path in readmes())


@pytest.mark.parametrize("name", [path.parent.name for path in readmes() if path.parent.name not in ELSEWHERE])
async def test_the_commands_of_a_readme_do_what_it_says(name: str, client: Client) -> None:
    text = (ROOT / "examples" / name / "README.md").read_text()
    printed = [json.loads(line) for block in _RESULT.findall(text) for line in block.splitlines()]
    with fail_after(TIMEOUT):
        for command in commands(text):
            if command.remark:
                with pytest.raises(ModelFailed, match=command.remark):
                    await carried_out(client, command)
                continue
            results = await carried_out(client, command)
            assert results
            if printed:
                assert results[: len(printed)] == printed
                printed = []
    assert printed == []


async def vector(client: Client, text: str) -> NDArray[np.float64]:
    response = await client.call(Embedding, EmbeddingRequest(text=text))
    return np.asarray(response.vector)


async def test_texts_of_similar_meaning_have_similar_vectors(client: Client) -> None:
    with fail_after(TIMEOUT):
        cat = await vector(client, "A cat sat on the mat.")
        kitten = await vector(client, "The kitten lay down on a rug.")
        chat = await vector(client, "Un chat est assis sur le tapis.")
        bank = await vector(client, "The central bank raises interest rates.")
    assert cat.shape == (512,)
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-4)
    assert min(cat @ kitten, cat @ chat) > cat @ bank + 0.2


async def test_texts_that_are_embedded_together_get_the_vectors_that_they_get_alone(client: Client) -> None:
    texts = [f"Sentence number {number} is about {'very ' * number}old trains." for number in range(20)]
    bad = [" ", "x" * (LONGEST + 1)]
    together: dict[str, EmbeddingResponse | ModelFailed] = {}

    async def embed(text: str) -> None:
        try:
            together[text] = await client.call(Embedding, EmbeddingRequest(text=text))
        except ModelFailed as failed:
            together[text] = failed

    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            for text in (*texts, *bad):
                tg.start_soon(embed, text)
        for text in texts:
            found = together[text]
            assert isinstance(found, EmbeddingResponse)
            assert np.asarray(found.vector) == pytest.approx(await vector(client, text), abs=1e-4)
    assert "the text is empty" in str(together[bad[0]])
    assert f"{LONGEST} are allowed" in str(together[bad[1]])


def square(rounds: int, *, corners: int = 4) -> RouteRequest:
    """Cities on the sides of a square of length 1, of which the shortest trip has length 4."""
    steps = [step / corners for step in range(corners)]
    bottom, right = [(step, 0.0) for step in steps], [(1.0, step) for step in steps]
    top, left = [(1 - step, 1.0) for step in steps], [(0.0, 1 - step) for step in steps]
    return RouteRequest(cities=[City(x=x, y=y) for x, y in (*bottom, *right, *top, *left)], rounds=rounds, seed=3)


async def test_a_route_is_the_shortest_one_and_visits_each_city_once(client: Client) -> None:
    request = square(60_000)
    with fail_after(TIMEOUT):
        response = await client.call(Route, request)
    places = [complex(city.x, city.y) for city in request.cities]
    assert sorted(response.order) == list(range(16))
    assert response.length == pytest.approx(4) == length_of(response.order, places)


async def until_halfway(client: Client, request: RouteRequest) -> tuple[Any, list[TaskSnapshot]]:
    """Submits a request, and returns the handle when its model has reported progress twice."""
    handle = await client.submit(Route, request)
    seen: list[TaskSnapshot] = []
    async with handle.events() as events:
        async for snapshot in events:
            if snapshot.progress is not None:
                seen.append(snapshot)
            if len(seen) > 1:
                break
    return handle, seen


async def test_a_slow_route_reports_progress_and_stops_when_it_is_cancelled(client: Client) -> None:
    """There is one process, so the next trip is found only if the loop of the first one has ended."""
    with fail_after(TIMEOUT):
        handle, seen = await until_halfway(client, square(MOST_ROUNDS))
        await handle.cancel()
        with pytest.raises(TaskWasCancelled):
            await handle.result()
        assert (await client.call(Route, square(1000))).length > 0
    fractions = [each.progress.fraction or 0 for each in seen if each.progress is not None]
    assert fractions == sorted(fractions)
    assert all(each.progress is not None and "a trip of " in each.progress.message for each in seen)


async def test_a_slow_route_stops_at_its_deadline(client: Client) -> None:
    with fail_after(TIMEOUT):
        with pytest.raises(DeadlineMissed):
            await client.call(Route, square(MOST_ROUNDS), timeout=1)
        response: RouteResponse = await client.call(Route, square(1000))
    assert response.length > 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (RouteRequest(), "from 3 to 1000 cities, not 0"),
        (RouteRequest(cities=[City()] * 3, rounds=MOST_ROUNDS + 1), "1000000001 rounds"),
    ],
)
async def test_a_route_that_cannot_be_is_refused(request_: RouteRequest, message: str, client: Client) -> None:
    with fail_after(TIMEOUT), pytest.raises(ModelFailed, match=message):
        await client.call(Route, request_)
