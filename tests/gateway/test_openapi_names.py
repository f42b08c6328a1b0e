"""Names in the API description: unique for every generator, and independent of other live models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from hypothesis import given, strategies as st

from hub.contract import Contract
from hub.contract.descriptors.pool import build_pool
from hub.gateway.openapi.names import SharedSchemas, folded, operation_suffixes
from hub.types import ModelName
from tests.gateway.fixtures import CONTRACT_A, LocalGateway
from tests.gateway.test_description import document, references

PREFIX = "#/components/schemas/"
model_names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,9}", fullmatch=True)


@given(st.sets(model_names, max_size=8))
def test_operations_of_models_differ_in_more_than_case_and_punctuation(names: set[str]) -> None:
    suffixes = operation_suffixes(names)
    assert suffixes.keys() == names
    assert len({folded(suffix) for suffix in suffixes.values()}) == len(names)
    assert all(suffix.isalnum() and suffix[0].isupper() for suffix in suffixes.values())


def test_operations_carry_the_name_of_their_model() -> None:
    suffixes = operation_suffixes(["ModelA", "sentiment", "my-model.v2", "SENTIMENT"])
    assert {name: suffixes[name] for name in ("ModelA", "my-model.v2", "SENTIMENT")} == {
        "ModelA": "ModelA",
        "my-model.v2": "MyModelV2",
        "SENTIMENT": "SENTIMENT",
    }
    assert suffixes["sentiment"].startswith("Sentiment")


def raws(**schemas: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode({"title": name, "of": of})) for name, of in schemas.items()}


def ref(name: str) -> dict[str, str]:
    return {"$ref": PREFIX + name}


def decoded(schemas: SharedSchemas) -> dict[str, Any]:
    return {name: msgspec.json.decode(schema) for name, schema in schemas.schemas.items()}


def test_equal_schemas_of_two_models_are_one_component() -> None:
    schemas = SharedSchemas({})
    assert schemas.add("A", raws(Item=1, Order=ref("Item"))) == {}
    assert schemas.add("B", raws(Item=1, Basket=ref("Item"))) == {}
    assert schemas.schemas.keys() == {"Item", "Order", "Basket"}


def test_a_different_version_of_a_message_and_all_that_contain_it_are_components_of_the_model() -> None:
    schemas = SharedSchemas({})
    schemas.add("A", raws(Item=1, Order=ref("Item"), Other=0))
    assert schemas.add("B", raws(Item=2, Order=ref("Item"), Other=0)) == {"Item": "B.Item", "Order": "B.Order"}
    found = decoded(schemas)
    assert found["Order"]["of"] == ref("Item")
    assert found["B.Order"] == {"title": "B.Order", "of": ref("B.Item")}
    assert found["B.Item"] == {"title": "B.Item", "of": 2}
    assert found.keys() == {"Item", "Order", "Other", "B.Item", "B.Order"}


def test_a_name_that_differs_only_in_case_or_punctuation_gets_the_same_other_name_in_all_models() -> None:
    schemas = SharedSchemas(raws(Task=0))
    first = schemas.add("A", raws(**{"v1.Item": 1, "v1.ITEM": 2, "task": 3, "Order": ref("v1.ITEM")}))
    second = schemas.add("B", raws(**{"v1.ITEM": 2, "Order": ref("v1.ITEM")}))
    assert first.keys() == {"v1.ITEM", "task"}
    assert second == {"v1.ITEM": first["v1.ITEM"]}
    found = decoded(schemas)
    assert found["Order"]["of"] == ref(first["v1.ITEM"])
    assert found[first["v1.ITEM"]] == {"title": first["v1.ITEM"], "of": 2}
    assert len({*map(folded, found)}) == len(found) == 5


@st.composite
def components(draw: st.DrawFn) -> dict[str, msgspec.Raw]:
    names = draw(st.sets(st.sampled_from(["a.B", "A.b", "ab", "c", "C-Input", "Task", "model.c"]), min_size=1))
    return raws(**{name: draw(st.integers(0, 1) | st.sampled_from(sorted(names)).map(ref)) for name in names})


@given(st.dictionaries(model_names, components(), max_size=4))
def test_every_reference_of_a_model_leads_to_its_own_schema(
    models: Mapping[str, dict[str, msgspec.Raw]],
) -> None:
    schemas = SharedSchemas(raws(Task="ours"))
    renamed = {model: schemas.add(model, own) for model, own in models.items()}
    found = decoded(schemas)
    assert found["Task"]["of"] == "ours"
    assert len({*map(folded, found)}) == len(found)
    for model, own in models.items():
        for name, schema in own.items():
            here = renamed[model].get(name, name)
            meant = msgspec.json.decode(schema)["of"]
            if isinstance(meant, dict):
                target = meant["$ref"].removeprefix(PREFIX)
                meant = ref(renamed[model].get(target, target))
            assert found[here] == {"title": here, "of": meant}


def shop(number: int = 1) -> Contract:
    """A contract whose messages are called like components of the gateway, and differ with `number`."""
    file = FileDescriptorProto(name="shop.proto", syntax="proto3")
    task = file.message_type.add(name="Task")
    task.field.add(name="id", number=number, label=1, type=FieldDescriptorProto.TYPE_STRING)
    task.field.add(name=f"of_{number}", number=9, label=1, type=FieldDescriptorProto.TYPE_STRING)
    pool = build_pool(FileDescriptorSet(file=[file]))
    return Contract.from_descriptors(pool.FindMessageTypeByName("Task"), pool.FindMessageTypeByName("Task"))


async def test_a_description_of_models_in_conflict_is_sound(gateway: LocalGateway) -> None:
    await gateway.list_model(ModelName("tasks"), shop(1), live=1)  # the name of a tag of the gateway, too
    await gateway.list_model(ModelName("Tasks"), shop(2), live=1)
    await gateway.list_model(ModelName("a.b"), shop(1), live=1)
    await gateway.list_model(ModelName("a_b"), CONTRACT_A, live=1)
    found = await document(gateway)

    schemas = found["components"]["schemas"]
    assert set(schemas["Task"]["required"]) >= {"id", "state"}  # the gateway's own
    assert len({*map(folded, schemas)}) == len(schemas)
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]
    assert len(titles) == len({*map(folded, titles)})
    assert {reference.removeprefix(PREFIX) for reference in references(found) if reference.startswith(PREFIX)} <= (
        schemas.keys()
    )
    for model, number in (("tasks", 1), ("Tasks", 2), ("a.b", 1)):
        operation = found["paths"][f"/v1/models/{model}"]["post"]
        reply = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].removeprefix(PREFIX)
        assert schemas[reply]["required"] == ["id", f"of{number}"]
    ids = [item[method]["operationId"] for item in found["paths"].values() for method in item]
    assert len({*map(folded, ids)}) == len(ids)
    tags = [tag["name"] for tag in found["tags"]]
    assert len(tags) == len({*tags})


async def test_a_new_model_renames_no_component_of_the_others(gateway: LocalGateway) -> None:
    await gateway.list_model(ModelName("a"), shop(), live=1)
    await gateway.list_model(ModelName("ModelA"), CONTRACT_A, live=1)
    before = await document(gateway)
    await gateway.list_model(ModelName("z"), shop(2), live=1)
    after = await document(gateway)
    assert before["paths"].items() <= after["paths"].items()
    assert before["components"]["schemas"].items() <= after["components"]["schemas"].items()


@pytest.mark.parametrize("words", ["const", "patternProperties"])
async def test_the_description_has_only_what_code_generators_support(gateway: LocalGateway, words: str) -> None:
    await gateway.list_model(ModelName("ModelA"), CONTRACT_A, live=1)
    assert words not in keys(await document(gateway))


def keys(value: object) -> set[str]:
    match value:
        case dict():
            return {*value}.union(*map(keys, value.values()))
        case list():
            return set[str]().union(*map(keys, value))
        case _:
            return set()
