"""What one example of every data set is: its TFDS features and its label encoding."""

import io

import numpy as np
from PIL import Image


def features():
    """The TFDS features all builders share.

    Returns:
        A `tfds.features.FeaturesDict`: `image`, the bytes of a JPEG or PNG file as they are;
        `label`, an 8-bit PNG of indices `[H, W, 1]`, 255 is void; `image_id`, text.
    """
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(
                shape=(None, None, 1), encoding_format="png", use_colormap=True
            ),
            "image_id": tfds.features.Text(),
        }
    )


def encode_label(label: np.ndarray) -> bytes:
    """Encodes a label map, uint8 `[H, W]`, as an 8-bit grayscale PNG."""
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(f"a label map is uint8 [H, W], got {label.dtype} {label.shape}")
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encodes an image, uint8 `[H, W, 3]`, as a baseline JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
