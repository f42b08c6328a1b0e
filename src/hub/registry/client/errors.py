"""The errors of the registry, raised alike by the registry itself and by its client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from typing_extensions import override

from hub.errors import HubError

SHORTEST_FINGERPRINT: Final = 8
"""Digits that are enough to name a contract, as long as no other one of the model begins with them."""


COMPATIBLE_REPAIR: Final = (
    "This change breaks none of the rules of compatible mode: start the registry with HUB_CONTRACT_MODE=compatible, and "
    "both contracts may be up together"
)


@final
class NameTaken(HubError):
    """A model of this name is up with another contract.

    Attributes:
        differences: What the new contract does otherwise than theirs, one sentence for each field.
        incumbents: The instances that hold the name: state, id and URL. None of them is disturbed.
        compatible: Whether a registry in compatible mode would have let the new contract in beside theirs.
    """

    code = "name_taken"
    status = 409
    exit_code = 2
    title = "The name belongs to a model with another contract"

    def __init__(
        self,
        model: str,
        differences: Sequence[str],
        incumbents: Sequence[str],
        compatible: bool = False,  # noqa: FBT001, FBT002 - pickled by position
    ) -> None:
        super().__init__(model, differences, incumbents, compatible)
        self.compatible = compatible
        self.model = model
        self.differences = tuple(differences)
        self.incumbents = tuple(incumbents)

    @override
    def __str__(self) -> str:
        holders = ", ".join(self.incumbents) or "another model"
        return (
            f"the model name {self.model!r} is taken by {holders}, with another contract: "
            f"{'; '.join(self.differences)}. "
            + (f"{COMPATIBLE_REPAIR}; or give" if self.compatible else "Give")
            + " your model another name, or stop those instances first"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {
            "model": self.model,
            "differences": list(self.differences),
            "incumbents": list(self.incumbents),
            "compatible": self.compatible,
        }


@final
class UnknownContract(HubError):
    """A model has never had a contract of this fingerprint, or several of which it is the beginning."""

    code = "unknown_contract"
    status = 404
    title = "Unknown contract"

    def __init__(self, model: str, fingerprint: str, known: Sequence[str]) -> None:
        super().__init__(model, fingerprint, known)
        self.model = model
        self.fingerprint = fingerprint
        self.known = tuple(known)

    @override
    def __str__(self) -> str:
        number = sum(fingerprint.startswith(self.fingerprint) for fingerprint in self.known)
        what = f"{number} contracts that begin with" if number else "no contract"
        return (
            f"model {self.model!r} has had {what} {self.fingerprint!r}: take one of the {len(self.known)} that "
            f"GET /v1/schemas/{self.model}/history lists, or at least its first {SHORTEST_FINGERPRINT} digits"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"model": self.model, "fingerprint": self.fingerprint, "known": list(self.known)}


@final
class InstanceUnreachable(HubError):
    """The registry could not confirm a login, because no process, or another one, answers at the instance's address."""

    code = "instance_unreachable"
    status = 502
    exit_code = 3
    title = "The registry cannot reach the instance"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    @override
    def __str__(self) -> str:
        return (
            f"the registry pinged {self.url} and got: {self.reason}. Advertise an address at which the registry "
            "reaches the instance (HUB_ADVERTISE_HOST), then log in again"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"url": self.url, "reason": self.reason}

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class DescriptorsUnreachable(HubError):
    """A login has no contract, and the registry could not read it from the descriptor routes of the instance.

    Attributes:
        url: Of the route, or of the instance.
        reason: What the registry got instead.
    """

    code = "descriptors_unreachable"
    status = 502
    exit_code = 3
    title = "The registry cannot read the descriptors of the instance"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    @override
    def __str__(self) -> str:
        return (
            f"the login has no contract, and the registry got from {self.url}: {self.reason}. Serve /descriptors, "
            "/descriptors/request and /descriptors/response at the URL of the instance before it logs in, or send the "
            "contract with the login"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"url": self.url, "reason": self.reason}

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class InvalidDescriptors(HubError):
    """A login has no contract, and what the descriptor routes of the instance serve is none.

    Attributes:
        url: Of the route.
        reason: What is wrong with its reply.
    """

    code = "invalid_descriptors"
    status = 422
    title = "The descriptors of the instance are not a contract"
    exit_code = 2

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"the login has no contract, and what {self.url} serves cannot be used: {self.reason}"

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"url": self.url, "reason": self.reason}


@final
class InvalidLogin(HubError):
    """A login, or a contract to check, that can never be accepted as it stands."""

    code = "invalid_login"
    status = 422
    title = "Invalid login"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"field": self.field}


@final
class RegistryRefused(HubError):
    """The registry answered a call of its client with an error that a new try will not change."""

    code = "registry_refused"
    status = 502
    exit_code = 2
    title = "The registry refused the call"

    def __init__(self, http_status: int, problem_code: str, detail: str) -> None:
        super().__init__(http_status, problem_code, detail)
        self.http_status = http_status
        self.problem_code = problem_code
        self.detail = detail

    @override
    def __str__(self) -> str:
        return f"the registry refused with {self.http_status} {self.problem_code}: {self.detail}"
