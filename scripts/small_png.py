"""Pictures of pages as PNG files with a palette: a third of the size that browsers write, without a visible difference."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

COLOURS: Final = 256

_PIXELS: Final = """async (png) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def with_palette(png: bytes, blank: Page) -> bytes:
    """The same picture in 256 of its colours; every other one becomes the nearest of them.

    Args:
        png: What a browser wrote.
        blank: A page with no policy, to decode it.
    """
    width, height, raw = blank.evaluate(_PIXELS, b64encode(png).decode())
    pixels = np.frombuffer(b64decode(raw), np.uint8).reshape(-1, 4)[:, :3].astype(np.int32)
    packed = (pixels[:, 0] << 16) | (pixels[:, 1] << 8) | pixels[:, 2]
    colours, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    palette = _palette(colours, counts)
    nearest = np.argmin(((_rgb(colours)[:, None] - _rgb(palette)[None]) ** 2).sum(axis=2), axis=1)
    rows = nearest[where].astype(np.uint8).reshape(height, width)
    lines = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()  # filter 0: best where colours are numbers
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", _rgb(palette).astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _palette(colours: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Half of the palette are the most frequent colours, the rest those farthest from them, so that thin lines keep their colours."""
    chosen = list(np.argsort(-counts)[: COLOURS // 2])
    points = _rgb(colours)
    distance = ((points[:, None] - points[chosen][None]) ** 2).sum(axis=2).min(axis=1)
    while len(chosen) < min(COLOURS, len(colours)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return colours[chosen]


def _rgb(packed: NDArray[Any]) -> NDArray[Any]:
    return np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
