"""Extensions. The constructor of a message does not take them, so they are set on the finished message."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import json_fields
from hub.contract.protojson.json_text import JsonValue
from hub.contract.protojson.value_parser import ParseStats, ValueReader


def extended_reader(message: Descriptor, read: ValueReader) -> ValueReader:
    """The reader of a `message` with extensions, from one that gives their values beside those of its fields."""
    message_class = GetMessageClass(message)
    extensions = {field.json_name: field.descriptor for field in json_fields(message) if field.descriptor.is_extension}

    def read_extended(document: JsonValue, level: int, tally: ParseStats) -> Any:
        arguments: dict[str, Any] = read(document, level, tally)
        given = extensions.keys() & arguments.keys()
        if not given:
            return arguments
        values = {name: arguments.pop(name) for name in given}
        target = message_class()

        def fill() -> None:
            message_class.MergeFrom(target, message_class(**arguments))
            for name, value in values.items():
                _set(target, extensions[name], value)

        tally.unfinished.append(fill)
        return target

    return read_extended


def _set(target: Any, extension: FieldDescriptor, value: Any) -> None:
    handle = cast("Any", extension)  # the stubs want the extension's own handle, which its descriptor serves as
    value_type = extension.message_type
    if value_type is None:
        if extension.is_repeated:
            target.Extensions[handle].extend(value)
        else:
            target.Extensions[handle] = value
        return
    value_class = GetMessageClass(value_type)
    for each in value if extension.is_repeated else (value,):
        content = value_class(**cast("dict[str, Any]", each)) if type(each) is dict else each
        if extension.is_repeated:
            target.Extensions[handle].append(content)
        else:
            # Set at least to be there: copying an empty message would not.
            value_class.SetInParent(target.Extensions[handle])
            value_class.CopyFrom(target.Extensions[handle], content)
