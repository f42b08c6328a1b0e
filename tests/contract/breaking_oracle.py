"""`buf breaking` with its category WIRE_JSON as a judge. Many pairs of contracts go through one call."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from sys import prefix
from tempfile import TemporaryDirectory

import msgspec
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.contract import Contract
from tests.contract.random_descriptors import WELL_KNOWN_FILES

BUF = Path(prefix) / "bin" / "buf"
CONFIGURATION = '{"version":"v2","breaking":{"use":["WIRE_JSON"]}}'
FOUND = 100
"""The exit code of buf when something breaks."""

_OWN = ".google.protobuf."


class Annotation(msgspec.Struct, frozen=True):
    """One line of the output of `buf breaking`."""

    type: str
    message: str
    path: str = ""


def judged(pairs: Sequence[tuple[Contract, Contract]]) -> Sequence[frozenset[str]]:
    """The rules that the second contract of each pair breaks, as buf sees it."""
    with TemporaryDirectory() as folder:
        images = [Path(folder) / f"{side}.binpb" for side in ("old", "new")]
        for side, image in enumerate(images):
            image.write_bytes(_image(pair[side] for pair in pairs).SerializeToString())
        command: list[str | Path] = [
            BUF,
            "breaking",
            images[1],
            "--against",
            images[0],
            "--config",
            CONFIGURATION,
            "--error-format=json",
        ]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode in (0, FOUND), done.stderr.decode()
    found: list[set[str]] = [set() for _ in pairs]
    for line in done.stdout.splitlines():
        annotation = msgspec.json.decode(line, type=Annotation)
        found[int(annotation.path.partition("/")[0].removeprefix("pair"))].add(annotation.type)
    return [frozenset(rules) for rules in found]


def wire_json_rules() -> frozenset[str]:
    """The rules of the category, as the buf that is installed lists them."""
    command: list[str | Path] = [BUF, "config", "ls-breaking-rules", "--version=v2", "--format=json"]
    lines = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.splitlines()
    rules = [msgspec.json.decode(line) for line in lines]
    return frozenset(rule["id"] for rule in rules if "WIRE_JSON" in rule["categories"])


def _image(contracts: Iterable[Contract]) -> FileDescriptorSet:
    """The files of all of them: those of each in a folder and a package of its own, with a service that is its RPC."""
    image = FileDescriptorSet()
    for well_known in WELL_KNOWN_FILES:
        well_known.DESCRIPTOR.CopyToProto(image.file.add())
    for index, contract in enumerate(contracts):
        names = []
        for file in contract.descriptors.file:
            if file.package != "google.protobuf":
                _move(file, f"pair{index}")
                names.append(file.name)
                image.file.append(file)
        rpc = image.file.add(name=f"pair{index}/rpc.proto", package=f"pair{index}", dependency=names, syntax="proto3")
        method = rpc.service.add(name="Service").method.add(name="Call")
        method.server_streaming = contract.streaming
        method.input_type, method.output_type = (
            f".pair{index}.{name}" for name in (contract.request, contract.response)
        )
    return image


def _move(file: FileDescriptorProto, folder: str) -> None:
    file.name = f"{folder}/{file.name}"
    file.package = f"{folder}.{file.package}" if file.package else folder
    for index, name in enumerate(file.dependency):
        if not name.startswith("google/protobuf/"):
            file.dependency[index] = f"{folder}/{name}"
    for field in (*file.extension, *(field for message in file.message_type for field in _fields(message))):
        if field.type_name and not field.type_name.startswith(_OWN):
            field.type_name = f".{folder}{field.type_name}"
        if field.extendee and not field.extendee.startswith(_OWN):
            field.extendee = f".{folder}{field.extendee}"


def _fields(message: DescriptorProto) -> Iterator[FieldDescriptorProto]:
    yield from (*message.field, *message.extension)
    for nested in message.nested_type:
        yield from _fields(nested)
