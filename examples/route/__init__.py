"""A slow model in pure Python: it computes for seconds, in a process of its own that can be stopped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp
from random import Random
from typing import ClassVar, Final

from typing_extensions import override

import hub
from examples.route.v1.route_pb2 import City, RouteRequest, RouteResponse

FEWEST, MOST = 3, 1000
"""Cities of a trip."""

ROUNDS: Final = 300_000
"""Rounds that are tried unless the request has another number: about a second."""

MOST_ROUNDS: Final = 1_000_000_000

PACE: Final = 20_000
"""Rounds between two reports of progress: some hundredths of a second."""


class Route(hub.Model[RouteRequest, RouteResponse]):
    """Finds a short round trip by simulated annealing.

    It keeps Python's interpreter busy all the time, so a thread of it would slow down everything beside it and could not be
    stopped. `run_in_process` gives it an interpreter of its own: when its task is cancelled, or the deadline passes, the
    loop is interrupted by a `KeyboardInterrupt`, and the process takes the next task.
    """

    run_in_process = True
    default_timeout: ClassVar[float | None] = 60.0
    max_timeout: ClassVar[float | None] = 600.0

    @override
    def process_request(self, request: RouteRequest) -> RouteResponse:
        """Reverses parts of the trip by chance: always if that shortens it, and at first also if it does not.

        Raises:
            ValueError: There are too few or too many cities, or too many rounds.
        """
        cities = [complex(city.x, city.y) for city in request.cities]
        if not FEWEST <= len(cities) <= MOST:
            raise ValueError(f"a trip has from {FEWEST} to {MOST} cities, not {len(cities)}")
        rounds = request.rounds or ROUNDS
        if rounds > MOST_ROUNDS:
            raise ValueError(f"{rounds} rounds; ask for {MOST_ROUNDS} at most")
        task = hub.current_task()
        chance = Random(request.seed)  # noqa: S311 - no secret
        order = list(range(len(cities)))
        chance.shuffle(order)
        first_heat = length_of(order, cities) / len(cities)
        for number in range(rounds):
            if number % PACE == 0:
                task.report(number / rounds, f"a trip of {length_of(order, cities):.2f}")
            heat = first_heat * (1 - number / rounds) ** 3
            begin, end = sorted((chance.randrange(len(cities)), chance.randrange(len(cities))))
            before, after = cities[order[begin - 1]], cities[order[(end + 1) % len(cities)]]
            head, tail = cities[order[begin]], cities[order[end]]
            longer = abs(before - tail) + abs(head - after) - abs(before - head) - abs(tail - after)
            if longer < 0 or (heat > 0 and chance.random() < exp(-longer / heat)):
                order[begin : end + 1] = order[begin : end + 1][::-1]
        return RouteResponse(order=order, length=length_of(order, cities))

    @override
    @classmethod
    def example(cls) -> RouteRequest:
        chance = Random(7)  # noqa: S311 - no secret
        cities = [City(x=round(chance.uniform(0, 10), 1), y=round(chance.uniform(0, 10), 1)) for _ in range(12)]
        return RouteRequest(cities=cities, rounds=100_000)


def length_of(order: Sequence[int], cities: Sequence[complex]) -> float:
    """The length of a round trip."""
    return sum(abs(cities[one] - cities[other]) for one, other in pairwise([*order, order[0]]))
