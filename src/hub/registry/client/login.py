"""A login, from the instance to the directory."""

from __future__ import annotations

from dataclasses import dataclass

from hub.contract.comments import Comments
from hub.contract.contract import Contract
from hub.ports.directory import InstanceEntry, ModelLimits
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRequest:
    """What an instance declares when it logs in.

    Attributes:
        instance: Its id.
        model: The name of its model.
        url: Base of its HTTP routes as the registry reaches them, such as `http://10.0.0.7:40123`.
        contract: The messages of its model.
        example: An example request as ProtoJSON, for documentation.
        comments: Comments of its `.proto` files, for documentation; not part of the contract.
        limits: Limits for the tasks of its model.
        consuming: Whether it takes tasks now. A false one is believed at once, a true one when the ping agrees.
        loading: Whether its `setup` is still to be done; then it gets no tasks, whatever `consuming` is.
        secret: The secret of its earlier logins, or one that it chooses; empty: the receiver chooses one.
    """

    instance: InstanceId
    model: ModelName
    url: str
    contract: Contract
    example: str = ""
    limits: ModelLimits = ModelLimits()
    consuming: bool = True
    loading: bool = False
    secret: str = ""
    comments: Comments = ()

    def entry(self, *, logged_in_at: float, secret_hash: str) -> InstanceEntry:
        """The part that the directory stores beside the contract."""
        return InstanceEntry(
            id=self.instance,
            model=self.model,
            url=self.url,
            fingerprint=self.contract.fingerprint,
            logged_in_at=logged_in_at,
            example=self.example,
            limits=self.limits,
            secret_hash=secret_hash,
            comments=self.comments,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """An accepted login, as the instance sees it.

    Attributes:
        state: The state after the ping that ends a login.
        accepts: Other contracts whose tasks the instance may be given.
    """

    state: InstanceState
    accepts: frozenset[Fingerprint]
