"""Contracts: what a model takes and gives back, and everything that is computed from it."""

from hub.contract.compatibility.differences import (
    Difference as Difference,
    DifferenceKind as DifferenceKind,
    differences as differences,
)
from hub.contract.compatibility.rules import (
    BreakingChange as BreakingChange,
    Rule as Rule,
    breaking_changes as breaking_changes,
)
from hub.contract.compiled import CompiledContract as CompiledContract, compile_contract as compile_contract
from hub.contract.contract import Contract as Contract, contract_of as contract_of
from hub.contract.errors import (
    MAX_NESTING as MAX_NESTING,
    InvalidContract as InvalidContract,
    InvalidDocument as InvalidDocument,
    MalformedJson as MalformedJson,
    NotJsonRepresentable as NotJsonRepresentable,
    Problem as Problem,
)
from hub.contract.jsonschema.components import Components as Components, MessageSchema as MessageSchema
from hub.contract.jsonschema.reply_schema import written_schema as written_schema
from hub.contract.jsonschema.schema import json_schema as json_schema
from hub.contract.protojson.transcoder import Transcoder as Transcoder
