"""Exports a trained model as a SavedModel: `python -m gcn_keras.export MODEL --out DIR`."""

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from pipelines import datasets, labels
from pipelines.errors import UserError, run_command
from pipelines.imagenet import MEAN_RGB


def export_saved_model(model, directory, class_names, palette) -> Path:
    """Writes the next version folder of a SavedModel: DIRECTORY/1, DIRECTORY/2, …

    Signature `serving_default`: `images`, uint8 `[B, H, W, 3]` RGB of any size, to `labels`,
    uint8 `[B, H, W]`, and `scores`, float32 `[B, H, W]`, the softmax score of the label. Padding
    to the network's stride and cropping back happen inside. labels.json lies beside the model:
    class names and the palette.

    Args:
        model: Keras model from pictures to logits.
        directory: the folder of versions, as TF Serving wants it.
        class_names: one a class.
        palette: uint8 `[256, 3]`.

    Returns:
        The new version folder. It appears when it is complete.

    Raises:
        UserError: if it cannot be written.
    """
    import keras
    import tensorflow as tf

    directory = Path(directory)
    temporary = directory / f".incomplete-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", *_serving_function(model))
        archive.write_out(str(temporary), verbose=False)
        used = len(class_names)
        legend = {"class_names": list(class_names), "palette": np.asarray(palette)[:used].tolist()}
        (temporary / "labels.json").write_text(json.dumps(legend, indent=2) + "\n")
        target = directory / str(_next_version(directory))
        temporary.rename(target)
    except OSError as error:
        raise UserError(f"cannot export to {directory}: {error.strerror or error}") from error
    except tf.errors.OpError as error:  # what TensorFlow makes of a full or read-only disk
        raise UserError(f"cannot export to {directory}: {error.message}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _serving_function(model):
    """The function behind `serving_default` and its input signature."""
    import tensorflow as tf

    from gcn_keras.inference import STRIDE

    mean = tf.cast(np.rint(MEAN_RGB), tf.uint8)

    def serve(images):
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        # Padding adds the difference to the mean pixel, so that zeros pad with the mean.
        below, right = -height % STRIDE, -width % STRIDE
        padded = tf.pad(images - mean, ((0, 0), (0, below), (0, right), (0, 0))) + mean
        logits = model(padded, training=False)[:, :height, :width]
        return {
            "labels": tf.cast(tf.argmax(logits, axis=-1), tf.uint8),
            "scores": tf.reduce_max(tf.nn.softmax(logits), axis=-1),
        }

    return serve, [tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")]


def _next_version(directory: Path) -> int:
    versions = [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]
    return max(versions, default=0) + 1


def export(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    dataset: str | None = None,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
) -> None:
    """Export a model as a SavedModel for TF Serving, as the next version folder in DIR.

    Args:
        model: A .keras file.
        out: Folder of the versions, such as saved_models/NAME.
        dataset: Take class names and palette from this prepared data set.
        data_dir: Where prepared data sets live.
    """
    if not model.is_file():
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gcn_keras.evaluate import load_model

    network = load_model(model)
    count = network.output.shape[-1]
    names, palette = [f"class {i}" for i in range(count)], labels.palette(count)
    if dataset:
        prepared = datasets.load(dataset, data_dir)
        if prepared.num_classes != count:
            raise UserError(f"{model} knows {count} classes, {dataset!r} {prepared.num_classes}")
        names, palette = prepared.class_names, prepared.palette
    print(f"exported to {export_saved_model(network, out, names, palette)}")


def main() -> None:
    """Entry point of the command."""
    tyro.cli(export, prog="python -m gcn_keras.export")


if __name__ == "__main__":
    run_command(main)
