"""`hub call`, `hub submit`, `hub task`, `hub cancel`, `hub stream`, `hub batch` and `hub bench`: the API of a gateway, in the shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from hub.cli.command import run_command
from hub.cli.parameters import SETTINGS_GROUP, Json, NameOfModel, parse_model_name
from hub.errors import ConfigurationError
from hub.settings.client import ClientSettings

if TYPE_CHECKING:
    from hub.client.client import Client

Request = Annotated[
    str,
    Parameter(
        show_env_var=False,
        allow_leading_hyphen=True,
        help="The request as JSON; @FILE for a file with it, - for standard input.",
    ),
]
File = Annotated[
    str,
    Parameter(
        show_env_var=False, allow_leading_hyphen=True, help="One request as JSON in each line; - for standard input."
    ),
]
Out = Annotated[
    str,
    Parameter(show_env_var=False, show_default=False, help="Write the lines to this file, not to standard output."),
]
TaskArgument = Annotated[str, Parameter(show_env_var=False, help="Id of the task.")]
Wait = Annotated[
    bool,
    Parameter(
        name="--wait", show_env_var=False, negative="", show_default=False, help="Wait until the task has ended."
    ),
]
NoWait = Annotated[
    bool,
    Parameter(
        name="--no-wait",
        show_env_var=False,
        negative="",
        show_default=False,
        help="Only submit: print the ids, not the outcomes.",
    ),
]
Timeout = Annotated[
    float | None,
    Parameter(
        show_env_var=False, show_default=False, help="Seconds until the deadline of a task; by default the model's."
    ),
]
Ttl = Annotated[
    float | None, Parameter(show_env_var=False, show_default=False, help="Seconds that the outcome is kept.")
]
Key = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Idempotency key: the same request under the same key is one task, which an interruption leaves running.",
    ),
]
Rate = Annotated[
    float | None,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Calls per second, however long the answers take; without it each caller waits for its answer.",
    ),
]
Concurrency = Annotated[
    int | None,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Callers, 16 by default. With --rate: calls in flight at most, 256 by default.",
    ),
]
Duration = Annotated[float, Parameter(show_env_var=False, help="Seconds in which calls begin.")]
WarmUp = Annotated[float, Parameter(show_env_var=False, help="Seconds of calls before that, which are not counted.")]
Requests = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        allow_leading_hyphen=True,
        help="Requests, one as JSON in each line, which are sent in turn; - for standard input.",
    ),
]

RETRY_FOR: Final = 5.0
"""Seconds that a lost connection or an overloaded gateway is retried: a person waits at the terminal."""

Settings = Annotated[ClientSettings | None, Parameter(group=SETTINGS_GROUP)]


def call(
    model: NameOfModel,
    request: Request = "{}",
    /,
    *,
    timeout: Timeout = None,
    result_ttl: Ttl = None,
    idempotency_key: Key = "",
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Call a model, wait, and print its response. Ctrl-C cancels the task."""
    from hub.cli.client.commands import call_model  # noqa: PLC0415 - each command loads only what it runs

    options = _options(timeout, result_ttl, idempotency_key)
    name = parse_model_name(model)
    return _run(partial(call_model, model=name, request=request, options=options, json_wanted=json), settings)


