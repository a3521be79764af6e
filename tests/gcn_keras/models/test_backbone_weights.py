"""Networks of keras.applications compute, within a model, what they did on ImageNet."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils
from shapes_alone import without_values

from gcn_keras import RECIPES, gcn
from gcn_keras.models import backbones
from pipelines.base.errors import UserError, as_options

PAGE = "https://storage.googleapis.com/tensorflow/keras-applications/"
RESNET = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
jax = pytest.mark.jax
# Of each: where it lies, and the layers that P2, P3 and P4 go into in Keras' network.
FAMILIES = [
    ("resnet50", "ResNet50", "resnet", "conv{}_block1_1_conv", "345"),
    pytest.param(
        *("mobilenet_v2", "MobileNetV2", "mobilenet_v2", "block_{}_expand", ("3", "6", "13")),
        marks=jax,
    ),
    pytest.param(
        *("mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3"),
        *("expanded_conv_{}_expand", ("3", "6", "12")),
        marks=jax,
    ),
    pytest.param(
        *("mobilenet_v3_small", "MobileNetV3Small", "mobilenet_v3"),
        *("expanded_conv_{}_expand", "138"),
        marks=jax,
    ),
    ("efficientnet_v2_b0", "EfficientNetV2B0", "efficientnet_v2", "block{}a_expand_conv", "346"),
    ("efficientnet_v2_b3", "EfficientNetV2B3", "efficientnet_v2", "block{}a_expand_conv", "346"),
    (
        *("convnext_tiny", "ConvNeXtTiny", "convnext"),
        *("convnext_tiny_downsampling_block_{}", "012"),
    ),
]


def pictures(height, width, batch) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3)).astype(np.uint8)


def randomised(constructor) -> keras.Model:
    """A network with Keras' own preprocessing; statistics and biases are random, too."""
    keras.utils.set_random_seed(3)
    network = constructor(weights=None, include_top=False, input_shape=(64, 64, 3))
    random = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            values = {
                "gamma": random.uniform(0.5, 1, shape),
                "beta": random.normal(0, 0.1, shape),
                "moving_mean": random.normal(0, 0.1, shape),
                "moving_variance": random.uniform(0.5, 1.5, shape),
            }
            for name, value in values.items():
                if getattr(layer, name) is not None:
                    getattr(layer, name).assign(value)
    return network


