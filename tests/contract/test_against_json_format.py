"""Random messages and documents: hub, protobuf's own implementation and the published schema have to agree."""

from __future__ import annotations

import json

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import assume, given, note, strategies as st
from jsonschema_rs import Draft202012Validator

from hub.contract import InvalidDocument, Transcoder, input_schema, output_schema
from hub.contract.jsonschema.example import example_of
from tests.contract.bounded import bounded
from tests.contract.oracle import assert_judged_alike, assert_reads_back, has_list_of_nulls, verdict
from tests.contract.random_descriptors import descriptors
from tests.contract.random_values import damaged, messages


@bounded
@given(st.data())
def test_a_message_has_the_json_that_json_format_writes(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    message = data.draw(messages(descriptor))
    transcoder = Transcoder(descriptor)
    for including_defaults in (False, True):
        expected = json_format.MessageToDict(
            message,
            always_print_fields_with_no_presence=including_defaults,
            descriptor_pool=descriptor.file.pool,
        )
        written = transcoder.encode_json(message, including_defaults=including_defaults)
        assert msgspec.json.decode(written) == json.loads(json.dumps(expected))


@bounded
@given(st.data())
def test_output_of_hub_is_parsed_like_json_format_parses_it(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    message = data.draw(messages(descriptor))
    transcoder = Transcoder(descriptor)
    text = transcoder.encode_json(message)
    note(text.decode())
    expected = verdict(descriptor, text)
    if expected is None:
        # Null in a list or map of NullValue: ProtoJSON writes it and does not read it.
        with pytest.raises(InvalidDocument):
            transcoder.parse_json(text)
        return
    body = transcoder.decode_json(text)
    own = GetMessageClass(descriptor).FromString(body)
    assert type(own).SerializeToString(own, deterministic=True) == type(expected).SerializeToString(
        expected, deterministic=True
    )


@bounded
@given(st.data())
def test_hub_json_format_and_the_schema_judge_a_damaged_document_alike(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    transcoder = Transcoder(descriptor)
    good = json.loads(transcoder.encode_json(data.draw(messages(descriptor))))
    text = msgspec.json.encode(data.draw(damaged(good, descriptor)))
    note(text.decode())
    assert_judged_alike(transcoder, Draft202012Validator(input_schema(descriptor).standalone()), text)


@bounded
@given(st.data())
def test_output_of_hub_and_json_format_matches_the_output_schema(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    message = data.draw(messages(descriptor))
    schema = Draft202012Validator(output_schema(descriptor).standalone(), validate_formats=True)
    written = msgspec.json.decode(Transcoder(descriptor).encode_json(message, including_defaults=True))
    schema.validate(written)
    judge = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, descriptor_pool=descriptor.file.pool
    )
    schema.validate(json.loads(json.dumps(judge)))


@bounded
@given(st.data())
def test_the_output_schema_accepts_only_possible_output(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    transcoder = Transcoder(descriptor)
    good = json.loads(transcoder.encode_json(data.draw(messages(descriptor)), including_defaults=True))
    document = data.draw(damaged(good, descriptor))
    note(str(document))
    if Draft202012Validator(output_schema(descriptor).standalone()).is_valid(document):
        assume(not has_list_of_nulls(descriptor))  # written, and not read: nothing to compare with
        assert_reads_back(transcoder, document)


@bounded
@given(st.data())
def test_the_output_schema_requires_members_that_are_always_written_and_has_no_nulls(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    schema = Draft202012Validator(output_schema(descriptor).standalone())
    required = [field for field in descriptor.fields if field.is_required]
    # In protobuf's own words: what it prints of a message of which nothing is set.
    always = json_format.MessageToDict(
        GetMessageClass(descriptor)(), always_print_fields_with_no_presence=True, descriptor_pool=descriptor.file.pool
    )
    written = json.loads(Transcoder(descriptor).encode_json(data.draw(messages(descriptor)), including_defaults=True))
    for name in {*always, *(field.json_name for field in required)}:
        assert not schema.is_valid({other: value for other, value in written.items() if other != name})
    for name in written:
        if written[name] is not None and not _may_be_null(descriptor, name):
            assert not schema.is_valid({**written, name: None})


def _may_be_null(descriptor: Descriptor, json_name: str) -> bool:
    (field,) = (field for field in descriptor.fields if field.json_name == json_name)
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


@bounded
@given(descriptors())
def test_the_example_of_a_message_is_a_good_document(descriptor: Descriptor) -> None:
    Transcoder(descriptor).decode_json(msgspec.json.encode(example_of(descriptor)))
