"""The example of a model whose request has rules."""

from __future__ import annotations

import json

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as F

from hub.contract.jsonschema.example import example_of
from tests.contract.random_rules import field_of, ruled_contract, with_rules


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        (F.TYPE_INT32, {"int32": {"gt": 3}}),
        (F.TYPE_DOUBLE, {"double": {"lt": -3}}),
        (F.TYPE_UINT64, {"uint64": {"in": [7, 9]}}),
        (F.TYPE_STRING, {"string": {"min_len": 9}}),
        (F.TYPE_STRING, {"string": {"len": 2}}),
        (F.TYPE_STRING, {"string": {"prefix": "a-", "suffix": "-z", "contains": "m"}}),
        (F.TYPE_STRING, {"string": {"ulid": True}}),
        (F.TYPE_STRING, {"string": {"pattern": "^x+$", "example": ["xx"]}}),
        (F.TYPE_BYTES, {"bytes": {"len": 4}}),
        (F.TYPE_ENUM, {"enum": {"const": 2}}),
        (F.TYPE_BOOL, {"bool": {"const": True}}),
    ],
)
def test_an_example_keeps_simple_rules(kind: F.Type.ValueType, rules: dict[str, object]) -> None:
    for label in (F.LABEL_OPTIONAL, F.LABEL_REPEATED):
        given = rules if label == F.LABEL_OPTIONAL else {"repeated": {"min_items": 2, "items": rules}}
        compiled = ruled_contract(with_rules(field_of("value", 1, kind, label), required=True, **given))
        document = example_of(compiled.request)
        compiled.request_transcoder.decode_json(json.dumps(document).encode())
