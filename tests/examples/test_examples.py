"""The examples do what the README says they do."""

from __future__ import annotations

import json
import re
from functools import partial

import anyio
import pytest

from examples.digits import Digits, sample
from examples.digits.pictures import split
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.model_a import ModelA
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from examples.number import Number
from examples.writer import WORDS, Writer
from examples.writer.v1.writer_pb2 import WriterRequest, WriterResponse
from hub.cli.up import run_up
from hub.concurrency.services import background_service
from hub.http.client import open_client
from hub.model.execution.chunk_window import ChunkWindow, WakeupPool
from hub.model.execution.executor import Executor
from hub.model.execution.lifespan import lifespan
from hub.settings.up import UpSettings

TIMEOUT = 60.0


async def test_number_calls_digits_for_each_of_its_pictures() -> None:
    _, held_out = split()
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0)
    with anyio.fail_after(TIMEOUT):
        async with (
            background_service(partial(run_up, [Digits, Number], settings), name="up") as summary,
            open_client() as client,
        ):
            url = f"{summary.gateway_url}/v1/models/Number"
            pictures = [{"pixels": pixels.tolist()} for pixels in held_out.pixels[:4]]
            reply = await client.post(url, json={"digits": pictures})
            bad = await client.post(url, json={"digits": [*pictures, {"pixels": [1]}]})
    expected = "".join(str(label) for label in held_out.labels[:4])
    assert reply.status_code == 200, reply.text
    assert reply.json()["number"] == expected
    assert 0 < reply.json()["probability"] <= 1
    assert "a picture has 64 pixels" in bad.json()["failure"]["message"]


async def test_model_a_repeats_what_it_was_told() -> None:
    with anyio.fail_after(TIMEOUT):
        body = await Executor(ModelA()).execute(ModelARequest(messages="hello").SerializeToString())
    assert ModelAResponse.FromString(body).reply == "Processed message: hello\n"


async def test_digits_reads_pictures_that_it_has_not_learnt_from() -> None:
    model = Digits()
    _, held_out = split()
    right = 0
    with anyio.fail_after(TIMEOUT):
        async with lifespan(model), Executor(model) as process, anyio.create_task_group() as tg:
            asked = [
                tg.start_soon(process.execute, DigitsRequest(pixels=pixels.tolist()).SerializeToString())
                for pixels in held_out.pixels[:100]
            ]
    for reply, label in zip(asked, held_out.labels[:100], strict=True):
        response = DigitsResponse.FromString(reply.return_value)
        assert sum(response.probabilities) == pytest.approx(1)
        assert len(response.probabilities) == 10
        assert response.label == max(range(10), key=response.probabilities.__getitem__)
        right += response.label == label
    assert right >= 95


async def test_digits_gets_the_sample_of_the_readme_right(capsys: pytest.CaptureFixture[str]) -> None:
    sample.main([])
    printed = capsys.readouterr()
    request = DigitsRequest(**json.loads(printed.out))
    model = Digits()
    with anyio.fail_after(TIMEOUT):
        async with lifespan(model), Executor(model) as executor:
            response = DigitsResponse.FromString(await executor.execute(request.SerializeToString()))
    assert printed.err == f"true label: {response.label}\n"
    assert json.loads(Digits.example_json()) == json.loads(printed.out)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([1.0, 2.0, 3.0], "a picture has 64 pixels, 8 rows of 8 from the top left; these are 3"),
        ([0.0] * 63 + [17.0], "pixel 63 is 17"),
        ([-1.0] + [0.0] * 63, "pixel 0 is -1"),
        ([0.0] * 5 + [float("nan")] + [0.0] * 58, "pixel 5 is nan"),
    ],
)
def test_digits_says_what_is_wrong_with_a_picture(pixels: list[float], message: str) -> None:
    model = Digits()
    model.setup()
    good, bad = model.process_batch([Digits.example(), DigitsRequest(pixels=pixels)])
    assert isinstance(good, DigitsResponse)
    assert isinstance(bad, ValueError)
    assert re.search(message, str(bad))


async def written(request: WriterRequest) -> str:
    """What Writer streams, as its client would put it together."""
    model, window = Writer(), ChunkWindow(WakeupPool(), lambda _: None)
    async with lifespan(model):
        await Executor(model).stream(request.SerializeToString(), window)
    window.end()
    return "".join(WriterResponse.FromString(body).text for body in window.take())


async def test_writer_goes_on_with_a_prompt_word_by_word() -> None:
    request = WriterRequest(prompt="A class is", words=30, seed=17)
    with anyio.fail_after(TIMEOUT):
        text = await written(request)
        assert len(text.split()) == 30
        assert text.startswith(" ")  # it knows what follows
        assert await written(request) == text
        assert await written(WriterRequest(prompt="A class is", words=30, seed=18)) != text


async def test_writer_begins_by_itself_without_a_prompt_and_has_a_bound() -> None:
    with anyio.fail_after(TIMEOUT):
        text = await written(WriterRequest())
        assert len(text.split()) == WORDS
        assert text[0] == "\n"
        assert text[1].isupper()
        with pytest.raises(ValueError, match="10001 words; ask for 10000 at most"):
            await written(WriterRequest(words=10_001))
