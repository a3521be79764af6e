"""A backbone with a classification head, as it is trained on ImageNet before anything else."""

from pathlib import Path

import keras

from gcn_keras.models import backbones
from gcn_keras.models.batch_norms import set_batch_norms
from pipelines.base.numeric import is_integer


def classifier(
    num_classes: int = 1000,
    backbone: str = "resnet50_gcn",
    weights: str | Path | None = None,
    batch_norm_momentum: float | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a classifier of whole images: a backbone's P5, its mean, and a dense layer.

    The layers of the backbone have the names that they have in `gcn_keras.gcn`.

    Args:
        num_classes: at least 2.
        backbone, weights, batch_norm_momentum, name: as in `gcn_keras.gcn`.

    Returns:
        A model from RGB images `[B, H, W, 3]`, 0…255, float or uint8, to float32 logits
        `[B, num_classes]`.

    Raises:
        ValueError: an invalid argument, with the value received; Keras is set to channels_first.
    """
    if not is_integer(num_classes) or num_classes < 2:
        raise ValueError(f"num_classes must be an integer of at least 2, received {num_classes!r}")
    image = keras.Input((None, None, 3), name="image")
    pyramid, _ = backbones.on_image(backbone, image, weights)
    features = keras.layers.GlobalAveragePooling2D(name="pool")(pyramid["P5"])
    # float32 also where a mixed precision policy computes in 16 bits, as softmax and loss want.
    logits = keras.layers.Dense(int(num_classes), dtype="float32", name="predictions")(features)
    model = keras.Model(image, logits, name=name or f"classifier_{backbone}")
    set_batch_norms(model, momentum=batch_norm_momentum)
    return model
