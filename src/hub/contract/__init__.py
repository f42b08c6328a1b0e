"""Contracts: the request and response messages of a model, and everything that is computed from them."""

from hub.contract.compatibility.diff import (
    Difference as Difference,
    DifferenceKind as DifferenceKind,
    diff as diff,
)
from hub.contract.compatibility.rules import (
    BreakingChange as BreakingChange,
    Rule as Rule,
    breaking_changes as breaking_changes,
)
from hub.contract.compiled import CompiledContract as CompiledContract, compile_contract as compile_contract
from hub.contract.contract import Contract as Contract
from hub.contract.errors import (
    BrokenRules as BrokenRules,
    InvalidContract as InvalidContract,
    InvalidDocument as InvalidDocument,
    MalformedJson as MalformedJson,
    NotJsonRepresentable as NotJsonRepresentable,
    Problem as Problem,
)
from hub.contract.jsonschema.components import Components as Components, MessageSchema as MessageSchema
from hub.contract.jsonschema.input_schema import input_schema as input_schema
from hub.contract.jsonschema.output_schema import output_schema as output_schema
from hub.contract.protojson.transcoder import Transcoder as Transcoder
from hub.contract.rules.compiled import compile_rules as compile_rules
from hub.contract.rules.message_check import MessageCheck as MessageCheck
from hub.types import MAX_NESTING as MAX_NESTING