def write(network, path) -> None:
    """As the files that Keras publishes."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)


def features(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.mark.slow
@pytest.mark.parametrize("name, constructor, module, following, numbers", FAMILIES)
def test_the_network_computes_what_it_did_on_imagenet(
    name, constructor, module, following, numbers, tmp_path
):
    network = randomised(getattr(keras.applications, constructor))
    write(network, tmp_path / "notop.h5")
    image = keras.Input((None, None, 3), name="image")
    pyramid, stride = backbones.on_image(name, image, str(tmp_path / "notop.h5"))
    images = pictures(64, 64, batch=2)
    prepared = getattr(keras.applications, module).preprocess_input(images.astype(np.float32))
    layers = [network.get_layer(following.format(number)) for number in numbers]
    maps = [layer._inbound_nodes[0].input_tensors[0] for layer in layers]
    expected = keras.Model(network.input, [*maps, network.output])(prepared, training=False)
    found = keras.Model(image, list(pyramid.values()))(images, training=False)
    assert stride == 4 and list(pyramid) == ["P2", "P3", "P4", "P5"]
    for ours, theirs in zip(found, expected, strict=True):
        error = np.abs(ours - theirs).max()
        assert error < 1e-4 * np.abs(theirs).max()


@pytest.mark.slow
@jax
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v2"])
def test_equal_networks_have_equal_names(name, tmp_path):
    first = gcn(3, name, 3)
    with without_values():
        second = gcn(3, name, 3)
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers] and len(set(names)) == len(names)
    first.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == names
    images = pictures(32, 64, 1)
    np.testing.assert_array_equal(features(loaded, images), features(first, images))


@jax
@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_small", "efficientnet_v2_b1"])
@pytest.mark.filterwarnings("error:.*input_shape")
def test_a_failed_download_says_what_to_do(name, monkeypatch):
    def refuse(file, origin, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(file_utils, "get_file", refuse)
    with pytest.raises(ValueError) as caught, without_values():
        gcn(3, name, weights="imagenet")
    file = {
        "resnet50": f"resnet/{RESNET}",
        "mobilenet_v3_small": (
            "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
        ),
        "efficientnet_v2_b1": "efficientnet_v2/efficientnetv2-b1_notop.h5",
    }[name]
    assert str(caught.value) == (
        f"weights imagenet of {name} could not be downloaded (no route to host): fetch "
        f"{PAGE}{file} by hand and give weights its path; weights None begins with random ones"
    )
    training = pytest.importorskip("gcn_keras.training.segmentation", exc_type=ModuleNotFoundError)
    with pytest.raises(UserError) as failed, as_options(), without_values():
        training.Segmentation.build(dataclasses.replace(RECIPES["finetune"], backbone=name), 3)
    assert failed.value.exit_status == 1
    assert str(failed.value) == (
        f"--weights imagenet of {name} could not be downloaded (no route to host): fetch "
        f"{PAGE}{file} by hand and give --weights its path; --weights None begins with random ones"
    )


@jax
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(backbones.WITH_IMAGENET_WEIGHTS))
def test_the_file_that_an_error_names_is_the_one_that_keras_fetches(name, monkeypatch):
    asked = []

    def refuse(file, origin, **options):
        asked.append(origin)
        raise OSError("stop")

    monkeypatch.setattr(file_utils, "get_file", refuse)
    with pytest.raises(ValueError) as caught, without_values():
        backbones.build(name, keras.Input((32, 32, 3)), "imagenet")
    assert f"fetch {asked[0]} by hand" in str(caught.value)


def test_a_missing_file(tmp_path):
    path = tmp_path / "none.h5"
    with pytest.raises(ValueError) as caught:
        gcn(3, "mobilenet_v3_small", weights=str(path))
    assert str(caught.value) == f"no weights file at {path}"


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_small"])
@pytest.mark.parametrize("content", ["text", "another network", "empty HDF5", "other ending"])
def test_a_wrong_file(tmp_path, name, content):
    path = tmp_path / ("weights.npz" if content == "other ending" else "weights.h5")
    if content in ("text", "other ending"):
        path.write_text("not a weights file")
    else:
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        with h5py.File(path, "w") as file:
            if content == "another network":
                legacy_h5_format.save_weights_to_hdf5_group(file, network)
    with pytest.raises(ValueError) as caught, without_values():
        gcn(3, name, weights=str(path))
    assert str(caught.value).startswith(f"{path} holds no weights of {name} without top: ")


def small_network(names=("P2", "P3", "P4", "P5"), strides=(4, 2, 2, 2), shape=(None, None, 3)):
    """Raw pixels to four maps; layers have the names of this project's own."""
    x = image = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(x)
    maps = []
    for i, stride in enumerate(strides):
        x = keras.layers.Conv2D(4 + i, 3, strides=stride, padding="same", name=f"gcn_p{i}")(x)
        x = keras.layers.BatchNormalization(name=f"br_p{i}")(x)
        maps.append(keras.layers.ReLU()(x))
    return keras.Model(image, dict(zip(names, maps, strict=True)) if names else maps, name="mine")


@jax
@pytest.mark.slow
@pytest.mark.parametrize("names", [("P2", "P3", "P4", "P5"), None])
def test_any_model_as_backbone(names):
    network = small_network(names)
    model = gcn(3, network, 3, freeze_batch_norm=True)
    assert model.name == "gcn_mine"
    assert model.get_layer("p4_gcn_p2").output.shape[-1] == 6
    images = pictures(64, 96, 1)
    ours = keras.Model(model.input, model.get_layer("p5_br_p3").output)
    theirs = keras.Model(network.input, network.get_layer("br_p3").output)
    np.testing.assert_array_equal(features(ours, images), features(theirs, images))
    assert features(model, images).shape == (1, 64, 96, 3)
    assert not model.get_layer("p2_br_p0").trainable and network.get_layer("br_p0").trainable


