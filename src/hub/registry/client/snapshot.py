"""The models of a registry at one moment, as its clients see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hub.contract.comments import Comments
from hub.contract.contract import Contract
from hub.ports.directory import ModelLimits
from hub.types import Fingerprint, InstanceState, ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that has logged in at least once.

    Attributes:
        instances: Number of instances in each state; a state without instances is left out.
        example: The newest example request of an instance, as ProtoJSON; empty without one.
        limits: Limits for its tasks, of its newest instance.
        comments: The newest comments of an instance on its `.proto` files.
    """

    name: ModelName
    contract: Contract
    instances: Mapping[InstanceState, int]
    example: str = ""
    limits: ModelLimits = ModelLimits()
    comments: Comments = ()

    @property
    def fingerprint(self) -> Fingerprint:
        return self.contract.fingerprint

    @property
    def streaming(self) -> bool:
        """Whether the model answers with a stream of response messages instead of one."""
        return self.contract.streaming

    @property
    def live(self) -> int:
        """Number of live instances. Without one the model is known, but runs no tasks."""
        return self.instances.get(InstanceState.LIVE, 0)

    @property
    def loading(self) -> int:
        """Number of instances whose `setup` is running."""
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
