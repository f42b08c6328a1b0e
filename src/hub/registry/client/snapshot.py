"""The models of a registry at one moment, as its clients see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hub.contract.contract import Contract
from hub.ports.directory import ModelLimits
from hub.types import Fingerprint, InstanceState, ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """An accepted login.

    Attributes:
        state: What the ping that ended it has found.
        accepts: Other contracts whose tasks the instance may be given; see `hub.registry.core.contracts.ContractRegistry.accepts`.
    """

    state: InstanceState
    accepts: frozenset[Fingerprint]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that has logged in at least once.

    Attributes:
        instances: How many there are in each state; a state without instances is left out.
        example: A request as ProtoJSON that one of them offered for documentation; empty if none did.
        limits: What holds for its tasks, as its newest instance says.
    """

    name: ModelName
    contract: Contract
    instances: Mapping[InstanceState, int]
    example: str = ""
    limits: ModelLimits = ModelLimits()

    @property
    def fingerprint(self) -> Fingerprint:
        return self.contract.fingerprint

    @property
    def live(self) -> int:
        """Live instances. With none the model is known, but nobody would answer."""
        return self.instances.get(InstanceState.LIVE, 0)

    @property
    def loading(self) -> int:
        """Instances that will be live once their `setup` is done, unless it fails."""
        return self.instances.get(InstanceState.LOADING, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsSnapshot:
    """Every model that the registry knows, active or not.

    Attributes:
        etag: The version of the list, opaque; equal etags mean equal lists.
    """

    etag: str
    models: Mapping[ModelName, KnownModel]

    @property
    def active(self) -> Mapping[ModelName, KnownModel]:
        """The models with at least one live instance."""
        return {name: model for name, model in self.models.items() if model.live}
