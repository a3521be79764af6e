"""Label maps and images to the bytes of PNG and JPEG files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode_label(label: np.ndarray) -> bytes:
    """Encodes a label map, uint8 `[H, W]`, as an 8-bit grayscale PNG.

    Without filters, indices decode faster from a smaller file (benchmarks/encodings.py).
    """
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(f"a label map is uint8 [H, W], got {label.dtype} {label.shape}")
    return pack_png(np.insert(label, 0, 0, axis=1), level=9)


def pack_png(rows: np.ndarray, level: int) -> bytes:
    """Writes an 8-bit grayscale PNG of rows that are filtered already; Pillow lets none choose.

    Args:
        rows: uint8 `[H, 1 + W]`, each row after the number of its filter; 0 is none.
        level: of the compression, 0…9.
    """
    height, width = rows.shape
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width - 1, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), level)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encode_jpeg(image: np.ndarray, comment: bytes = b"") -> bytes:
    """Encodes an image, uint8 `[H, W, 3]`, as a baseline JPEG without chroma subsampling.

    A comment is written before the pixels.
    """
    buffer = io.BytesIO()
    options: dict = {"comment": comment} if comment else {}
    Image.fromarray(image).save(buffer, format="JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()
