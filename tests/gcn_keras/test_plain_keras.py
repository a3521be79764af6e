"""Loss, metric and stream in Keras' own compile, fit, save and load."""

import json

import forks
import pytest
from documented import blocks
from PIL import Image
from places import REPOSITORY
from small_runs import prepare_halves

pytestmark = pytest.mark.slow
EXAMPLES = [
    block.text
    for block in blocks((REPOSITORY / "docs" / "keras.md").read_text())
    if block.language == "python"
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare_halves(tmp_path_factory.mktemp("plain"))


def run(program, folder, backend="tensorflow") -> list[dict]:
    """What the program prints as JSON, a line each."""
    file = folder / "program.py"
    file.write_text(program)
    done = forks.run(file, cwd=folder, backend=backend)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


LOAD = """
import json
import keras
import numpy as np
from gcn_keras import MeanIoU, PixelCrossentropy
model = keras.models.load_model("mine.keras")
assert isinstance(model.loss, PixelCrossentropy)
images, labels = np.zeros((1, 64, 64, 3), "uint8"), np.ones((1, 64, 64), "uint8")
measured = model.evaluate(images, labels, verbose=0, return_dict=True)
assert isinstance(model.metrics[1].metrics[0], MeanIoU)
print(json.dumps(measured))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_example_of_the_documentation(data_dir, tmp_path, backend):
    pytest.importorskip(backend)
    (example,) = (block for block in EXAMPLES if "model.fit(" in block)
    for given, small in (
        ('"shapes", "data"', f'"image_folder", {str(data_dir)!r}'),
        ('"validation"', '"val"'),
        ("num_classes=7", "num_classes=2"),
        ('backbone="resnet14_tiny"', 'backbone="small"'),
        ("epochs=5, steps_per_epoch=500", "epochs=2, steps_per_epoch=3"),
        ("validation_steps=50", "validation_steps=1"),
        ("(128, 128)", "(64, 64)"),
        ("model.fit(", "history = model.fit("),
    ):
        assert given in example
        example = example.replace(given, small)
    (history,) = run(
        f"{example}\nimport json\nprint(json.dumps(history.history))", tmp_path, backend
    )
    assert set(history) == {"loss", "mean_iou", "val_loss", "val_mean_iou"}
    assert history["loss"][1] < history["loss"][0]
    assert all(0 <= value <= 1 for value in (*history["mean_iou"], *history["val_mean_iou"]))
    (loaded,) = run(LOAD, tmp_path, backend)
    assert set(loaded) == {"loss", "mean_iou"} and 0 <= loaded["mean_iou"] <= 1


@pytest.mark.parametrize("size", [(33, 65), (5, 7), (64, 96)], ids=str)
def test_the_example_with_a_photo(tmp_path, size):
    """Of any size, smaller than the stride, too."""
    (example,) = (block for block in EXAMPLES if "model.predict(" in block)
    lines = [line for line in example.splitlines() if "load_model" not in line]
    Image.new("RGB", size[::-1], "teal").save(tmp_path / "photo.jpg")
    report = "print(json.dumps({'labels': labels.shape, 'logits': logits.shape}))"
    (shapes,) = run("\n".join([*lines, "import json", report]), tmp_path)
    height, width = size
    padded = [(height + 31) // 32 * 32, (width + 31) // 32 * 32]
    assert shapes == {"labels": [height, width], "logits": [1, *padded, 21]}


DEVICES = """
import contextlib
import json
import sys
import keras
import numpy as np
import tensorflow as tf
import gcn_keras
count = int(sys.argv[1])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
)
random = np.random.default_rng(0)
images = random.integers(0, 256, (16, 32, 32, 3)).astype("uint8")
labels = (images.mean(axis=-1) // 60).astype("uint8")
labels[:, :9] = 255  # as many in each image: Keras takes the mean of the devices' means
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
with strategy.scope() if count > 1 else contextlib.nullcontext():
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    y = keras.layers.Rescaling(1 / 255)(x)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(y)
    model = keras.Model(x, keras.layers.Conv2D(5, 1)(y))
    loss, metrics = gcn_keras.PixelCrossentropy(), [gcn_keras.MeanIoU(num_classes=5)]
    model.compile(keras.optimizers.SGD(0.1), loss=loss, metrics=metrics)
batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
history = model.fit(batches, epochs=3, validation_data=batches, verbose=0).history
matrix = gcn_keras.ConfusionMatrix(5)
matrix.update(labels, model.predict(images, verbose=0).argmax(axis=-1))
print(json.dumps(history | {"by_matrix": [matrix.mean_iou]}))
"""


def test_several_devices_see_what_one_does(tmp_path):
    one, two = (
        run(DEVICES.replace("sys.argv[1]", repr(count)), tmp_path)[0] for count in ("1", "2")
    )
    assert one["val_mean_iou"][-1] == pytest.approx(one["by_matrix"][0], rel=1e-6)
    assert two["val_mean_iou"][-1] == pytest.approx(two["by_matrix"][0], rel=1e-6)
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-4), name