def submit(
    model: NameOfModel,
    request: Request = "{}",
    /,
    *,
    timeout: Timeout = None,
    result_ttl: Ttl = None,
    idempotency_key: Key = "",
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Submit a task and print its id."""
    from hub.cli.client.commands import submit_task  # noqa: PLC0415

    options = _options(timeout, result_ttl, idempotency_key)
    name = parse_model_name(model)
    return _run(partial(submit_task, model=name, request=request, options=options, json_wanted=json), settings)


def task(task: TaskArgument, /, *, wait: Wait = False, json: Json = False, settings: Settings = None) -> int:
    """Show a task, with its result. Exit code 1 if it has ended without one."""
    from hub.cli.client.commands import show_task  # noqa: PLC0415

    return _run(partial(show_task, task=task, wait=wait, json_wanted=json), settings)


def cancel(task: TaskArgument, /, *, json: Json = False, settings: Settings = None) -> int:
    """Cancel a task. Exit code 1 if it has ended otherwise."""
    from hub.cli.client.commands import cancel_task  # noqa: PLC0415

    return _run(partial(cancel_task, task=task, json_wanted=json), settings)


def stream(
    model: NameOfModel,
    request: Request = "{}",
    /,
    *,
    timeout: Timeout = None,
    result_ttl: Ttl = None,
    idempotency_key: Key = "",
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Call a streaming model and print each chunk as it comes. Ctrl-C cancels the task.

    On a terminal a line is a chunk; in a pipe and with --json it is {"id":"ATTEMPT-NUMBER","chunk":...}, or
    {"restarted":{"attempt":N}}, after which the lines so far are void.
    """
    from hub.cli.client.commands import stream_chunks  # noqa: PLC0415

    options = _options(timeout, result_ttl, idempotency_key)
    name = parse_model_name(model)
    return _run(partial(stream_chunks, model=name, request=request, options=options, json_wanted=json), settings)


def batch(
    model: NameOfModel,
    file: File,
    /,
    *,
    out: Out = "",
    no_wait: NoWait = False,
    timeout: Timeout = None,
    result_ttl: Ttl = None,
    idempotency_key: Key = "",
    settings: Settings = None,
) -> int:
    """Submit each line of a file, and write a line with the outcome for each, in order. Exit code 1 if one has no result.

    With --idempotency-key a batch that was interrupted goes on where it was: run it again with the same file and key.
    """
    from hub.cli.client.batch import run_batch  # noqa: PLC0415

    options = _options(timeout, result_ttl, idempotency_key)
    name = parse_model_name(model)
    return _run(partial(run_batch, model=name, file=file, out=out, waiting=not no_wait, options=options), settings)


def bench(
    model: NameOfModel,
    request: Request = "{}",
    /,
    *,
    file: Requests = "",
    rate: Rate = None,
    concurrency: Concurrency = None,
    duration: Duration = 10.0,
    warm_up: WarmUp = 1.0,
    timeout: Timeout = None,
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Call a model for some seconds and print rates and latencies by outcome. Piped: JSON.

    With --rate a latency counts from the time when the call was due. Ctrl-C ends it and prints what there is. Exit
    codes: 0 each call was answered once with a response, 1 some were not, or it was interrupted, 2 bad arguments or no
    such model, 3 the gateway is out of reach.
    """
    from hub.cli.client.bench import CALLERS, IN_FLIGHT, BenchPlan, requests_from, run_bench  # noqa: PLC0415

    for name, number in (("--rate", rate), ("--concurrency", concurrency), ("--duration", duration)):
        if number is not None and not 0 < number < inf:
            raise ConfigurationError(f"{name} is {number:g}; give a number above 0")
    if not 0 <= warm_up < inf:
        raise ConfigurationError(f"--warm-up is {warm_up:g}; give seconds, or 0 for none")
    plan = BenchPlan(
        model=parse_model_name(model),
        requests=requests_from(request, file),
        rate=rate,
        concurrency=concurrency or (CALLERS if rate is None else IN_FLIGHT),
        duration=duration,
        warm_up=warm_up,
        timeout=_options(timeout, None, "")["timeout"],
        retry_for=RETRY_FOR,
    )
    settings = settings or ClientSettings()
    return run_command(partial(run_bench, settings, plan, json_wanted=json), settings, interrupted="interrupted")


def _options(timeout: float | None, result_ttl: float | None, key: str) -> dict[str, Any]:
    from hub.client.submission import key_or_own, positive  # noqa: PLC0415

    try:
        for name, seconds in (("--timeout", timeout), ("--result-ttl", result_ttl)):
            if seconds is not None:
                positive(name, seconds)
        key_or_own(key or None)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return {"timeout": timeout, "result_ttl": result_ttl, "idempotency_key": key or None}


def _run(command: Callable[[Client], Awaitable[int]], settings: ClientSettings | None) -> int:
    from hub.client.client import Client  # noqa: PLC0415

    settings = settings or ClientSettings()

    async def run() -> int:
        async with Client(settings.gateway_url, api_key=settings.api_key, retry_for=RETRY_FOR) as client:
            return await command(client)

    return run_command(run, settings, interrupted="interrupted")
