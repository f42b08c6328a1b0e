"""The route that gives a model many tasks at once."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.errors import HubError
from hub.gateway.batch.batch import Batch
from hub.gateway.batch.ndjson import NDJSON, NDJSON_NAMES
from hub.gateway.errors import NotAcceptable
from hub.gateway.negotiation import JSON, HttpRequest, liking
from hub.gateway.tasks.metrics import GatewayMetrics
from hub.gateway.tasks.submission import SubmissionService
from hub.gateway.tasks.submit_result import SubmitResult
from hub.http.long_polling import LongPollRegistry
from hub.http.media_types import UnsupportedBody, declared_type
from hub.http.streaming import DuplexStreamingResponse


@post("/v1/models/{model:str}/batches", status_code=200)
async def submit_batch(
    request: HttpRequest,
    model: FromPath[str],
    *,
    admission: NamedDependency[SubmissionService],
    polls: NamedDependency[LongPollRegistry],
    body_limit: NamedDependency[int],
    metrics: NamedDependency[GatewayMetrics],
) -> Response[bytes]:
    """Each line is a submit of its own, and what fails before the first line fails as one does."""
    served = admission.find(model)
    _check_types(request)
    options = admission.options(request, served)

    async def submit(index: int, line: bytes) -> SubmitResult:
        # Found again for each line: a batch may take hours, and models come and go.
        return await admission.submit_body(admission.find(model), JSON, line, options.for_line(index), waiting=False)

    def refused(error: HubError) -> None:
        metrics.refused(served.name, error.code)

    return DuplexStreamingResponse(
        Batch(submit, line_limit=body_limit, polls=polls, on_refused=refused), media_type=NDJSON
    )


def _check_types(request: HttpRequest) -> None:
    wanted = f"{NDJSON} (in UTF-8), a request in each line"
    if declared_type(request.headers, wanted) not in NDJSON_NAMES:
        raise UnsupportedBody(request.headers["content-type"], wanted)
    if not liking(request, NDJSON_NAMES):
        raise NotAcceptable(f"Accept is {request.headers['accept']!r}; the reply to a batch comes as {NDJSON}")
