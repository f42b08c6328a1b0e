"""A contract printed as .proto files and compiled again is the same contract."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import assume, given, settings

from hub.contract import Contract
from hub.contract.source import proto_source
from hub.v1 import contract_pb2, task_pb2
from tests.contract.bounded import bounded
from tests.contract.breaking_oracle import BUF
from tests.contract.mutations import pairs
from tests.contract.test_compatibility import CASES, pair
from tests.contract.test_contract import DIGITS


def compiled(contract: Contract) -> Contract:
    """What buf makes of the printed files."""
    with TemporaryDirectory() as folder:
        for name, text in proto_source(contract).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command: list[str | Path] = [BUF, "build", folder, "--exclude-source-info", "-o", "-#format=binpb"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, (done.stderr.decode(), proto_source(contract))
    files = FileDescriptorSet.FromString(done.stdout)
    message = contract_pb2.Contract(request=contract.request, response=contract.response, files=files)
    return Contract.decode(message.SerializeToString())


@pytest.mark.parametrize(
    "contract",
    [
        pytest.param(DIGITS, id="digits"),
        pytest.param(
            Contract.from_descriptors(task_pb2.Task.DESCRIPTOR, task_pb2.Outcome.DESCRIPTOR), id="enums and oneofs"
        ),
        *(
            pytest.param(pair(case)[1], id=case.name)
            for case in CASES
            if case.name in ("an extension", "a new required field", "message delimited", "more reserved", "an alias")
        ),
        *(pytest.param(pair(case)[0], id=f"before {case.name}") for case in CASES if case.name == "another default"),
    ],
)
def test_a_printed_contract_compiles_to_the_same_contract(contract: Contract) -> None:
    assert compiled(contract) == contract


@given(pairs())
@settings(bounded, max_examples=max(1, bounded.max_examples // 10))
def test_any_printed_contract_compiles_to_the_same_contract(both: tuple[Contract, Contract]) -> None:
    contract = both[0]
    # With an Any, files that are imported and not referred to are part of the contract; the text does not import them.
    assume(b"google/protobuf/any.proto" not in contract.files)
    assert compiled(contract) == contract


def test_a_contract_reads_like_its_source() -> None:
    [text] = proto_source(DIGITS).values()
    assert text.splitlines()[:9] == [
        'syntax = "proto3";',
        "",
        "package examples.digits.v1;",
        "",
        "message DigitsRequest {",
        "  repeated float pixels = 1;",
        "}",
        "",
        "message DigitsResponse {",
    ]
