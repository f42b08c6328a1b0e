"""Large messages are decoded and encoded in threads on every route, small ones on the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from threading import get_ident
from typing import Any

import anyio
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from examples.model_a.v1 import model_a_pb2
from hub.concurrency.offload import LARGE
from hub.contract import Contract, Transcoder
from hub.gateway.models.codec import Codec
from hub.stores.redis.replies import record
from hub.types import TaskState, new_task_id
from tests.gateway.fixtures import CONTRACT_A, LocalGateway, echo_a, open_gateway
from tests.gateway.test_events import events
from tests.gateway.test_submit import TASKS
from tests.gateway.wire import serving

WAIT = {"Prefer": "wait=5"}
BIG = "x" * (LARGE + 1000)


class Threads:
    """The threads in which messages were transcoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.written: list[int] = []
        decode, encode = Transcoder.decode_json, Transcoder.encode_json

        def decode_json(transcoder: Transcoder, text: bytes) -> bytes:
            self.read.append(get_ident())
            return decode(transcoder, text)

        def encode_json(transcoder: Transcoder, message: Any, **options: Any) -> bytes:
            self.written.append(get_ident())
            return encode(transcoder, message, **options)

        monkeypatch.setattr(Transcoder, "decode_json", decode_json)
        monkeypatch.setattr(Transcoder, "encode_json", encode_json)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    return Threads(monkeypatch)


@pytest.fixture
async def roomy() -> AsyncGenerator[LocalGateway]:
    with anyio.fail_after(30):
        async with open_gateway(body_limit=10 * LARGE) as gateway:
            await gateway.model(answer=echo_a)
            yield gateway


async def test_small_messages_are_decoded_on_the_event_loop(roomy: LocalGateway, threads: Threads) -> None:
    await roomy.client.post(TASKS, json={"messages": "small"}, headers=WAIT)
    assert (threads.read, threads.written) == ([get_ident()], [get_ident()])


async def test_large_messages_are_decoded_in_a_thread(roomy: LocalGateway, threads: Threads) -> None:
    called = await roomy.client.post("/v1/models/ModelA", json={"messages": BIG})
    waited = await roomy.client.post(TASKS, json={"messages": BIG}, headers=WAIT)
    shown = await roomy.client.get(waited.headers["location"])
    result = await roomy.client.get(waited.headers["location"] + "/result")
    assert [reply.status_code for reply in (called, waited, shown, result)] == [200] * 4
    assert len(called.json()["reply"]) > LARGE
    assert (len(threads.read), len(threads.written)) == (2, 4)
    assert get_ident() not in {*threads.read, *threads.written}


async def test_large_lines_of_batches_and_events_are_decoded_in_a_thread(roomy: LocalGateway, threads: Threads) -> None:
    line = b'{"messages":"%s"}\n' % BIG.encode()
    batch = await roomy.client.post(
        "/v1/models/ModelA/batches", content=line * 2, headers={"Content-Type": "application/x-ndjson"}
    )
    tasks = [answer.split('"id":"')[1].split('"')[0] for answer in batch.text.splitlines()]
    assert len(tasks) == 2
    await roomy.client.get(f"/v1/tasks/{tasks[0]}/result", params={"wait": 5})
    async with serving(roomy) as url, events(url, f"/v1/tasks/{tasks[0]}") as stream:
        assert await stream.states() == ["succeeded"]
    assert (len(threads.read), len(threads.written)) == (2, 2)
    assert get_ident() not in {*threads.read, *threads.written}


JSON = {"Content-Type": "application/json"}


async def test_a_big_request_that_is_refused_is_answered_as_a_small_one(roomy: LocalGateway, threads: Threads) -> None:
    wrong = await roomy.client.post(TASKS, json={"messages": BIG, "other": 1})
    malformed = await roomy.client.post(TASKS, content=b'{"messages":"%s' % BIG.encode(), headers=JSON)
    binary = await roomy.client.post(TASKS, content=b"\xff" * LARGE, headers={"Content-Type": "application/x-protobuf"})
    assert (wrong.status_code, malformed.status_code, binary.status_code) == (422, 400, 422)
    assert len(wrong.content) < 1000
    assert get_ident() not in threads.read


async def test_a_small_response_with_a_large_json_form_is_encoded_in_a_thread(threads: Threads) -> None:
    # Each empty message of Struct's kind has one field; one of many fields is written with all of its defaults.
    codec = Codec(Contract.from_descriptors(model_a_pb2.ModelARequest.DESCRIPTOR, Struct.DESCRIPTOR))
    await codec.response_to_json(
        Struct(fields={f"k{i}": Value(null_value=NULL_VALUE) for i in range(5000)}).SerializeToString()
    )
    await Codec(CONTRACT_A).response_to_json(b"")
    assert threads.written[0] != get_ident()
    assert threads.written[1] == get_ident()


def test_an_outcome_in_redis_that_cannot_be_read_is_the_failure_of_its_task() -> None:
    task = new_task_id()
    fields = {
        "state": "succeeded", "model": "M", "revision": "3", "attempt": "1", "fingerprint": "", "created_at": "1",
        "updated_at": "2", "deadline": "", "ttl": "60", "outcome": "\x0a",
    }  # fmt: skip
    found = record(task, [word.encode() for pair in fields.items() for word in pair])
    assert (found.state, found.outcome is not None) == (TaskState.SUCCEEDED, True)
    assert found.outcome is not None
    assert found.outcome.failure is not None
    assert found.outcome.failure.code == "undecodable"
