"""Which contracts of a model may be up together, and which one clients write for."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from hub.contract import Contract
from hub.ports.directory import RegisteredContract
from hub.registry.core.contracts import ContractRegistry
from hub.settings.registry import ContractMode
from hub.types import Fingerprint, ModelName, new_instance_id
from tests.registry.helpers import BROKEN, GROWN, GROWN_MORE, PLAIN, numbered

MODEL = ModelName("Grower")


def contracts(*contracts: Contract, mode: ContractMode = "compatible") -> ContractRegistry:
    """One that has accepted these, in this order."""
    made = ContractRegistry(mode)
    for at, contract in enumerate(contracts):
        made.add(
            RegisteredContract(
                model=MODEL, contract=contract, first_seen_at=float(at), first_seen_from=new_instance_id()
            )
        )
    return made


def fingerprints(*contracts: Contract) -> frozenset[Fingerprint]:
    return frozenset(contract.fingerprint for contract in contracts)


def test_in_strict_mode_no_other_contract_is_compatible() -> None:
    strict = contracts(PLAIN, GROWN, mode="strict")
    assert not strict.compatible_with(MODEL, GROWN, fingerprints(PLAIN))
    assert not strict.readable_contracts(MODEL, GROWN)


def test_a_grown_contract_is_compatible_with_the_one_that_it_can_read() -> None:
    known = contracts(PLAIN)
    assert known.compatible_with(MODEL, GROWN, fingerprints(PLAIN)) == fingerprints(PLAIN)
    assert list(known.readable_contracts(MODEL, GROWN)) == [PLAIN.fingerprint]


def test_a_contract_that_breaks_the_one_that_is_up_is_not_compatible() -> None:
    assert not contracts(PLAIN).compatible_with(MODEL, BROKEN, fingerprints(PLAIN))
    assert not contracts(PLAIN, BROKEN).compatible_with(MODEL, BROKEN, fingerprints(PLAIN))


def test_an_earlier_contract_is_compatible_with_one_that_can_read_it() -> None:
    assert contracts(PLAIN, GROWN).compatible_with(MODEL, PLAIN, fingerprints(GROWN)) == fingerprints(GROWN)


def test_an_unknown_smaller_contract_is_not_compatible() -> None:
    assert not contracts(GROWN).compatible_with(MODEL, PLAIN, fingerprints(GROWN))


def test_a_contract_is_not_compatible_with_an_unknown_one() -> None:
    assert not contracts(GROWN).compatible_with(MODEL, GROWN, fingerprints(PLAIN))


@pytest.mark.parametrize(
    ("up", "served"),
    [
        pytest.param((PLAIN, GROWN), PLAIN, id="old and new"),
        pytest.param((GROWN, GROWN_MORE), GROWN, id="new and newer"),
        pytest.param((PLAIN, GROWN, GROWN_MORE), PLAIN, id="three"),
        pytest.param((GROWN,), GROWN, id="new"),
    ],
)
@pytest.mark.parametrize("accepted", [(PLAIN, GROWN, GROWN_MORE), (GROWN_MORE, GROWN, PLAIN)])
def test_the_serving_contract_is_the_one_that_all_can_read_in_any_order(
    up: tuple[Contract, ...], served: Contract, accepted: tuple[Contract, ...]
) -> None:
    assert contracts(*accepted).serving_contract(MODEL, fingerprints(*up)) == served.fingerprint


def test_the_readable_contracts_are_those_that_it_does_not_break() -> None:
    known = contracts(PLAIN, BROKEN, GROWN, GROWN_MORE)
    assert list(known.readable_contracts(MODEL, GROWN_MORE)) == [PLAIN.fingerprint, GROWN.fingerprint]
    assert not known.readable_contracts(MODEL, PLAIN)


def test_of_two_that_can_read_each_other_the_older_one_serves() -> None:
    signed, unsigned = numbered(FieldDescriptorProto.TYPE_INT32), numbered(FieldDescriptorProto.TYPE_UINT32)
    up = fingerprints(signed, unsigned)
    assert contracts(signed, unsigned).serving_contract(MODEL, up) == signed.fingerprint
    assert contracts(unsigned, signed).serving_contract(MODEL, up) == unsigned.fingerprint
