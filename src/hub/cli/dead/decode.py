"""The body of a dead letter: the request as JSON if its contract is known, otherwise bytes in hex."""

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
from hub.settings.connections import DeadSettings
from hub.task import Task

REGISTRY_TIMEOUT: Final = 10.0
"""Seconds to wait for the registry; without its answer a body is shown in hex."""

HEX_BYTES: Final = 256
"""Bytes of a body that are shown in hex."""

_LINE: Final = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBody:
    """The decoded body of a letter.

    Attributes:
        data: The serialized request of a task, or the whole body if it is no task.
        what: The kind of `data`, in a few words.
        json: The request as ProtoJSON; `None` if it cannot be decoded.
        problem: The reason why it cannot be decoded.
    """

    data: bytes
    what: str
    json: bytes | None = None
    problem: str = ""


async def decode_body(letter: DeadLetter, settings: DeadSettings) -> DecodedBody:
    """Decodes the body of a letter by the contract from the registry. Raises nothing: see `DecodedBody.problem`."""
    task = letter.task
    if task is None:
        return DecodedBody(data=letter.delivery.body, what="not a task", problem="it is not a serialized hub.v1.Task")
    undecoded = DecodedBody(data=task.body, what="a request")
    try:
        contract = await _fetch_contract(task, settings)
    except (HubError, TimeoutError) as error:
        reason = str(error) or f"no answer for {REGISTRY_TIMEOUT:g} s"
        return _with_problem(
            undecoded, f"the registry at {settings.registry_url} did not return its contract: {reason}"
        )
    if contract is None:
        return _with_problem(
            undecoded, f"the registry does not know contract {task.fingerprint[:12]!r} of {task.model}"
        )
    size = len(task.body) + CONTRACT_WEIGHT * len(contract.files)
    return await in_thread_if_large(size, partial(_decode, task, contract))


def hex_lines(data: bytes) -> Iterator[str]:
    """The first `HEX_BYTES` bytes in the form of `hexdump -C`, then the total size if there are more."""
    for start in range(0, min(len(data), HEX_BYTES), _LINE):
        line = data[start : start + _LINE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<{_LINE * 3 - 1}}  {text}"
    if len(data) > HEX_BYTES:
        yield f"... {len(data)} bytes in all"


async def _fetch_contract(task: Task, settings: DeadSettings) -> Contract | None:
    if not task.fingerprint:
        return None
    with fail_after(REGISTRY_TIMEOUT):
        async with open_client() as http:
            registry = RegistryClient(settings.registry_url, http, token=settings.token)
            return await registry.contract(task.model, task.fingerprint)


def _decode(task: Task, contract: Contract) -> DecodedBody:
    body = DecodedBody(data=task.body, what=contract.request)
    try:
        return DecodedBody(
            data=task.body,
            what=contract.request,
            json=compile_contract(contract).request_transcoder.encode_json(task.body),
        )
    except Undecodable as error:
        return _with_problem(body, str(error))
    except NotJsonRepresentable as error:
        return _with_problem(body, str(error))
    except Exception as error:  # noqa: BLE001 - the contract came over the network, and the letter is shown without it
        return _with_problem(body, f"its contract cannot be used by this version of hub: {error}")


def _with_problem(body: DecodedBody, problem: str) -> DecodedBody:
    return DecodedBody(data=body.data, what=body.what, problem=problem)
