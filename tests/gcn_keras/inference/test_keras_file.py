"""`.keras` files that earlier versions of Keras load."""

import json
import zipfile

import keras
import numpy as np
import pytest
from places import REPOSITORY

from gcn_keras import gcn, save_model
from pipelines.base.errors import UserError

# What the classes of a saved model took in Keras 3.5.0, from its signatures. Files of
# six backbones were loaded with it when this was written, and gave the same logits.
EVERY_LAYER = {"activity_regularizer", "dtype", "name", "trainable"}
OWN = {
    "DTypePolicy": "",
    "GlorotUniform": "seed",
    "HeNormal": "seed",
    "Ones": "",
    "VarianceScaling": "distribution mode scale seed",
    "Zeros": "",
    "Activation": "activation",
    "Add": "",
    "BatchNormalization": (
        "axis beta_constraint beta_initializer beta_regularizer center epsilon "
        "gamma_constraint gamma_initializer gamma_regularizer momentum "
        "moving_mean_initializer moving_variance_initializer scale synchronized"
    ),
    "Conv2D": (
        "activation bias_constraint bias_initializer bias_regularizer data_format "
        "dilation_rate filters groups kernel_constraint kernel_initializer kernel_regularizer "
        "kernel_size padding strides use_bias"
    ),
    "Conv2DTranspose": (
        "activation bias_constraint bias_initializer bias_regularizer data_format "
        "dilation_rate filters kernel_constraint kernel_initializer kernel_regularizer "
        "kernel_size output_padding padding strides use_bias"
    ),
    "Dense": (
        "activation bias_constraint bias_initializer bias_regularizer kernel_constraint "
        "kernel_initializer kernel_regularizer units use_bias"
    ),
    "DepthwiseConv2D": (
        "activation bias_constraint bias_initializer bias_regularizer data_format "
        "depth_multiplier depthwise_constraint depthwise_initializer depthwise_regularizer "
        "dilation_rate kernel_size padding strides use_bias"
    ),
    "Dropout": "noise_shape rate seed",
    "GlobalAveragePooling2D": "data_format keepdims",
    "InputLayer": "batch_shape optional sparse",
    "LayerNormalization": (
        "axis beta_constraint beta_initializer beta_regularizer center epsilon "
        "gamma_constraint gamma_initializer gamma_regularizer rms_scaling scale"
    ),
    "MaxPooling2D": "data_format padding pool_size strides",
    "Multiply": "",
    "Normalization": "axis invert mean variance",
    "ReLU": "max_value negative_slope threshold",
    "Reshape": "target_shape",
    "ZeroPadding2D": "data_format padding",
    "LayerScale": "init_values projection_dim",
}


