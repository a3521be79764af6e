"""Images of any size in, label maps of the same size out."""

import errno
import os
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from gcn_keras import gcn, probabilities, segment
from gcn_keras.inference import segmenters
from gcn_keras.inference.keras_model import load_any_model, load_model, predict_logits
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.padding import STRIDE, pad_to_stride
from gcn_keras.models.backbones import BACKBONES
from pipelines.base.errors import UserError
from pipelines.base.imagenet import MEAN_RGB

MEAN_PIXEL = (124, 117, 104)


class RedModel:
    """Stands for a network: the class is red // 50, so that labels are known of any image."""

    name = "red"

    def __init__(self):
        self.batches = []

    def predict_on_batch(self, images):
        assert images.shape[1] % STRIDE == images.shape[2] % STRIDE == 0
        self.batches.append(images)
        return np.eye(6, dtype=np.float32)[images[..., 0].astype(int) // 50]


def picture(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (31, 33), (32, 64), (45, 97), (65, 1), (2, 32, 32), (3, 17, 50)],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_size_comes_back(shape, dtype):
    images = picture(*shape).astype(dtype)
    labels = segment(RedModel(), images)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, picture(*shape)[..., 0] // 50)


def test_images_of_different_sizes():
    images = [picture(5, 40, seed=1), picture(33, 32, seed=2), picture(2, 7, 9, seed=3)]
    for given in (images, tuple(images)):
        labels = segment(RedModel(), given)
        assert isinstance(labels, list)
        for image, label in zip(images, labels, strict=True):
            np.testing.assert_array_equal(label, image[..., 0] // 50)
    assert segment(RedModel(), []) == []


def test_a_batch_goes_through_the_model_together():
    model = RedModel()
    segment(model, picture(3, 20, 20))
    assert [batch.shape for batch in model.batches] == [(3, 32, 32, 3)]


def test_a_batch_comes_back_once_from_several_replicas():
    """As Keras does with a model of a MirroredStrategy: each replica answers it all."""
    model, images = RedModel(), picture(3, 5, 6)
    alone = segment(model, images)
    of_one = model.predict_on_batch
    model.predict_on_batch = lambda images: np.concatenate([of_one(images)] * 2)
    assert segment(model, images).shape == (3, 5, 6)
    np.testing.assert_array_equal(segment(model, images), alone)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_padding_is_the_mean_pixel_below_and_right(dtype):
    images = picture(2, 33, 40).astype(dtype)
    padded = pad_to_stride(images)
    assert padded.shape == (2, 64, 64, 3) and padded.dtype == dtype
    np.testing.assert_array_equal(padded[:, :33, :40], images)
    outside = np.ones((64, 64), bool)
    outside[:33, :40] = False
    assert np.unique(padded[:, outside].reshape(-1, 3), axis=0).tolist() == [list(MEAN_PIXEL)]
    assert tuple(np.rint(MEAN_RGB)) == MEAN_PIXEL


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (np.zeros((5, 5), np.uint8), "shape (5, 5)"),
        (np.zeros((5, 5, 4), np.uint8), "shape (5, 5, 4)"),
        (np.zeros((5, 5, 3), np.int8), "dtype int8"),
        (np.zeros((5, 5, 3), bool), "dtype bool"),
        (np.full((5, 5, 3), 0.5), "an image that never exceeds 1: multiply images of 0…1 by 255"),
    ],
)
def test_what_is_no_image_is_not_padded(images, received):
    with pytest.raises(ValueError) as caught:
        pad_to_stride(images)
    assert str(caught.value) == (
        f"images must be [H, W, 3] or [B, H, W, 3], uint8 or float in 0…255, received {received}"
    )


def test_a_list_is_not_padded():
    with pytest.raises(ValueError) as caught:
        pad_to_stride([picture(5, 5), picture(6, 6)])
    assert str(caught.value) == (
        "images must be an array [H, W, 3] or [B, H, W, 3], received a list"
    )


def test_multiples_of_the_stride_are_not_padded():
    images = picture(1, 32, 96)
    assert pad_to_stride(images) is images


