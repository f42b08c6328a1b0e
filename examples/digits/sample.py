"""Prints a request for the Digits model: a picture that is not in its training data, as JSON.

The digit that it really shows goes to stderr, so that `curl -d "$(python -m examples.digits.sample)"` works. Takes the
number of the picture, 0 by default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from examples.digits.pictures import split


def main(arguments: Sequence[str]) -> None:
    _, held_out = split()
    index = int(arguments[0]) if arguments else 0
    pixels = [int(pixel) for pixel in held_out.pixels[index]]
    sys.stdout.write(json.dumps({"pixels": pixels}, separators=(",", ":")) + "\n")
    sys.stderr.write(f"true label: {held_out.labels[index]}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
