"""A model that computes: it recognizes handwritten digits."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from typing_extensions import override

import hub
from examples.digits.pictures import BLACK, PIXELS, Pixels, split
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse


class Digits(hub.Model[DigitsRequest, DigitsResponse]):
    """Plain methods, which hub runs in threads, because scikit-learn computes."""

    concurrency = 2

    def __init__(self) -> None:
        self._classifier: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))

    @override
    def setup(self) -> None:
        """Trains on three quarters of the pictures."""
        seen, _ = split()
        self._classifier.fit(seen.pixels, seen.labels)

    @override
    def process_request(self, request: DigitsRequest) -> DigitsResponse:
        probabilities = self._classifier.predict_proba(_picture(request))[0]
        return DigitsResponse(label=int(np.argmax(probabilities)), probabilities=probabilities.tolist())

    @override
    @classmethod
    def example(cls) -> DigitsRequest:
        """A picture that is not in the training data; `examples.digits.sample` prints its digit."""
        _, held_out = split()
        return DigitsRequest(pixels=held_out.pixels[0].tolist())


def _picture(request: DigitsRequest) -> Pixels:
    """The one-row matrix that the classifier takes.

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
    return pixels.reshape(1, PIXELS)
