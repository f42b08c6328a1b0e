"""A model that computes: it recognizes handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

import hub
from examples.digits.pictures import BLACK, PIXELS, Pixels, split
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse


class Digits(hub.Model[DigitsRequest, DigitsResponse]):
    """Plain methods, which hub runs in threads, because scikit-learn computes.

    Batches, because it reads many pictures almost as fast as one: what takes time is to walk through a hundred trees.
    """

    max_batch_size = 64
    max_batch_wait = 0.005

    @override
    def setup(self) -> None:
        """Trains on three quarters of the pictures.

        Imports scikit-learn here, which takes a second: programs that only read the contract do without it.
        """
        from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415 - see above

        seen, _ = split()
        self._classifier = ExtraTreesClassifier(100, random_state=0).fit(seen.pixels, seen.labels)

    @override
    def process_batch(self, requests: Sequence[DigitsRequest]) -> Sequence[DigitsResponse | Exception]:
        results: dict[int, DigitsResponse | Exception] = {}
        pictures: dict[int, Pixels] = {}
        for place, request in enumerate(requests):
            try:
                pictures[place] = _picture(request)
            except ValueError as error:
                results[place] = error  # the others get their answers
        if pictures:
            matrix = self._classifier.predict_proba(np.stack(list(pictures.values())))
            for place, probabilities in zip(pictures, matrix, strict=True):
                results[place] = DigitsResponse(
                    label=int(np.argmax(probabilities)), probabilities=probabilities.tolist()
                )
        return [results[place] for place in range(len(requests))]

    @override
    @classmethod
    def example(cls) -> DigitsRequest:
        """A picture that is not in the training data; `examples.digits.sample` prints its digit."""
        _, held_out = split()
        return DigitsRequest(pixels=held_out.pixels[0].tolist())


def _picture(request: DigitsRequest) -> Pixels:
    """A row of the matrix that the classifier takes.

    Raises:
        ValueError: The request is no picture; says why.
    """
    if len(request.pixels) != PIXELS:
        raise ValueError(
            f"a picture has {PIXELS} pixels, 8 rows of 8 from the top left; these are {len(request.pixels)}"
        )
    pixels = np.asarray(request.pixels, dtype=np.float64)
    outside = ~((pixels >= 0) & (pixels <= BLACK))
    if outside.any():
        index = int(np.argmax(outside))
        raise ValueError(f"pixel {index} is {pixels[index]:g}: a pixel is between 0 (white) and {BLACK} (black)")
    return pixels