def within(network):
    """The network as a layer of another one."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, network(image), name="outer")


@jax
@pytest.mark.slow
def test_batch_norms_within_a_model_of_models():
    network = within(within(small_network(names=None)))
    model = gcn(3, network, 3, freeze_batch_norm=True, batch_norm_momentum=0.5)
    outer = model.get_layer("p2_outer").get_layer("mine")
    norms = [outer.get_layer(f"br_p{i}") for i in range(4)]
    assert [(norm.trainable, norm.momentum) for norm in norms] == [(False, 0.5)] * 4


def test_operations_between_layers():
    network = small_network(names=None)
    x, (p2, *others) = network.input, network.outputs
    network = keras.Model({x.name: x}, [p2 + 2 * p2, *others], name="mine")
    model = gcn(3, network, 3)
    images = pictures(64, 64, 1)
    ours = keras.Model(model.input, model.get_layer("gcn_p2_left_1").input)
    theirs = keras.Model(x, network.outputs[0])
    np.testing.assert_array_equal(features(ours, images), features(theirs, images))


class Subclassed(keras.Model):
    def call(self, images):
        return [images] * 4


def with_python():
    """A model that begins with a Lambda layer."""
    image = keras.Input((None, None, 3))
    scaled = keras.layers.Lambda(lambda x: x / 255.0, name="python")(image)
    return keras.Model(image, small_network(names=None)(scaled), name="mine")


def with_python_inside():
    """A model that has one with a Lambda layer among its layers."""
    image = keras.Input((None, None, 3))
    python = keras.layers.Lambda(lambda x: x / 255.0, name="python")
    scaled = keras.Model(image, python(image))(image)
    return keras.Model(image, small_network(names=None)(scaled), name="mine")


def merged(*shapes):
    """A model of several inputs."""
    inputs = [keras.Input(shape) for shape in shapes]
    mixed = keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()(inputs))
    return keras.Model(inputs, small_network(names=None)(mixed), name="mine")


@jax
@pytest.mark.slow
def test_a_stem_of_stride_two():
    model = gcn(3, small_network(strides=(2, 2, 2, 2)), 3)
    assert features(model, pictures(32, 32, 1)).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "network, message",
    [
        (
            lambda: small_network(strides=(4, 2, 1, 2)),
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its "
            "doubles; those of 'mine' have 4, 8, 8, 16",
        ),
        (
            lambda: small_network(strides=(8, 2, 2, 2)),  # images are padded to multiples of 32
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its "
            "doubles; those of 'mine' have 8, 16, 32, 64",
        ),
        (
            lambda: small_network(strides=(3, 2, 2, 2), shape=(96, 96, 3)),
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its "
            "doubles; those of 'mine' have 3, 6, 12, 24",
        ),
        (
            lambda: small_network(names=("C2", "C3", "C4", "C5")),
            "a model as backbone gives the maps P2, P3, P4 and P5, by these names or in this "
            "order; 'mine' has the maps C2, C3, C4, C5",
        ),
        (
            lambda: small_network(strides=((4, 2), 2, 2, 2)),
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its "
            "doubles; those of 'mine' have 4x2, 8x4, 16x8, 32x16",
        ),
        (
            with_python,
            "backbone 'mine' has a Lambda layer, 'python', and no file of the model could be "
            "loaded in Keras' safe mode: build it of plain layers",
        ),
        (
            with_python_inside,
            "backbone 'mine' has a Lambda layer, 'python', and no file of the model could be "
            "loaded in Keras' safe mode: build it of plain layers",
        ),
        (
            lambda: Subclassed(name="mine"),
            "a model as backbone is a functional one, received 'mine', a Subclassed",
        ),
        (
            lambda: keras.Sequential([keras.Input((None, None, 3))], name="mine"),
            "a model as backbone is a functional one, received 'mine', a Sequential",
        ),
        (
            lambda: merged((None, None, 3), (None, None, 1)),
            "a model as backbone takes one RGB image, (None, H, W, 3); 'mine' takes "
            "(None, None, None, 3), (None, None, None, 1)",
        ),
        (
            lambda: small_network(shape=(64, 64, 1)),
            "a model as backbone takes one RGB image, (None, H, W, 3); 'mine' takes "
            "(None, 64, 64, 1)",
        ),
    ],
)
def test_a_model_that_is_no_backbone(network, message):
    with pytest.raises(ValueError) as caught:
        gcn(3, network(), 3)
    assert str(caught.value) == message


def test_an_image_that_is_no_multiple_of_a_models_stride():
    with pytest.raises(ValueError) as caught:
        gcn(3, small_network(strides=(1, 2, 2, 2)), 3, input_shape=(8, 12, 3))
    assert str(caught.value) == (
        "input_shape must have sides that are multiples of 8 or None, received (8, 12, 3)"
    )


def test_a_model_takes_no_weights():
    with pytest.raises(ValueError, match="a model as backbone has its weights, received weights='"):
        gcn(3, small_network(), 3, weights="imagenet")
