"""Calls the six models through the client that openapi-python-client has written, with its types checked by mypy."""

from __future__ import annotations

import datetime as dt
import json
import os
from io import BytesIO
from uuid import UUID

from hub_client import Client
from hub_client.api.count import call_count
from hub_client.api.echo import batch_echo, call_echo, call_echo_092c79, submit_echo
from hub_client.api.for_ import call_for
from hub_client.api.models import show_model
from hub_client.api.my_model_v2 import call_my_model_v2
from hub_client.api.tasks import show_task
from hub_client.api.wrap import call_wrap
from hub_client.models import (
    Accepted,
    OtherV1Item,
    OtherV1Task,
    Problem,
    ServedModel,
    SharedV1Everything,
    SharedV1EverythingInput,
    SharedV1EverythingReply,
    SharedV1ItemInput,
    SharedV1Tree,
    SharedV1TreeInput,
    Task,
)
from hub_client.types import UNSET, File

WHEN = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)

with Client(base_url=os.environ["HUB"]) as client:
    body = SharedV1EverythingInput(
        small=7,
        big="9007199254740993",
        score="NaN",
        color=7,
        item=SharedV1ItemInput(name="one"),
        timestamp=WHEN,
        for_="for",
        class_="class",
        default="default",
        url="lower",
        URL="upper",
        value=[1, "two", None],
    )
    echo = call_echo.sync(client=client, body=body)
    assert isinstance(echo, SharedV1Everything), echo
    words: str = echo.for_ + echo.class_ + echo.default + echo.url + echo.URL
    number: int = echo.small
    big: str = echo.big
    names: list[str] = echo.texts
    assert echo.item is not UNSET
    assert echo.timestamp == WHEN
    assert echo.maybe_text is UNSET
    shown = [str(echo.score), number, big, echo.color, names, words, echo.value]

    lower = call_echo_092c79.sync(client=client, body=SharedV1EverythingInput())
    assert isinstance(lower, OtherV1Item), lower
    wrapped = call_wrap.sync(client=client, body=SharedV1EverythingInput(text="inner"))
    assert isinstance(wrapped, SharedV1EverythingReply), wrapped
    tree = call_my_model_v2.sync(client=client, body=SharedV1TreeInput(left=SharedV1TreeInput(label="b")))
    assert isinstance(tree, SharedV1Tree), tree
    assert isinstance(tree.left, SharedV1Tree), tree
    task = call_for.sync(client=client, body=SharedV1EverythingInput())
    assert isinstance(task, OtherV1Task), task
    model = show_model.sync("Echo", client=client)
    assert isinstance(model, ServedModel), model

    accepted = submit_echo.sync(client=client, body=SharedV1EverythingInput(text="later"))
    assert isinstance(accepted, Accepted), accepted
    uuid: UUID = accepted.id
    ended = show_task.sync(uuid, client=client, wait=30)
    assert isinstance(ended, Task), ended

    answers = batch_echo.sync(client=client, body=File(BytesIO(b'{"text":"1"}\n{"text":"2"}\n')))
    assert isinstance(answers, File), answers
    lines = len(answers.payload.read().splitlines())

    counted = call_count.sync(client=client, body=SharedV1EverythingInput(small=2, text="a"))
    assert isinstance(counted, list), counted
    chunks = [f"{chunk.small}{chunk.text}" for chunk in counted]

    refused = call_echo.sync(client=client, body=SharedV1EverythingInput(raw="no base64"))
    assert isinstance(refused, Problem), refused

print(json.dumps(shown))
print(
    json.dumps(
        [
            wrapped.note + wrapped.history[0].text,
            tree.left.label,
            task.id,
            model.instances,
            ended.state,
            lines,
            refused.code,
            chunks,
            lower.id,
        ]
    )
)
