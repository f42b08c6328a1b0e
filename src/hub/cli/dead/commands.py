"""The commands `hub dead list|show|replay|drop`. Each returns `EXIT_OK`, or `EXIT_PARTIAL` if a letter was left."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from math import inf

from anyio import current_time, wait_readable

from hub.cli.command import EXIT_OK, EXIT_PARTIAL
from hub.cli.dead.decode import decode_body
from hub.cli.dead.render import as_json, body_lines, count_codes, detail, letter_lines, record_of
from hub.cli.dead.session import TIMEOUT, DeadLetterSession, open_session, progress_timeout
from hub.cli.resources import open_broker
from hub.cli.terminal import console, one_line, printable, progress_bar
from hub.dead_letters import DeadLetter, Replayed, Replayer, records_of, settle_broker_deaths
from hub.errors import ConnectionLost
from hub.http.client import open_client
from hub.registry.client.client import RegistryClient
from hub.settings.connections import DeadSettings
from hub.types import ModelName, wall_clock


async def list_models(*, settings: DeadSettings, json_wanted: bool) -> int:
    """Lists the number of dead letters of each model that the registry knows."""
    out = console()
    with progress_timeout():
        try:
            async with open_client() as http:
                models = (await RegistryClient(settings.registry_url, http, token=settings.token).models()).models
        except ConnectionLost as lost:
            without = f"{lost.reason} (it lists the models; without it name one: hub dead list MODEL)"
            raise type(lost)(lost.server, without) from lost
        async with open_broker(settings) as broker:
            depths = await broker.depths(sorted(models))
    dead = {name: depth.dead for name, depth in depths.items() if depth is not None}
    if json_wanted:
        out.out(json.dumps({"models": [{"model": name, "dead": count} for name, count in dead.items()]}, indent=2))
        return EXIT_OK
    width = max(map(len, ("model", *dead)))
    out.print(f"{'model':<{width}}  dead letters", style="bold")
    for name, count in dead.items():
        out.print(f"{name:<{width}}  {count:>12}")
    return EXIT_OK


async def list_letters(model: ModelName, *, settings: DeadSettings, limit: int, code: str, json_wanted: bool) -> int:
    """Lists the oldest dead letters of a model. Stores the outcome of tasks that the broker has dead-lettered itself."""
    out = console()
    with progress_timeout():
        async with open_session(model, settings, limit=limit) as session:
            letters = session.select((), code).letters
            records = await settle_broker_deaths(letters, session.store)
    shown = [(letter, record_of(letter, records)) for letter in letters]
    if json_wanted:
        found = [as_json(letter, record) for letter, record in shown]
        out.out(json.dumps({"model": model, "total": session.total, "letters": found}, indent=2))
        return EXIT_OK
    if letters:
        for line in letter_lines(shown, now=wall_clock(), width=out.width):
            out.print(line, soft_wrap=True)
        out.print()
    out.print(session.summary(letters, code), soft_wrap=True)
    return EXIT_OK


async def show_letters(model: ModelName, name: str, *, settings: DeadSettings, limit: int, json_wanted: bool) -> int:
    """Shows the letters of one task, or of one message that is not a task, with everything that is known."""
    out = console()
    with progress_timeout():
        async with open_session(model, settings, limit=limit) as session:
            selection = session.select((name,), "")
            await _report_missing(session, selection.missing, "")
            records = await records_of(selection.letters, session.store)
    for letter in selection.letters:
        body = await decode_body(letter, settings)
        record = record_of(letter, records)
        if json_wanted:
            headers = {key: str(value) for key, value in letter.delivery.headers.items()}
            request = None if body.json is None else json.loads(body.json)
            raw = b64encode(body.data).decode()
            out.out(
                json.dumps({**as_json(letter, record), "headers": headers, "body": raw, "request": request}, indent=2)
            )
            continue
        out.print(detail(letter, record, body, now=wall_clock()))
        out.print()
        for line in body_lines(body):
            out.print(printable(line), soft_wrap=True)
    return EXIT_PARTIAL if selection.missing else EXIT_OK


async def replay_letters(
    model: ModelName,
    ids: Sequence[str],
    *,
    settings: DeadSettings,
    limit: int,
    code: str,
    keep_deadline: bool,
    again: bool,
) -> int:
    """Puts tasks back on their queue; see `hub.dead_letters.replay`."""
    out = console()
    reported: list[Replayed] = []

    with progress_timeout() as scope, progress_bar("left") as progress:
        bar = progress.add_task("replaying", total=None, failed=0)

        def report(replayed: Replayed) -> None:
            scope.deadline = current_time() + TIMEOUT  # progress was made
            reported.append(replayed)
            progress.update(bar, advance=1, failed=sum(bool(each.problem) for each in reported))
            _print_line(one_line(replayed.id), "left" if replayed.problem else "replayed", replayed.problem)

        async with open_session(model, settings, limit=limit) as session:
            selection = session.select(ids, code)
            await _report_missing(session, selection.missing, code)
            progress.update(bar, total=len(selection.letters))
            await Replayer(
                consumer=session.consumer,
                broker=session.broker,
                store=session.store,
                tell=report,
                keep_deadline=keep_deadline,
                again=again,
            ).replay(selection.letters)
    done = sum(not replayed.problem for replayed in reported)
    out.print(f"{done} of {len(reported)} replayed" if reported else session.summary((), code), soft_wrap=True)
    if not ids and session.remaining:
        out.print(
            f"{session.remaining} more were not read; run this again, or use --limit {session.total}", soft_wrap=True
        )
    return EXIT_OK if done == len(reported) and not selection.missing else EXIT_PARTIAL


async def drop_letters(
    model: ModelName, ids: Sequence[str], *, settings: DeadSettings, limit: int, code: str, sure: bool
) -> int:
    """Removes letters permanently, after a confirmation unless `sure`."""
    out = console()
    with progress_timeout() as scope:
        async with open_session(model, settings, limit=limit) as session:
            selection = session.select(ids, code)
            letters = selection.letters
            await _report_missing(session, selection.missing, code)
            if letters and not sure:
                scope.deadline = inf  # a person reads and answers
                sure = await _confirm(letters, session)
                scope.deadline = current_time() + TIMEOUT
            if sure:
                session.consumer.ack([letter.delivery for letter in letters])
    if letters and not sure:
        out.print("nothing was dropped")
        return EXIT_PARTIAL
    for letter in letters:
        _print_line(one_line(letter.id) or "(no id)", "dropped", letter.code)
    out.print(f"{len(letters)} dropped" if letters else session.summary((), code), soft_wrap=True)
    if not ids and session.remaining:
        out.print(
            f"{session.remaining} more were not read; run this again, or use --limit {session.total}", soft_wrap=True
        )
    return EXIT_PARTIAL if selection.missing else EXIT_OK


async def _report_missing(session: DeadLetterSession, missing: Sequence[str], code: str) -> None:
    for name in missing:
        _print_line(one_line(name), "missing", await session.explain(name, code))


async def _confirm(letters: Sequence[DeadLetter], session: DeadLetterSession) -> bool:
    sys.stdout.write(f"Drop {len(letters)} of {session.count} ({count_codes(letters)}) for good? [y/N] ")
    sys.stdout.flush()
    # The event loop keeps running for the heartbeats of the connection to the broker. A terminal is readable once a line is
    # complete; a thread that waits for that could not be stopped by an interrupt.
    await wait_readable(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print_line(name: str, what: str, why: str) -> None:
    """Prints the line of a letter: first what was done, for searches."""
    console().print(f"{what:<8}  {name:<36}  {one_line(why)}".rstrip(), soft_wrap=True)
    sys.stdout.flush()