def unknown_arguments(path) -> set[tuple[str, str]]:
    """Pairs of class and argument in a file that Keras 3.5 does not know."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    found = set()

    def walk(part):
        if isinstance(part, list):
            for one in part:
                walk(one)
        elif isinstance(part, dict):
            name = part.get("class_name")
            if name in OWN and isinstance(part.get("config"), dict):
                known = EVERY_LAYER | set(OWN[name].split())
                found.update((name, key) for key in part["config"] if key not in known)
            for one in part.values():
                walk(one)

    walk(config)
    return found


@pytest.mark.slow
@pytest.mark.jax
@pytest.mark.parametrize(
    "backbone", ["resnet14_tiny", "mobilenet_v3_small", "efficientnet_v2_b0", "convnext_tiny"]
)
def test_only_arguments_of_keras_3_5(tmp_path, backbone):
    model = gcn(num_classes=3, backbone=backbone, kernel_size=3)
    model.save(tmp_path / "as_keras_writes.keras")
    assert ("GlorotUniform", "input_axes") in unknown_arguments(tmp_path / "as_keras_writes.keras")
    save_model(model, tmp_path / "ours.keras")
    assert unknown_arguments(tmp_path / "ours.keras") == set()
    again = keras.models.load_model(tmp_path / "ours.keras")  # in safe mode
    assert json.loads(again.to_json()) == json.loads(model.to_json())
    for before, after in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_what_was_trained_in_mixed_precision_computes_in_float32(tmp_path, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        mixed = gcn(num_classes=3, backbone="small", kernel_size=3)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    save_model(mixed, tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    assert {layer.compute_dtype for layer in mixed.layers} == {policy[6:], "float32"}
    assert {layer.dtype_policy.name for layer in again.layers} == {"float32"}
    plain = gcn(num_classes=3, backbone="small", kernel_size=3)
    plain.set_weights(mixed.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(again(images), plain(images))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no such batch norm")
def test_what_was_trained_on_several_devices_loads_everywhere(tmp_path):
    """On JAX, too; and the model at hand stays what it is."""
    inputs = keras.Input((2, 2, 3))
    layer = keras.layers.BatchNormalization(synchronized=True)
    save_model(keras.Model(inputs, layer(inputs)), tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras").layers[-1]
    assert (layer.synchronized, again.synchronized) == (True, False)


@keras.saving.register_keras_serializable("test_keras_file")
class Mine(keras.layers.Layer):
    """Has arguments that are called as those which Keras 3.5 does not know."""

    def __init__(self, ragged=True, renorm_momentum=0.5, synchronized=False, **given):
        super().__init__(**given)
        self.mine = {
            "ragged": ragged, "renorm_momentum": renorm_momentum, "synchronized": synchronized,
        }  # fmt: skip

    def call(self, x):
        return x if self.mine["ragged"] else 2 * x

    def get_config(self):
        return super().get_config() | self.mine


def test_layers_of_ones_own_keep_their_arguments(tmp_path):
    given = {"ragged": False, "renorm_momentum": 0.99, "synchronized": True}
    inputs = keras.Input((2,))
    inner = keras.Model(inputs, keras.layers.BatchNormalization()(Mine(**given)(inputs)))
    save_model(keras.Model(inputs, inner(inputs)), tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    assert again.layers[-1].layers[1].mine == given
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        batch_norm = archive.read("config.json").decode().partition('"BatchNormalization"')[2]
    assert "renorm" not in batch_norm and "quantization_config" not in batch_norm


def test_another_number_type_stays(tmp_path):
    inputs = keras.Input((2,))
    save_model(
        keras.Model(inputs, keras.layers.Dense(1, dtype="float16")(inputs)), tmp_path / "a.keras"
    )
    assert keras.models.load_model(tmp_path / "a.keras").layers[1].dtype_policy.name == "float16"


def test_a_value_that_matters_stays(tmp_path):
    inputs = keras.Input((2,))
    layer = keras.layers.BatchNormalization(renorm=True, renorm_momentum=0.5)
    save_model(keras.Model(inputs, layer(inputs)), tmp_path / "a.keras")
    arguments = ("renorm", "renorm_clipping", "renorm_momentum")
    assert unknown_arguments(tmp_path / "a.keras") == {
        ("BatchNormalization", name) for name in arguments
    }
    again = keras.models.load_model(tmp_path / "a.keras").layers[1]
    assert (again.renorm, again.renorm_momentum) == (True, 0.5)


@pytest.mark.parametrize("name", ["a.h5", "a", "a.keras.zip"])
def test_another_ending(tmp_path, name):
    with pytest.raises(ValueError) as caught:
        save_model(None, tmp_path / name)
    assert str(caught.value) == f"path must end in .keras, received '{tmp_path / name}'"


def test_a_sequential_model(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)], name="mine")
    save_model(model, tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert (loaded.name, loaded.input_shape) == ("mine", (None, 8, 8, 3))
    images = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))


def segmenting(classes=3) -> keras.Model:
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(classes, 1)(inputs))


def legend_in(path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("labels.json"))


NAMES, COLOURS = ("sky", "road", "car"), [[1, 2, 3], [4, 5, 6], [7, 8, 255]]
VOC = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]


@pytest.mark.parametrize(
    "palette, colours",
    [
        (None, VOC),
        (COLOURS, COLOURS),
        (np.array(COLOURS, np.uint8), COLOURS),
        (np.vstack([np.array(COLOURS, np.uint8), np.zeros((253, 3), np.uint8)]), COLOURS),
    ],
    ids=["none", "lists", "3 rows", "256 rows"],
)
def test_names_and_colours_of_the_classes(tmp_path, palette, colours):
    save_model(segmenting(), tmp_path / "a.keras", list(NAMES), palette)
    assert legend_in(tmp_path / "a.keras") == {"class_names": list(NAMES), "palette": colours}
    assert keras.models.load_model(tmp_path / "a.keras").output_shape[-1] == 3  # in safe mode


def test_names_that_the_model_has(tmp_path):
    """Its own, as `load_model` sets them, where no others are given; one of them alone, too."""
    model, path = segmenting(), tmp_path / "a.keras"
    model.class_names = list(NAMES)
    save_model(model, path)
    assert legend_in(path) == {"class_names": list(NAMES), "palette": VOC}
    model.palette = np.array(COLOURS)
    for given in ({}, {"class_names": ("a", "b", "c")}, {"palette": VOC}):
        save_model(model, path, **given)
        expected = {"class_names": NAMES, "palette": COLOURS} | given
        assert legend_in(path) == {key: list(value) for key, value in expected.items()}
    assert (model.class_names, model.palette.tolist()) == (list(NAMES), COLOURS)


def test_a_model_without_names_has_no_legend(tmp_path):
    save_model(segmenting(), tmp_path / "a.keras")
    assert "labels.json" not in zipfile.ZipFile(tmp_path / "a.keras").namelist()


NO_NAMES = "class_names must be a list or a tuple of strings, one a class"


@pytest.mark.parametrize(
    "class_names, palette, sentence",
    [
        (NAMES[:2], None, "class_names must be one for each of 3 classes, received 2: sky, road"),
        ("sky", None, f"{NO_NAMES}, received 'sky'"),
        ([], None, f"{NO_NAMES}, received []"),
        ((1, 2, 3), None, f"{NO_NAMES}, received (1, 2, 3)"),
        (3, None, f"{NO_NAMES}, received 3"),
        (np.array(["a"]), None, f"{NO_NAMES}, received array(['a'], dtype='<U1')"),
        (["a", "b", "a"], None, "class_names must differ, received 'a' 2 times"),
        (["a", " ", "b"], None, "class_names must not be blank, received ['a', ' ', 'b']"),
        (None, COLOURS, "palette needs class_names: give both, or neither"),
        (NAMES, COLOURS[:2], "palette must be integers, [r, g, b] for each of 3 classes, received "
                             "int64 (2, 3)"),
        (NAMES, np.zeros((3, 4), int), "palette must be integers, [r, g, b] for each of 3 classes, "
                                       "received int64 (3, 4)"),
        (NAMES, [[1, 2], [3, 4, 5], [6, 7, 8]], "palette must be integers, [r, g, b] for each of 3 "
                                                "classes, received [[1, 2], [3, 4, 5], [6, 7, 8]]"),
        (NAMES, np.eye(3), "palette must be integers, [r, g, b] for each of 3 classes, received "
                           "float64 (3, 3)"),
        (NAMES, [[0, 0, 0], [0, -1, 0], [0, 256, 0]], "palette must be 0…255, received -1…256"),
    ],
)  # fmt: skip
def test_what_is_no_name_and_no_colour(tmp_path, class_names, palette, sentence):
    with pytest.raises(ValueError) as caught:
        save_model(segmenting(), tmp_path / "a.keras", class_names, palette)
    assert str(caught.value) == sentence
    assert not list(tmp_path.iterdir())


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_a_model_of_several_outputs(tmp_path):
    """Whose classes would be those of the first, and which `load_model` does not take."""
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(2, 1)(x)
    model = keras.Model(x, {"scores": y, "more": keras.layers.Conv2D(3, 1)(y)}, name="mine")
    with pytest.raises(
        ValueError, match="^model must have one output, received 'mine', which has 2$"
    ):
        save_model(model, tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model", [Subclassed(name="mine"), keras.Sequential([keras.layers.Dense(2)], name="mine")]
)
def test_a_model_without_inputs(tmp_path, model):
    with pytest.raises(ValueError) as caught:
        save_model(model, tmp_path / "a.keras")
    assert str(caught.value) == (
        "model must be a functional or a sequential one that begins with keras.Input, received "
        f"the {type(model).__name__} 'mine'"
    )
    assert not list(tmp_path.iterdir())


def test_what_is_no_model(tmp_path):
    with pytest.raises(ValueError, match="^model must be a Keras model, received a str$"):
        save_model("mine.keras", tmp_path / "a.keras")


def test_a_file_that_cannot_be_written_leaves_the_former(tmp_path, monkeypatch):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    (tmp_path / "a.keras").write_bytes(b"former")

    def fail(self, *given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(UserError) as caught:
        save_model(model, tmp_path / "a.keras")
    assert str(caught.value) == f"{tmp_path}/a.keras cannot be written: No space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]
    assert (tmp_path / "a.keras").read_bytes() == b"former"


def test_the_model_in_the_box():
    assert unknown_arguments(REPOSITORY / "saved_models" / "shapes" / "shapes.keras") == set()
