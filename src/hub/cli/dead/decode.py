"""The body of a dead letter for people: the request as JSON where its contract is known, else bytes in hex."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from anyio import fail_after

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract, NotJsonRepresentable, compile_contract
from hub.dead_letters import DeadLetter
from hub.errors import HubError, Undecodable
from hub.http.client import open_client
from hub.registry.client.client import RegistryClient
from hub.settings.links import DeadSettings
from hub.task import Task

REGISTRY_TIMEOUT: Final = 10.0
"""Seconds to wait for the registry; what it does not tell is shown in hex."""

HEX_BYTES: Final = 256
"""Bytes of a body that are shown in hex."""

_LINE: Final = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBody:
    """What a letter holds.

    Attributes:
        data: The serialized request of a task, or the whole body if it is no task.
        what: What `data` is, in a few words.
        json: The request as ProtoJSON; `None` if it cannot be told.
        problem: Why it cannot be told, and what would help.
    """

    data: bytes
    what: str
    json: bytes | None = None
    problem: str = ""


async def body_of(letter: DeadLetter, settings: DeadSettings) -> DecodedBody:
    """The body of a letter, decoded by the contract that the registry knows for it. Never fails."""
    task = letter.task
    if task is None:
        return DecodedBody(data=letter.delivery.body, what="no task", problem="it is not a serialized hub.v1.Task")
    unknown = DecodedBody(data=task.body, what="a request")
    try:
        contract = await _contract_of(task, settings)
    except (HubError, TimeoutError) as error:
        reason = str(error) or f"no answer for {REGISTRY_TIMEOUT:g} s"
        return _because(unknown, f"the registry at {settings.registry_url} did not tell its contract: {reason}")
    if contract is None:
        return _because(unknown, f"the registry does not know contract {task.fingerprint[:12]!r} of {task.model}")
    size = len(task.body) + CONTRACT_WEIGHT * len(contract.files)
    return await in_thread_if_large(size, partial(_decoded, task, contract))


def hex_lines(data: bytes) -> Iterator[str]:
    """The first bytes in the form of `hexdump -C`, and how many there are in all if those were not all."""
    for start in range(0, min(len(data), HEX_BYTES), _LINE):
        line = data[start : start + _LINE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<{_LINE * 3 - 1}}  {text}"
    if len(data) > HEX_BYTES:
        yield f"... {len(data)} bytes in all"


async def _contract_of(task: Task, settings: DeadSettings) -> Contract | None:
    if not task.fingerprint:
        return None
    with fail_after(REGISTRY_TIMEOUT):
        async with open_client() as http:
            registry = RegistryClient(settings.registry_url, http, token=settings.token)
            return await registry.contract(task.model, task.fingerprint)


def _decoded(task: Task, contract: Contract) -> DecodedBody:
    body = DecodedBody(data=task.body, what=contract.request)
    try:
        return DecodedBody(
            data=task.body,
            what=contract.request,
            json=compile_contract(contract).request_transcoder.encode_json(task.body),
        )
    except Undecodable as error:
        return _because(body, str(error))
    except NotJsonRepresentable as error:
        return _because(body, str(error))
    except Exception as error:  # noqa: BLE001 - its contract came over the network, and the letter is shown without it
        return _because(body, f"its contract cannot be used by this version of hub: {error}")


def _because(body: DecodedBody, problem: str) -> DecodedBody:
    return DecodedBody(data=body.data, what=body.what, problem=problem)
