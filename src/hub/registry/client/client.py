"""HTTP client of the registry, for instances, gateways and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_urlsafe
from typing import Final, TypeVar, final
from urllib.parse import quote, urlsplit

import msgspec
from google.protobuf.message import DecodeError
from httpx2 import AsyncClient, HTTPError, InvalidURL, ReadError, RemoteProtocolError, Response, UnsupportedProtocol

from hub.concurrency.exceptions import collapse_exception_group
from hub.contract import Contract
from hub.errors import ConnectionLost, ConnectionRefused, NotYourInstance, UnknownModel
from hub.observability.redaction import redacted, redacted_url
from hub.ports.directory import HistoryEvent
from hub.registry.client.contract_schemas import CheckBody, CheckReply, SchemaHistoryBody, SchemasBody
from hub.registry.client.errors import InstanceUnreachable, NameTaken, RegistryRefused, UnknownContract
from hub.registry.client.login import LoginRequest, LoginResult
from hub.registry.client.schemas import (
    CONTRACT,
    SECRET_HEADER,
    EventLogBody,
    InstanceBody,
    InstancesBody,
    LoginBody,
    LoginReply,
    ModelBody,
    ModelsBody,
    StatsBody,
)
from hub.registry.client.snapshot import KnownModel, ModelsSnapshot
from hub.safe_text import UNREADABLE_JSON
from hub.tls import speaks_tls, tls_refusal
from hub.types import Fingerprint, InstanceId, ModelName, reserved
from hub.v1 import contract_pb2

NOT_MODIFIED: Final = 304
_TOKEN_REFUSED: Final = (401, 403)

_Body = TypeVar("_Body")


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a problem reply that the client reads; see `hub.http.problems`."""

    code: str = ""
    detail: str = ""
    model: str = ""
    differences: tuple[str, ...] = ()
    incumbents: tuple[str, ...] = ()
    compatible: bool = False
    url: str = ""
    instance: str = ""
    reason: str = ""


@contextmanager
def _unknown_model(model: ModelName) -> Generator[None]:
    """Raises `UnknownModel` for a reply with that code."""
    try:
        yield
    except RegistryRefused as refused:
        if refused.problem_code == UnknownModel.code:
            raise UnknownModel(model) from refused
        raise