def test_the_stride_is_that_of_the_coarsest_backbone():
    assert STRIDE == max(backbone.p5_stride for backbone in BACKBONES.values())
    assert all(STRIDE % backbone.p5_stride == 0 for backbone in BACKBONES.values())


@pytest.mark.slow
def test_labels_are_the_models_on_the_padded_image():
    keras.utils.set_random_seed(0)
    model = gcn(5, "resnet_nearsighted", 3)
    image = picture(50, 37)
    padded = np.full((64, 64, 3), MEAN_PIXEL, np.uint8)
    padded[:50, :37] = image
    logits = keras.ops.convert_to_numpy(model(padded[None], training=False))[0]
    labels = segment(model, image)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, logits.argmax(axis=-1)[:50, :37])


def test_a_score_for_each_pixel_is_needed():
    inputs = keras.Input((None, None, 3))
    coarse = keras.Model(inputs, keras.layers.MaxPooling2D(4)(inputs), name="coarse")
    with pytest.raises(UserError) as caught:
        segment(coarse, picture(50, 37))
    assert str(caught.value) == (
        "coarse gives 16x16 scores for an image of 64x64: a segmentation model has one for each "
        "pixel"
    )


@pytest.mark.parametrize(("classes", "fits"), [(255, True), (256, False)])
def test_labels_fit_into_8_bits(tmp_path, classes, fits):
    inputs = keras.Input((None, None, 3))
    path = tmp_path / "many.keras"
    keras.Model(inputs, keras.layers.Conv2D(classes, 1)(inputs)).save(path)
    if fits:
        assert load_model(path).output_shape[-1] == 255
    else:
        with pytest.raises(UserError, match="has 256 classes; label maps of 8 bits can hold 255$"):
            load_model(path)


def test_one_score_a_pixel_is_no_label(tmp_path):
    inputs = keras.Input((None, None, 3))
    path = tmp_path / "binary.keras"
    keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)).save(path)
    with pytest.raises(UserError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path} gives 1 score a pixel, and the highest of several is the label: give it one for "
        "the background, too"
    )


def test_a_number_of_classes_that_is_not_known(tmp_path):
    """As of a model that turns the sides of an image into channels."""
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Permute((1, 3, 2))(inputs)).save(tmp_path / "turned.keras")
    with pytest.raises(UserError) as caught:
        load_model(tmp_path / "turned.keras")
    assert str(caught.value) == (
        f"{tmp_path}/turned.keras is no segmentation model: the number of its classes is not "
        "known, its output is (None, None, 3, None)"
    )


def always(winner, classes) -> keras.Model:
    """A model whose highest score is that of one class, everywhere."""
    inputs = keras.Input((None, None, 3))
    scores = keras.layers.Conv2D(classes, 1, kernel_initializer="zeros")
    model = keras.Model(inputs, scores(inputs), name="plain")
    scores.bias.assign(np.eye(classes)[winner])
    return model


@pytest.mark.parametrize("function", [segment, probabilities])
def test_a_number_of_classes_that_makes_no_label_map(function):
    """In 8 bits 280 would be 24, and of one score the highest is always the first."""
    sentences = {
        300: "plain has 300 classes; label maps of 8 bits can hold 255",
        1: "plain gives 1 score a pixel, and the highest of several is the label: give it one for "
           "the background, too",
    }  # fmt: skip
    for classes, sentence in sentences.items():
        with pytest.raises(UserError) as caught:
            function(always(min(280, classes - 1), classes), picture(2, 3))
        assert str(caught.value) == sentence


def test_the_last_of_255_classes():
    model = always(254, 255)
    assert segment(model, picture(1, 2)).tolist() == [[254, 254]]
    shares = probabilities(model, picture(1, 2))
    np.testing.assert_allclose(shares[..., 254], np.e / (np.e + 254), rtol=1e-5)


