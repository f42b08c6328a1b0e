"""Contracts: what a model takes and gives back, and everything that is computed from it."""

from hub.contract.compatibility import Rule as Rule, Violation as Violation, violations as violations
from hub.contract.components import Components as Components, MessageSchema as MessageSchema
from hub.contract.contract import Contract as Contract, contract_of as contract_of
from hub.contract.differences import (
    Difference as Difference,
    DifferenceKind as DifferenceKind,
    differences as differences,
)
from hub.contract.errors import (
    InvalidContract as InvalidContract,
    InvalidDocument as InvalidDocument,
    MalformedJson as MalformedJson,
    NoJsonForm as NoJsonForm,
    Problem as Problem,
)
from hub.contract.loaded import LoadedContract as LoadedContract, load as load
from hub.contract.refusal import MAX_NESTING as MAX_NESTING
from hub.contract.schema import json_schema as json_schema
from hub.contract.transcoder import Transcoder as Transcoder
from hub.contract.written_schema import written_schema as written_schema
