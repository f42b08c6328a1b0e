"""What a contract may declare at most; and contracts beyond it, from elsewhere, that still compile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto, FileDescriptorSet

from hub.contract import Components, Contract, InvalidContract, compile_contract, input_schema, output_schema
from hub.contract.descriptors.limits import MAX_ENUM_VALUES, MAX_FIELDS, MAX_MESSAGES, MAX_REFERENCES
from hub.contract.jsonschema.example import example_of
from hub.v1 import contract_pb2
from tests.contract.random_descriptors import ONE, REQUIRED

MESSAGE = Field.TYPE_MESSAGE


def encoded(file: FileDescriptorProto) -> bytes:
    files = FileDescriptorSet(file=[file])
    return contract_pb2.Contract(request="a.M0", response="a.M0", files=files).SerializeToString()


def chain(count: int, *, ring: bool = False) -> FileDescriptorProto:
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    for index in range(count):
        message = file.message_type.add(name=f"M{index}")
        if ring or index < count - 1:
            inner = f".a.M{(index + 1) % count}"
            message.field.add(name="next", number=1, type=MESSAGE, label=ONE, type_name=inner)
    return file


def complete(count: int, *, label: Field.Label.ValueType = ONE, later: bool = False) -> FileDescriptorProto:
    """Messages with a field of each other one; of the later ones only, on demand."""
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto2")
    for index in range(count):
        message = file.message_type.add(name=f"M{index}")
        for other in range(index + 1 if later else 0, count):
            message.field.add(name=f"n{other}", number=other + 1, type=MESSAGE, label=label, type_name=f".a.M{other}")
    return file


def unchecked(file: FileDescriptorProto) -> Contract:
    """A contract that no bound was applied to, as another version of hub may have let it in."""
    known = Contract.decode(encoded(chain(1)))
    files = FileDescriptorSet(file=[file]).SerializeToString()
    return replace(known, files=files, fingerprint=type(known.fingerprint)(f"{hash(files):064x}"))


def many_fields() -> FileDescriptorProto:
    file = chain(1)
    for number in range(1, MAX_FIELDS + 2):
        file.message_type[0].field.add(name=f"f{number}", number=number + 20_000, type=Field.TYPE_BOOL, label=ONE)
    return file


def many_values() -> FileDescriptorProto:
    file = chain(1)
    enum = file.message_type[0].enum_type.add(name="E")
    for number in range(MAX_ENUM_VALUES + 1):
        enum.value.add(name=f"V{number}", number=number)
    return file


@pytest.mark.parametrize(
    ("file", "words"),
    [
        pytest.param(chain(MAX_REFERENCES + 1), f"field a.M{MAX_REFERENCES - 1}.next", id="chain"),
        pytest.param(chain(400), f"more than {MAX_REFERENCES} messages", id="chain of 400"),
        pytest.param(chain(MAX_MESSAGES, ring=True), f"more than {MAX_REFERENCES} messages", id="ring"),
        pytest.param(chain(MAX_MESSAGES + 1), f"'a.M{MAX_MESSAGES}'", id="messages"),
        pytest.param(chain(3000, ring=True), f"more than {MAX_MESSAGES} messages", id="ring of 3,000"),
        pytest.param(many_fields(), f"more than {MAX_FIELDS} fields", id="fields"),
        pytest.param(many_values(), f"more than {MAX_ENUM_VALUES} enum values", id="enum values"),
    ],
)
def test_a_contract_beyond_a_limit_is_refused_with_the_declaration(file: FileDescriptorProto, words: str) -> None:
    with pytest.raises(InvalidContract, match=words.replace(".", r"\.")):
        Contract.decode(encoded(file))


def test_a_chain_of_the_maximum_depth_is_accepted() -> None:
    loaded = compile_contract(Contract.decode(encoded(chain(MAX_REFERENCES))))
    document = b'{"next":' * (MAX_REFERENCES - 1) + b"{}" + b"}" * (MAX_REFERENCES - 1)
    assert loaded.response_transcoder.encode_json(loaded.request_transcoder.decode_json(document)) == document


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(chain(1500, ring=True), id="ring of 1,500"),
        pytest.param(chain(1500), id="chain of 1,500"),
        pytest.param(complete(60), id="60 that refer to each other"),
    ],
)
def test_nesting_of_declarations_does_not_depend_on_the_stack(
    file: FileDescriptorProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.contract.descriptors.pool.check_size", lambda _files: None)
    contract = unchecked(file)
    loaded = compile_contract(contract)
    assert loaded.request_transcoder.decode_json(b"{}") == b""
    assert loaded.response_transcoder.encode_json(b"") == b"{}"
    components = Components()
    input_schema(loaded.request, loaded.types, components)
    output_schema(loaded.response, loaded.types, components)
    assert len(components.schemas) >= len(file.message_type)


def values(document: object) -> int:
    if isinstance(document, dict):
        return 1 + sum(map(values, document.values()))
    return 1 + sum(map(values, document)) if isinstance(document, list) else 1


@pytest.mark.parametrize("count", [12, 16, 40])
def test_an_example_is_bounded_however_messages_refer_to_each_other(count: int) -> None:
    example = example_of(compile_contract(Contract.decode(encoded(complete(count)))).request)
    assert example is not None
    assert 12 <= values(example) < 1000


def test_an_example_that_would_be_too_large_is_omitted() -> None:
    required = complete(40, label=REQUIRED, later=True)
    loaded = compile_contract(Contract.decode(encoded(required)))
    assert example_of(loaded.request) is None
    assert input_schema(loaded.request).components.schemas