@pytest.mark.parametrize(
    "inputs, outputs",
    [
        (lambda x: [x], lambda y: [y]),
        (lambda x: {"image": x}, lambda y: y),
        (lambda x: x, lambda y: {"logits": y}),
    ],
    ids=["lists", "dict in", "dict out"],
)
def test_structures_of_one_tensor(tmp_path, inputs, outputs):
    path = tmp_path / "model.keras"
    x = keras.Input((None, None, 3), name="image")
    red = keras.layers.Conv2D(2, 1, use_bias=False)
    keras.Model(inputs(x), outputs(red(x))).save(path)
    image = picture(32, 32)
    segmenter = segmenters.open_segmenter(path)
    expected = keras.ops.convert_to_numpy(red(image[None].astype("float32")))
    np.testing.assert_array_equal(segmenter.segment(image[None]), expected.argmax(axis=-1))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float64"])
def test_logits_are_float32(dtype):
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(2, 1, dtype=dtype)(x))
    assert predict_logits(model, picture(1, 32, 32)).dtype == np.float32


def test_a_model_that_fails_on_an_image():
    """Its coarsest map, of stride 64, does not fit to what it is added to."""
    x = keras.Input((None, None, 3))
    coarse = keras.layers.UpSampling2D(64)(keras.layers.Conv2D(3, 1, 64, padding="same")(x))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(keras.layers.Add()([x, coarse])), name="deep")
    assert segment(model, picture(64, 128)).shape == (64, 128)
    with pytest.raises(UserError, match="^deep fails on an image of 96x64: "):
        segment(model, picture(96, 40))


@pytest.mark.parametrize("function", [segment, probabilities])
@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (
            lambda x: keras.ops.argmax(x, -1),
            "mine gives (1, 32, 32) for 32x32: a segmentation model gives one map of scores, "
            "[B, H, W, C]",
        ),
        (
            lambda x: [x, 2 * x],
            "mine gives (1, 32, 32, 3), (1, 32, 32, 3) for 32x32: a segmentation model gives one "
            "map of scores, [B, H, W, C]",
        ),
    ],
)
def test_what_gives_no_map_of_scores(function, outputs, sentence):
    x = keras.Input((None, None, 3))
    with pytest.raises(UserError) as caught:
        function(keras.Model(x, outputs(x), name="mine"), picture(5, 6))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("form", [lambda x: [x], lambda x: {"scores": x}])
def test_a_list_or_dict_of_one_map(form):
    """As `load_model` takes them."""
    x = keras.Input((None, None, 3))
    labels = segment(keras.Model(form(x), form(-x)), picture(5, 6))
    np.testing.assert_array_equal(labels, picture(5, 6).argmin(axis=-1))


def test_several_inputs():
    x, y = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    with pytest.raises(UserError, match="^mine takes 2 inputs: a segmentation model takes images"):
        segment(keras.Model([x, y], x + y, name="mine"), picture(5, 6))


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ("model.keras", "a str"), (None, "a NoneType"), (len, "a builtin_function_or_method"),
        (keras.Model, "the class Model"),
    ],
)  # fmt: skip
def test_what_is_no_model(given, received):
    with pytest.raises(ValueError) as caught:
        segment(given, picture(5, 6))
    assert str(caught.value) == (
        f"model must be a Keras model, received {received}: read a file with gcn_keras.load_model"
    )


BLACK = np.zeros((2, 2, 3), np.float32)
DIM = np.full((2, 2, 3), 0.5)  # of 0…1


@pytest.mark.parametrize("function", [segment, probabilities])
@pytest.mark.parametrize(
    ("images", "received"),
    [
        (np.zeros((5, 5), np.uint8), "shape (5, 5)"),
        (np.zeros((5, 5, 4), np.uint8), "shape (5, 5, 4)"),
        (np.zeros((5, 0, 3), np.uint8), "shape (5, 0, 3)"),
        (np.zeros((0, 5, 5, 3), np.uint8), "shape (0, 5, 5, 3)"),
        (np.zeros((1, 1, 5, 5, 3), np.uint8), "shape (1, 1, 5, 5, 3)"),
        (np.zeros(3, np.uint8), "shape (3,)"),
        ("photo.jpg", "the path 'photo.jpg': read it with gcn_keras.load_image"),
        ([Path("photo.jpg")], "the path 'photo.jpg': read it with gcn_keras.load_image"),
        (BLACK.astype(np.uint16), "dtype uint16"),
        (BLACK.astype(np.int64), "dtype int64"),
        (BLACK.astype(bool), "dtype bool"),
        (BLACK.astype(complex), "dtype complex128"),
        (BLACK.astype(str), "dtype <U32"),
        (BLACK.astype(object), "dtype object"),
        (BLACK - 1, "values from -1.0 to -1.0"),
        (BLACK + 255.5, "values from 255.5 to 255.5"),
        (np.where(BLACK == 0, np.nan, 0), "values from nan to nan"),
        (np.where(BLACK == 0, np.inf, 0), "values from inf to inf"),
        (DIM, "an image that never exceeds 1: multiply images of 0…1 by 255"),
        (np.stack([DIM, DIM + 200]), "an image that never exceeds 1: multiply images of 0…1 by "
                                     "255"),
    ],
)  # fmt: skip
def test_what_is_no_image(function, images, received):
    for given in (images, [picture(2, 2), images]):
        with pytest.raises(ValueError) as caught:
            function(RedModel(), given)
        assert str(caught.value) == (
            "images must be [H, W, 3], [B, H, W, 3] or a list of images, uint8 or float in "
            f"0…255, received {received}"
        )


