"""From a request to an accepted task, and to its outcome."""

from __future__ import annotations

from typing import Final, final

from anyio import current_time

from hub.errors import HubError, LinkLost
from hub.gateway.accepted import Accepted
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.dispatch import Dispatch
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.negotiation import JSON, HttpRequest, body_type
from hub.gateway.submit_options import ResultTtls, SubmitOptions
from hub.http.headers import MAX_WAIT
from hub.task import TaskRecord


@final
class Admission:
    """What the routes that take work have in common.

    Attributes:
        call_wait: Seconds that a synchronous call waits when the client does not say.
    """

    def __init__(
        self, catalog: Catalog, dispatch: Dispatch, metrics: GatewayMetrics, *, call_wait: float, ttls: ResultTtls
    ) -> None:
        self.call_wait: Final = min(call_wait, MAX_WAIT)
        self._ttls = ttls
        self._catalog = catalog
        self._dispatch = dispatch
        self._metrics = metrics

    def find(self, model: str) -> ServedModel:
        """The model, if it is alive. Raises what `Catalog.find` does."""
        return self._catalog.find(model)

    def options(self, request: HttpRequest, model: ServedModel) -> SubmitOptions:
        """What the headers of a request say of the tasks that it makes. Raises what `SubmitOptions.of` does."""
        return SubmitOptions.of(request.headers, model.known.terms, self._ttls)

    async def submit(self, request: HttpRequest, model: ServedModel, *, waiting: bool) -> Accepted:
        """Makes a task of a request whose body is one request message. Raises what its parts do."""
        kind = body_type(request)
        options = self.options(request, model)
        return await self.submit_body(model, kind, await request.body(), options, waiting=waiting)

    async def submit_body(
        self, model: ServedModel, kind: str, content: bytes, options: SubmitOptions, *, waiting: bool
    ) -> Accepted:
        """Checks one request message and makes a task of it; returns once that is accepted.

        Args:
            model: Whose task it is.
            kind: `JSON` or `PROTOBUF`, which `content` is.
            content: The message as the client sent it.
            options: What else the client says of it.
            waiting: Whether somebody waits here for its end.

        Raises:
            MalformedJson, InvalidDocument, UndecodableBody: The body is no request of the model.
            HubError: As `Dispatch.submit` says.
        """
        body = model.codec.request_from_json(content) if kind == JSON else model.codec.checked_request(content)
        began = current_time()
        result = "cancelled"
        try:
            accepted = await self._dispatch.submit(model.name, model.fingerprint, body, options, waiting=waiting)
            result = "accepted"
        except HubError as error:
            result = error.code
            raise
        finally:
            self._metrics.submitted(model.name, result, current_time() - began)
        return accepted

    async def outcome(self, task: Accepted, seconds: float) -> TaskRecord | None:
        """The task once it has ended, or after `seconds` as it is by then; `None` if the store cannot tell.

        The task is accepted, so a lost store is no error here: the reply still names it.
        """
        began = current_time()
        try:
            record = await self._dispatch.wait(task.id, seconds)
        except LinkLost:
            return None
        self._metrics.waited(task.model, record.state, current_time() - began)
        return record
