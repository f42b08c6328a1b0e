"""Decoding the bodies of dead letters by the contract from the registry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
import pytest

from examples.model_a.v1.model_a_pb2 import ModelARequest
from hub.cli.dead.decode import decode_body
from hub.dead_letters import DeadLetter
from hub.directories.memory import MemoryDirectory
from hub.settings.connections import DeadSettings
from hub.task import Task
from hub.types import Fingerprint, new_task_id
from tests.dead_letters.helpers import BORN, TIMEOUT, delivery, hub_headers
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import MODEL, TEXTS, entry_of

UNREACHABLE = "http://127.0.0.1:9"


def letter_of(body: bytes, fingerprint: Fingerprint = TEXTS.fingerprint) -> DeadLetter:
    task = Task(id=new_task_id(), model=MODEL, body=body, fingerprint=fingerprint, created_at=BORN)
    return DeadLetter.read(delivery(task.encode(), {**hub_headers(model=MODEL)}), MODEL)


@pytest.fixture
async def registry() -> AsyncIterator[ServedRegistry]:
    """A registry that knows the contract of `MODEL`."""
    directory = MemoryDirectory()
    await directory.login(entry_of(), TEXTS)
    with anyio.fail_after(TIMEOUT):
        async with served_registry(directory=directory, token="secret") as served:
            yield served


async def test_a_request_is_decoded_to_json_by_its_contract(registry: ServedRegistry) -> None:
    sent = ModelARequest(messages="hello").SerializeToString()

    body = await decode_body(letter_of(sent), DeadSettings(registry_url=registry.url, token="secret"))

    assert body.json is not None
    assert json.loads(body.json) == {"messages": "hello"}
    assert (body.data, body.what, body.problem) == (sent, TEXTS.request, "")


async def test_a_request_that_its_contract_cannot_decode_stays_bytes(registry: ServedRegistry) -> None:
    body = await decode_body(letter_of(b"\xff"), DeadSettings(registry_url=registry.url, token="secret"))

    assert (body.json, body.data) == (None, b"\xff")
    assert TEXTS.request in body.problem


@pytest.mark.parametrize("fingerprint", [Fingerprint(""), Fingerprint("0" * 64)])
async def test_a_request_of_an_unknown_contract_stays_bytes(fingerprint: Fingerprint, registry: ServedRegistry) -> None:
    body = await decode_body(letter_of(b"x", fingerprint), DeadSettings(registry_url=registry.url, token="secret"))

    assert (body.json, body.data) == (None, b"x")
    assert "does not know contract" in body.problem


async def test_a_registry_that_does_not_answer_is_named_in_the_problem(registry: ServedRegistry) -> None:
    for settings in (DeadSettings(registry_url=UNREACHABLE), DeadSettings(registry_url=registry.url, token="wrong")):
        body = await decode_body(letter_of(b"x"), settings)

        assert body.json is None
        assert f"the registry at {settings.registry_url} did not return its contract" in body.problem


async def test_a_body_that_is_not_a_task_stays_bytes() -> None:
    body = await decode_body(DeadLetter.read(delivery(b"\xff", {}), MODEL), DeadSettings(registry_url=UNREACHABLE))

    assert (body.json, body.data, body.what) == (None, b"\xff", "not a task")