def test_a_segmenter_takes_batches_of_uint8_alone(tmp_path, monkeypatch):
    model = RedModel()
    model.input_shape, model.output = (
        (None, None, None, 3),
        SimpleNamespace(shape=(None,) * 3 + (6,)),
    )
    monkeypatch.setattr(segmenters.keras_model, "load_model", lambda path: model)
    segmenter = segmenters.KerasSegmenter(tmp_path / "model.keras")
    assert segmenter.logits(picture(1, 2, 2)).shape == (1, 2, 2, 6)
    with pytest.raises(ValueError, match=r"must be uint8 \[B, H, W, 3\], received float64"):
        segmenter.logits(DIM[None])
    with pytest.raises(
        ValueError, match=r"must be uint8 \[B, H, W, 3\], received uint8 \(2, 2, 3\)"
    ):
        segmenter.segment(picture(2, 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_floats_of_any_width(dtype):
    image = np.array([[[0, 0, 0], [249, 0.5, 255]]], dtype)
    model = RedModel()
    assert segment(model, image).tolist() == [[0, 4]]
    assert model.batches[0].dtype == np.float32
    assert probabilities(RedModel(), image).argmax(axis=-1).tolist() == [[0, 4]]
    assert segment(RedModel(), 0 * image).tolist() == [[0, 0]]  # black is black in 0…1, too


@pytest.mark.parametrize("load", [load_any_model, load_model])
def test_code_in_a_model_is_refused(load, tmp_path):
    """Safe mode: what a Lambda layer holds is Python, and never runs."""
    path = tmp_path / "model.keras"
    x = keras.Input((None, None, 3))
    y = keras.layers.Lambda(lambda x: 2 * x, output_shape=(None, None, 3))(x)
    keras.Model(x, y).save(path)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path} cannot be loaded as a Keras model: it holds Python code, as of a Lambda layer, "
        "and files are loaded in Keras' safe mode: build it of plain layers"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_temporary_folder_without_room(tmp_path, monkeypatch, number):
    """Nothing is wrong with the file, which Keras unpacks for the legend that it holds."""

    def extract(*given, **options):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "model.keras"
    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.ReLU()(x)).save(path)
    Legend.unnamed(3).write_into(path)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", extract)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load_any_model(path)
    assert str(caught.value) == (
        f"there is no room to unpack {path} in {tmp_path}: free some, or set TMPDIR"
    )


def test_a_sequential_model_like_any_other(tmp_path):
    """Loaded, it has no `input` and `output` by itself."""
    path = tmp_path / "model.keras"
    red = keras.layers.Conv2D(2, 1, use_bias=False)
    keras.Sequential([keras.Input((None, None, 3)), red]).save(path)
    model = load_model(path)
    assert model.input.shape == (None, None, None, 3) and model.output.shape[-1] == 2
    images = np.random.default_rng(0).uniform(0, 255, (1, 2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(images), red(images))
    assert segmenters.open_segmenter(path).num_classes == 2


def test_a_model_that_knows_no_inputs(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Conv2D(2, 1)]).save(path)
    with pytest.raises(UserError, match=r"begins with keras\.Input") as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path} holds a model without known inputs")
