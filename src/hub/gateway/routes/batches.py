"""The route that makes many tasks of one model."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.errors import HubError
from hub.gateway.batch.batch import Batch
from hub.gateway.tasks.metrics import SubmitMetrics
from hub.gateway.tasks.submission import SubmissionService
from hub.http.dependencies import HttpRequest
from hub.http.long_polling import LongPollRegistry
from hub.http.media_types import JSON, NDJSON, NDJSON_NAMES, UnsupportedBody, declared_type
from hub.http.negotiation import require_acceptable
from hub.http.streaming import DuplexStreamingResponse
from hub.submission.outcomes import SubmitResult

_BODY = f"{NDJSON} (in UTF-8), a request in each line"


@post("/v1/models/{model:str}/batches", status_code=200)
async def submit_batch(
    request: HttpRequest,
    model: FromPath[str],
    *,
    submissions: NamedDependency[SubmissionService],
    polls: NamedDependency[LongPollRegistry],
    body_limit: NamedDependency[int],
    submit_metrics: NamedDependency[SubmitMetrics],
) -> Response[bytes]:
    """Submits each line on its own; an error before the first line is a reply like that to a single submit."""
    served = submissions.find_model(model)
    if declared_type(request.headers, _BODY) not in NDJSON_NAMES:
        raise UnsupportedBody(request.headers["content-type"], _BODY)
    require_acceptable(request.headers, NDJSON_NAMES, f"the reply to a batch comes as {NDJSON}")
    options = submissions.options(request, served)

    async def submit(index: int, line: bytes) -> SubmitResult:
        # Found again for each line: a batch may take hours, and the model may change or disappear meanwhile.
        return await submissions.submit_message(
            submissions.find_model(model), JSON, line, options.for_line(index), waiting=False
        )

    def refused(error: HubError) -> None:
        submit_metrics.refused(served.name, error)

    batch = Batch(submit, line_limit=body_limit, polls=polls, on_refused=refused)
    return DuplexStreamingResponse(batch.run, media_type=NDJSON)
