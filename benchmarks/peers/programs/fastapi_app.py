"""FastAPI in front of taskiq: a route that waits for the result, and one that submits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.programs.taskiq_app import broker, echo

POLL = 0.005
"""Seconds between two looks for a result."""


class Request(BaseModel):
    messages: str


class Reply(BaseModel):
    reply: str


class Submitted(BaseModel):
    id: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/echo")
async def call(request: Request) -> Reply:
    task = await echo.kiq(request.messages)
    result = await task.wait_result(check_interval=POLL, timeout=60)
    return Reply(reply=result.return_value)


@app.post("/submit", status_code=202)
async def submit(request: Request) -> Submitted:
    task = await echo.kiq(request.messages)
    return Submitted(id=task.task_id)
