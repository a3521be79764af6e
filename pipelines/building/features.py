"""What one example of every data set is: its TFDS features, and how it is made."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.base.encoding import encode_label
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def example_features() -> "tfds.features.FeaturesDict":
    """The TFDS features all builders share.

    `image`, the bytes of a JPEG or PNG file as they are; `label`, an 8-bit PNG of indices
    `[H, W, 1]`, 255 is void; `image_id`, text.
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


def example(image_id: str, image: bytes, label: np.ndarray) -> dict[str, Any]:
    """An example of `example_features`, from an image's file and its label map, uint8 `[H, W]`.

    Raises:
        UserError: the id is a file's name in bytes that are no UTF-8.
    """
    try:
        image_id.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{image_id!r} is no name in UTF-8: rename the file") from error
    return {"image": image, "label": encode_label(label), "image_id": image_id}
