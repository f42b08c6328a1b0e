"""Violations as protovalidate and as hub report them, in one form."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias, cast

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import FieldPathPb

from hub.contract import MessageCheck
from hub.contract.descriptors.closure import files_of
from hub.contract.errors import JsonPath
from hub.contract.rules.message_check import FieldName

Violation: TypeAlias = tuple[str, str]
"""The path in protovalidate's form, such as `items[0].name`, and the name of the rule."""

_RULE = re.compile(r"\(rule (\S+)\)$")


@cache
def _files_of_rules() -> Sequence[FileDescriptorProto]:
    files = FileDescriptorSet.FromString(
        b64decode((Path(__file__).parent / "protovalidate" / "descriptors.txt").read_bytes())
    ).file
    return [file for file in files if file.name.startswith(("google/", "buf/validate/validate"))]


def with_declarations(message: Message) -> Message:
    """`message` from a pool that has the declarations of the rules, without which protovalidate does not see them."""
    pool = DescriptorPool()
    for file in _files_of_rules():
        pool.AddSerializedFile(file.SerializeToString())
    for descriptor in files_of([cast("Descriptor", message.DESCRIPTOR)]):
        if not descriptor.name.startswith("google/"):
            file = FileDescriptorProto()
            descriptor.CopyToProto(file)
            file.dependency.append("buf/validate/validate.proto")
            pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindMessageTypeByName(message.DESCRIPTOR.full_name)
    return GetMessageClass(found).FromString(message.SerializeToString())


def expected_violations(message: Message) -> Sequence[Violation]:
    """What protovalidate finds. Oneofs have no path, as in JSON."""
    found = (violation.proto for violation in protovalidate.Validator().collect_violations(message))
    return sorted((_path(each.field), each.rule_id) for each in found)


def _path(field: FieldPathPb | None) -> str:
    path = ""
    for element in () if field is None else field.elements:
        # A oneof has no number.
        path += "" if not element.field_number else f"{'.' if path else ''}{element.field_name}"
        if element.subscript is not None:
            value = element.subscript.value
            path += f"[{str(value).lower() if isinstance(value, bool) else value}]"
    return path


def own_violations(check: MessageCheck | None, message: Message) -> Sequence[Violation]:
    """What hub finds."""
    errors = () if check is None else check.errors(message)
    return sorted((_own_path(path), rule_of(text)) for path, text in errors)


def rule_of(text: str) -> str:
    """The name of the rule at the end of a text."""
    match = _RULE.search(text)
    assert match is not None, text
    return match[1]


def _own_path(path: JsonPath) -> str:
    shown = ""
    for token in path:
        if isinstance(token, FieldName):
            shown += f"{'.' if shown else ''}{token.alias}"
        else:
            shown += f"[{token}]"
    return shown
