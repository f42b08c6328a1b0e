"""A pipeline of two models: this one reads a number, and calls Digits for each of its digits."""

from __future__ import annotations

from math import prod

from anyio import create_task_group
from typing_extensions import override

import hub
from examples.digits import Digits
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.number.v1.number_pb2 import NumberRequest, NumberResponse


class Number(hub.Model[NumberRequest, NumberResponse]):
    """Calls Digits for all pictures at once. A picture that Digits cannot read fails the whole number."""

    concurrency = 16

    @override
    async def process_request(self, request: NumberRequest) -> NumberResponse:
        digits: dict[int, DigitsResponse] = {}

        async def read(place: int, picture: DigitsRequest) -> None:
            digits[place] = await hub.current_task().call(Digits, picture)

        async with create_task_group() as tg:
            for place, picture in enumerate(request.digits):
                tg.start_soon(read, place, picture)
        return NumberResponse(
            number="".join(str(digits[place].label) for place in sorted(digits)),
            probability=prod(max(digit.probabilities) for digit in digits.values()),
        )

    @override
    @classmethod
    def example(cls) -> NumberRequest:
        return NumberRequest(digits=[Digits.example()] * 2)
