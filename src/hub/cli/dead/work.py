"""What `hub dead list|show|replay|drop` do. Each returns the exit code: 0, or 1 if something could not be done."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from math import inf

from anyio import current_time, fail_after, wait_readable

from hub.brokers import open_broker
from hub.cli.dead.decode import body_of
from hub.cli.dead.render import as_json, body_lines, counted, detail, letter_lines, record_of
from hub.cli.dead.session import DONE, NOT_ALL_DONE, TIMEOUT, DeadLetterSession, open_desk
from hub.cli.options import broker_options
from hub.cli.terminal import console, one_line, printable
from hub.dead_letters import DeadLetter, Replay, Replayed, records_of, settle_broker_deaths
from hub.errors import ConnectionLost
from hub.http.client import open_client
from hub.registry.client.client import RegistryClient
from hub.settings.links import DeadSettings
from hub.types import ModelName, wall_clock


async def list_models(settings: DeadSettings, *, json_wanted: bool) -> int:
    """How many dead letters each model has that the registry knows."""
    out = console()
    with fail_after(TIMEOUT):
        try:
            async with open_client() as http:
                models = (await RegistryClient(settings.registry_url, http, token=settings.token).models()).models
        except ConnectionLost as lost:
            without = f"{lost.reason} (it knows the models; without it name one: hub dead list MODEL)"
            raise type(lost)(lost.server, without) from lost
        async with open_broker(settings.broker_url, broker_options(settings)) as broker:
            depths = await broker.depths(sorted(models))
    dead = {name: depth.dead for name, depth in depths.items() if depth is not None}
    if json_wanted:
        out.out(json.dumps({"models": [{"model": name, "dead": count} for name, count in dead.items()]}, indent=2))
        return DONE
    width = max(map(len, ("model", *dead)))
    out.print(f"{'model':<{width}}  dead letters", style="bold")
    for name, count in dead.items():
        out.print(f"{name:<{width}}  {count:>12}")
    return DONE


async def list_letters(model: ModelName, settings: DeadSettings, *, limit: int, code: str, json_wanted: bool) -> int:
    """The oldest dead letters of a model. Finishes the tasks that the broker has given up."""
    out = console()
    with fail_after(TIMEOUT):
        async with open_desk(model, settings, limit=limit) as desk:
            letters = desk.select((), code).letters
            records = await settle_broker_deaths(letters, desk.store)
    shown = [(letter, record_of(letter, records)) for letter in letters]
    if json_wanted:
        found = [as_json(letter, record) for letter, record in shown]
        out.out(json.dumps({"model": model, "total": desk.total, "letters": found}, indent=2))
        return DONE
    if letters:
        for line in letter_lines(shown, now=wall_clock(), width=out.width):
            out.print(line, soft_wrap=True)
        out.print()
    out.print(desk.summary(letters, code), soft_wrap=True)
    return DONE


async def show_letters(model: ModelName, name: str, settings: DeadSettings, *, limit: int, json_wanted: bool) -> int:
    """Everything about the letters of one task, or of one message that is no task."""
    out = console()
    with fail_after(TIMEOUT):
        async with open_desk(model, settings, limit=limit) as desk:
            selection = desk.select((name,), "")
            await _report_missing(desk, selection.missing, "")
            records = await records_of(selection.letters, desk.store)
    for letter in selection.letters:
        body = await body_of(letter, settings)
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
    return NOT_ALL_DONE if selection.missing else DONE


async def replay_letters(
    model: ModelName,
    ids: Sequence[str],
    settings: DeadSettings,
    *,
    limit: int,
    code: str,
    keep_deadline: bool,
    again: bool,
) -> int:
    """Puts tasks back to work; see `hub.dead_letters.replay`."""
    out = console()
    told: list[Replayed] = []

    with fail_after(TIMEOUT) as scope:

        def tell(replayed: Replayed) -> None:
            scope.deadline = current_time() + TIMEOUT  # it gets on
            told.append(replayed)
            _tell(one_line(replayed.id), "left" if replayed.problem else "replayed", replayed.problem)

        async with open_desk(model, settings, limit=limit) as desk:
            selection = desk.select(ids, code)
            await _report_missing(desk, selection.missing, code)
            await Replay(
                consumer=desk.consumer,
                broker=desk.broker,
                store=desk.store,
                tell=tell,
                keep_deadline=keep_deadline,
                again=again,
            )(selection.letters)
    done = sum(not replayed.problem for replayed in told)
    out.print(f"{done} of {len(told)} replayed" if told else desk.summary((), code), soft_wrap=True)
    if not ids and desk.beyond:
        out.print(f"{desk.beyond} more were not looked at; run this again, or use --limit {desk.total}", soft_wrap=True)
    return DONE if done == len(told) and not selection.missing else NOT_ALL_DONE


async def drop_letters(
    model: ModelName, ids: Sequence[str], settings: DeadSettings, *, limit: int, code: str, sure: bool
) -> int:
    """Removes letters for good, when somebody is sure."""
    out = console()
    with fail_after(TIMEOUT) as scope:
        async with open_desk(model, settings, limit=limit) as desk:
            selection = desk.select(ids, code)
            letters = selection.letters
            await _report_missing(desk, selection.missing, code)
            if letters and not sure:
                scope.deadline = inf  # people take their time
                sure = await _is_sure(letters, desk)
                scope.deadline = current_time() + TIMEOUT
            if sure:
                desk.consumer.ack([letter.delivery for letter in letters])
    if letters and not sure:
        out.print("nothing was dropped")
        return NOT_ALL_DONE
    for letter in letters:
        _tell(one_line(letter.id) or "(no id)", "dropped", letter.code)
    out.print(f"{len(letters)} dropped" if letters else desk.summary((), code), soft_wrap=True)
    if not ids and desk.beyond:
        out.print(f"{desk.beyond} more were not looked at; run this again, or use --limit {desk.total}", soft_wrap=True)
    return NOT_ALL_DONE if selection.missing else DONE


async def _report_missing(desk: DeadLetterSession, missing: Sequence[str], code: str) -> None:
    for name in missing:
        _tell(one_line(name), "missing", await desk.explain(name, code))


async def _is_sure(letters: Sequence[DeadLetter], desk: DeadLetterSession) -> bool:
    sys.stdout.write(f"Drop {len(letters)} of {desk.there} ({counted(letters)}) for good? [y/N] ")
    sys.stdout.flush()
    # The link to the broker needs its heartbeats while somebody thinks. A terminal is readable once a line is complete; a
    # thread that waits for that could not be stopped by an interrupt.
    await wait_readable(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(name: str, what: str, why: str) -> None:
    """One line for each letter, the word first, so that it can be searched for."""
    console().print(f"{what:<8}  {name:<36}  {one_line(why)}".rstrip(), soft_wrap=True)
    sys.stdout.flush()
