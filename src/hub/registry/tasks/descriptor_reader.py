"""Reads the contract of an instance from its descriptor routes, for logins that leave it out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final, final

from anyio import CapacityLimiter, move_on_after
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError, EncodeError

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract, InvalidContract
from hub.contract.contract import MAX_BYTES
from hub.contract.descriptors.limits import declared_messages
from hub.registry.client.errors import DescriptorsUnreachable, InvalidDescriptors
from hub.registry.client.schemas import MESSAGE_HEADER, PROTOBUF, STREAMING_HEADER
from hub.registry.core.networks import IPAddress
from hub.registry.tasks.instance_http import InstanceHttp, InstanceNotReached, InstanceReply
from hub.v1 import contract_pb2

CONCURRENT_READS: Final = 16
"""Logins whose descriptors are read at a time. Each keeps three replies of `MAX_BYTES` at most."""

READ_TIMEOUT: Final = 5.0
"""Seconds for the three routes of an instance, and for the wait until it is their turn. With the ping that follows, a login
takes less than the ten seconds that hub's own instances wait for it."""

FILES: Final = "descriptors"
REQUEST: Final = "descriptors/request"
RESPONSE: Final = "descriptors/response"
ROUTES: Final = (FILES, REQUEST, RESPONSE)

_HEADERS: Final = {"Accept": PROTOBUF}
_LONGEST_NAME: Final = 512
_SHOWN: Final = 5


@final
class DescriptorReader:
    """Reads `/descriptors`, `/descriptors/request` and `/descriptors/response` of an instance.

    The first has the files (a `FileDescriptorSet`), the others name the messages: by the header `Hub-Message`, which has a full
    name, or by the name in a `DescriptorProto` if the files declare one message of that name only. The reply about the response
    has the header `Hub-Streaming: true` if the model streams.

    Args:
        instances: Sends the requests.
        timeout: Seconds, see `READ_TIMEOUT`.
        concurrency: Reads at a time; further ones wait.
    """

    def __init__(
        self, instances: InstanceHttp, *, timeout: float = READ_TIMEOUT, concurrency: int = CONCURRENT_READS
    ) -> None:
        self._instances = instances
        self._timeout = timeout
        self._concurrency = concurrency
        self._limiter: CapacityLimiter | None = None

    async def read(self, url: str) -> Contract:
        """The contract of the instance at a checked base URL. It is decoded like that of a login, with the same bounds.

        Raises:
            DescriptorsUnreachable: A route gives no reply, or not in time, or one that is no 200. Worth a retry.
            InvalidDescriptors: The replies are not the descriptors of a contract, or exceed a bound.
        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._concurrency)  # belongs to an event loop, so not made in __init__
        reason = f"{self._concurrency} other logins without a contract are read at the same time"
        with move_on_after(self._timeout) as scope:
            async with self._limiter:
                reason = f"its descriptors were not complete within {self._timeout:g} s"
                replies = await self._replies(url)
                scope.deadline = inf  # the rest is bounded by the bounds of contracts
                size = CONTRACT_WEIGHT * len(replies[0].body)
                return await in_thread_if_large(size, partial(decode_replies, url, *replies))
        raise DescriptorsUnreachable(url, reason)

    async def _replies(self, url: str) -> Sequence[InstanceReply]:
        try:
            for address in (addresses := await self._instances.addresses(url)):
                try:
                    return [await self._get(url, path, address) for path in ROUTES]
                except InstanceNotReached:
                    if address == addresses[-1]:
                        raise
            raise AssertionError  # there is at least one address
        except InstanceNotReached as error:
            raise DescriptorsUnreachable(url, error.reason) from error

    async def _get(self, url: str, path: str, address: IPAddress) -> InstanceReply:
        reply = await self._instances.request(url, "GET", path, address=address, headers=_HEADERS, limit=MAX_BYTES)
        if reply.status in (401, 403):
            reason = f"it answered {reply.status} to the registry: set the same HUB_TOKEN for both"
            raise DescriptorsUnreachable(f"{url}/{path}", reason)
        if reply.status != 200:
            raise DescriptorsUnreachable(f"{url}/{path}", f"it answered {reply.status}")
        if not reply.complete:
            reason = f"it has more than {MAX_BYTES} bytes: send only what the messages refer to"
            raise InvalidDescriptors(f"{url}/{path}", reason)
        return reply


def decode_replies(url: str, files: InstanceReply, request: InstanceReply, response: InstanceReply) -> Contract:
    """The contract in the replies of the three routes below `url`.

    Raises:
        InvalidDescriptors: They have none.
    """
    try:
        declared = FileDescriptorSet.FromString(files.body)
        message = contract_pb2.Contract(
            request=_name(f"{url}/{REQUEST}", request, declared),
            response=_name(f"{url}/{RESPONSE}", response, declared),
            streaming=_streams(f"{url}/{RESPONSE}", response),
        )
        message.files.CopyFrom(declared)
        return Contract.decode(message.SerializeToString())
    except (DecodeError, EncodeError, UnicodeError) as error:
        raise InvalidDescriptors(f"{url}/{FILES}", f"it is not a google.protobuf.FileDescriptorSet: {error}") from error
    except InvalidContract as error:
        raise InvalidDescriptors(f"{url}/{FILES}", error.reason) from error


def _streams(url: str, reply: InstanceReply) -> bool:
    """Whether the response is a stream of the message that a reply describes."""
    value = reply.headers.get(STREAMING_HEADER, "false").strip().lower()
    if value not in {"true", "false"}:
        raise InvalidDescriptors(
            url, f"its header {STREAMING_HEADER} is {value[:_LONGEST_NAME]!r}: send true, or leave it out"
        )
    return value == "true"


def _name(url: str, reply: InstanceReply, files: FileDescriptorSet) -> str:
    """The full name of the message that a reply describes."""
    named = reply.headers.get(MESSAGE_HEADER, "")
    if named:
        return named[:_LONGEST_NAME].removeprefix(".")
    try:
        name = DescriptorProto.FromString(reply.body).name
    except (DecodeError, UnicodeError) as error:
        raise InvalidDescriptors(url, f"it is not a google.protobuf.DescriptorProto: {error}") from error
    found = [
        full_name
        for file in files.file
        for full_name, _ in declared_messages(file)
        if full_name.rpartition(".")[2] == name
    ]
    if len(found) != 1:
        shown = ", ".join(found[:_SHOWN]) or "none of that name"
        raise InvalidDescriptors(
            url,
            f"it describes the message {name[:_LONGEST_NAME]!r}, and /{FILES} declares {shown}: put the full name into the "
            f"header {MESSAGE_HEADER}",
        )
    return found[0]