@final
class RegistryClient:
    """Calls one registry. Every call may be repeated; the caller bounds it with `fail_after`.

    Every method raises `ConnectionLost` when the registry is out of reach, sends a reply that cannot be read, or fails (5xx),
    `ConnectionRefused` when it does not accept the token or only one side uses TLS, and `RegistryRefused` for any other error
    that its description does not name.

    Args:
        base_url: Such as `http://127.0.0.1:8001`.
        http: Sends the requests; the caller closes it (see `hub.http.client.open_client`).
        token: Sent as a bearer token, unless empty.
    """

    def __init__(self, base_url: str, http: AsyncClient, *, token: str = "") -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._contracts: dict[tuple[ModelName, Fingerprint], Contract] = {}
        self._last: ModelsSnapshot | None = None
        self._answered = False
        self._secrets: dict[InstanceId, str] = {}  # of the instances of this process

    @property
    def server(self) -> str:
        """For errors and logs; never holds a password."""
        return f"registry {redacted_url(self._base_url)}"

    async def login(self, request: LoginRequest) -> LoginResult:
        """Lists an instance, or refreshes its login. The registry pings it before it answers.

        Without a secret in the request this client chooses one for each instance and sends it with each login, so that a
        login whose reply was lost can be repeated.

        Args:
            request: The login. `/ping` must be served at its URL already.

        Returns:
            The state after that ping, and which tasks the instance may be given. `SUSPECT` means that it was too slow; it
            is pinged again.

        Raises:
            NameTaken: Live instances hold the name with another contract.
            InstanceUnreachable: No process, or another one, answers at the URL. Worth a retry.
            NotYourInstance: The id is listed with another secret.
        """
        secret = request.secret or self._secrets.setdefault(request.instance, token_urlsafe())
        response = await self._call(
            "PUT",
            f"/v1/instances/{quote(request.instance, safe='')}",
            content=msgspec.json.encode(LoginBody.of(request)),
            headers={SECRET_HEADER: secret},
        )
        reply = self._decode(response, LoginReply)
        return LoginResult(state=reply.state, accepts=frozenset(map(Fingerprint, reply.accepts)))

    async def logout(self, instance: InstanceId) -> None:
        """Removes an instance from the list at once. Does nothing if it is not listed."""
        secret = self._secrets.get(instance)
        headers = {SECRET_HEADER: secret} if secret else {}
        await self._call("DELETE", f"/v1/instances/{quote(instance, safe='')}", headers=headers)

    async def models(self) -> ModelsSnapshot:
        """Every model that the registry knows now, active or not, with its contract."""
        snapshot = await self.models_after("", wait=0)
        if snapshot is None:
            raise ConnectionLost(self.server, "it answered 304 to a request that named no version")
        return snapshot

    async def models_after(self, etag: str, *, wait: float) -> ModelsSnapshot | None:
        """The models once the list is another one than `etag` names; see `hub.registry.client.watch` for a loop over this.

        If `etag` is that of the last snapshot of this client, only what has changed since is transferred.

        Returns:
            `None` if nothing has changed for `wait` seconds (rounded to whole ones).
        """
        headers = {"If-None-Match": etag, "Prefer": f"wait={wait:.0f}"} if etag else {}
        last = self._last if self._last is not None and self._last.etag == etag else None
        only_changes = "" if last is None else "&changes=true"
        response = await self._call("GET", f"/v1/models?known=true{only_changes}", headers=headers)
        if response.status_code == NOT_MODIFIED:
            return None
        body = self._decode(response, ModelsBody)
        # A registry of an earlier release may list names that are reserved now: their queues are not for tasks.
        listed = {
            ModelName(each.name): await self._known_model(each) for each in body.models if not reserved(each.name)
        }
        if body.partial:
            if last is None:
                raise ConnectionLost(self.server, "it sent changes to a request for the whole list")
            unchanged = {name: model for name, model in last.models.items() if name not in body.removed}
            listed = {**unchanged, **listed}
        models = dict(sorted(listed.items()))
        self._contracts = {(model.name, model.fingerprint): model.contract for model in models.values()}
        self._last = ModelsSnapshot(etag=response.headers.get("ETag", ""), models=models)
        return self._last

    async def instances(self) -> tuple[InstanceBody, ...]:
        """Every instance now, oldest login first."""
        return self._decode(await self._call("GET", "/v1/instances"), InstancesBody).instances

    async def listed_models(self) -> ModelsBody:
        """Every known model with its instances and its queue, as the registry lists it; contracts are not fetched."""
        return self._decode(await self._call("GET", "/v1/models?known=true"), ModelsBody)

    async def stats(self) -> StatsBody:
        """Statistics of every known model."""
        return self._decode(await self._call("GET", "/v1/stats"), StatsBody)

    async def history(self, *, model: ModelName | None = None, limit: int = 100) -> Sequence[HistoryEvent]:
        """Changes of state of instances, newest first: logins, removals, and changes between the states in between.

        Args:
            model: Only instances of this model.
            limit: Events at most, 1 to `hub.ports.directory.HISTORY_LENGTH`.
        """
        only = "" if model is None else f"&model={quote(model, safe='')}"
        response = await self._call("GET", f"/v1/history?limit={limit}{only}")
        return self._decode(response, EventLogBody).events

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None:
        """A contract of a model by its fingerprint, the current or an earlier one; each is fetched once.

        It is not compiled here: this release of hub may be unable to use it (`InvalidContract`).

        Returns:
            `None` if no instance of the model has ever logged in with that contract.
        """
        known = self._contracts.get((model, fingerprint))
        if known is not None:
            return known
        path = f"/v1/schemas/{quote(model, safe='')}?fingerprint={quote(fingerprint, safe='')}"
        try:
            response = await self._call("GET", path, headers={"Accept": CONTRACT})
        except RegistryRefused as refused:
            if refused.problem_code in (UnknownModel.code, UnknownContract.code):
                return None
            raise
        if response.headers.get("Content-Type") != CONTRACT:
            raise ConnectionLost(self.server, f"it does not know {CONTRACT}")
        try:
            message = contract_pb2.Contract.FromString(response.content)
        except DecodeError as error:
            raise ConnectionLost(self.server, f"its reply is not a hub.v1.Contract: {error}") from error
        found = Contract(
            request=message.request,
            response=message.response,
            files=message.files.SerializeToString(deterministic=True),
            fingerprint=fingerprint,
            streaming=message.streaming,
        )
        self._contracts[model, fingerprint] = found
        return found

    async def schemas(self) -> SchemasBody:
        """Every known model with its current contract."""
        return self._decode(await self._call("GET", "/v1/schemas"), SchemasBody)

    async def schema_history(self, model: ModelName) -> SchemaHistoryBody:
        """Every contract that a model has had, oldest first.

        Raises:
            UnknownModel: No instance of it has ever logged in.
        """
        with _unknown_model(model):
            response = await self._call("GET", f"/v1/schemas/{quote(model, safe='')}/history")
        return self._decode(response, SchemaHistoryBody)

    async def check(self, model: ModelName, contract: Contract) -> CheckReply:
        """Whether an instance with `contract` could log in while the present instances of the model are up.

        Raises:
            UnknownModel: No instance of it has ever logged in, so any contract could.
        """
        content = msgspec.json.encode(CheckBody(contract=contract.encode()))
        with _unknown_model(model):
            response = await self._call("POST", f"/v1/schemas/{quote(model, safe='')}/check", content=content)
        return self._decode(response, CheckReply)

    async def _known_model(self, body: ModelBody) -> KnownModel:
        name, fingerprint = ModelName(body.name), Fingerprint(body.fingerprint)
        contract = await self.contract(name, fingerprint)
        if contract is None:
            raise ConnectionLost(self.server, f"it lists {name} without its contract {fingerprint}")
        counts = Counter(instance.state for instance in body.instances) if body.states is None else body.states
        return KnownModel(
            name=name,
            contract=contract,
            instances=counts,
            example=body.example,
            limits=body.limits,
            comments=tuple(sorted(body.comments.items())),
        )

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Response:
        all_headers = {**self._headers, **(headers or {})}
        if content is not None:
            all_headers["Content-Type"] = "application/json"
        try:
            with collapse_exception_group():
                response = await self._http.request(
                    method, self._base_url + path, headers=all_headers, content=content, timeout=None
                )
        except (HTTPError, InvalidURL) as error:
            raise await self._lost(error) from error
        self._answered = True
        if response.is_success or response.status_code == NOT_MODIFIED:
            return response
        raise self._error(response)

    async def _lost(self, error: Exception) -> ConnectionLost:
        why = tls_refusal(error, trust="the system's certificates (SSL_CERT_FILE)")
        if isinstance(error, InvalidURL | UnsupportedProtocol):
            why = "write http://host:port or https://host:port"
        elif why is None and not self._answered and isinstance(error, ReadError | RemoteProtocolError):
            # It was reached and cut the connection: so does a server that waits for TLS.
            parts = urlsplit(self._base_url)
            if parts.scheme == "http" and await speaks_tls(parts.hostname or "", parts.port or 80):
                why = "the server speaks TLS at this port: write https:// instead of http://"
        if why is not None:
            return ConnectionRefused(self.server, why)
        return ConnectionLost(self.server, redacted(str(error)) or type(error).__name__)

    def _error(self, response: Response) -> Exception:
        try:
            problem = msgspec.json.decode(response.content, type=_Problem)
        except UNREADABLE_JSON:
            problem = _Problem(detail=response.reason_phrase)
        match problem.code:
            case NameTaken.code:
                return NameTaken(problem.model, problem.differences, problem.incumbents, problem.compatible)
            case InstanceUnreachable.code:
                return InstanceUnreachable(problem.url, problem.reason)
            case NotYourInstance.code:
                return NotYourInstance(problem.instance)
            case _ if response.status_code in _TOKEN_REFUSED:
                why = "set HUB_TOKEN to the same value here and at the registry"
                return ConnectionRefused(self.server, f"it does not accept the token ({response.status_code}): {why}")
            case _ if response.is_server_error:
                return ConnectionLost(self.server, f"it answered {response.status_code}: {problem.detail}")
            case code:
                return RegistryRefused(response.status_code, code, problem.detail)

    def _decode(self, response: Response, kind: type[_Body]) -> _Body:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except UNREADABLE_JSON as error:
            raise ConnectionLost(self.server, f"its reply is not a {kind.__name__}: {error}") from error
