"""Views and a dense CRF as `evaluate` and `predict` take them; which forms of a model can."""

import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_runs import prepare_halves, run

import gcn_keras
from gcn_keras import crf, load_image
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference import dense_crf, options
from gcn_keras.inference.options import PLAIN, InferenceOptions
from pipelines.base.errors import UsageError, UserError, as_options

NO_LOGITS = (
    "{} gives labels alone, and scales, mirrored views, tiles and the dense CRF need logits: take "
    "a .keras file, or a SavedModel folder with the signature 'logits', as gcn_keras.export writes"
)


def of_columns(images):
    """A model of two classes that knows nothing but the column: left and right."""
    batch, height, width, _ = images.shape
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    logits = np.stack([-columns, columns], axis=-1)
    return np.broadcast_to(logits, (batch, height, width, 2))


def test_the_default_asks_the_model_itself():
    segmenter = SimpleNamespace(segment=lambda images: "labels", logits=None)
    for given in (PLAIN, InferenceOptions(scales=(1,))):
        assert options.segment_function(segmenter, given, "a.tflite") is segmenter.segment


def test_images_of_a_batch():
    segment = options.segment_function(
        SimpleNamespace(logits=of_columns), InferenceOptions(scales=(1.0, 1.5)), "a"
    )
    labels = segment(np.zeros((2, 13, 22, 3), np.uint8))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(22) > 10, (2, 13, 22)))


@pytest.mark.parametrize(
    "given",
    [
        InferenceOptions(flip=True),
        InferenceOptions(scales=(2.0,)),
        InferenceOptions(tile=(4, 4)),
        InferenceOptions(dense_crf=1),
    ],
)
def test_forms_without_logits(given):
    for segmenter in (SimpleNamespace(), SimpleNamespace(logits=None)):
        with pytest.raises(UserError) as caught:
            options.segment_function(segmenter, given, "models/1")
        assert str(caught.value) == NO_LOGITS.format("models/1")


@pytest.mark.parametrize(
    "address", ["a.tflite", "http://h:8501/v1/models/n", "grpc://h:8500/n"], ids=str
)
def test_forms_that_never_give_logits_are_not_opened(address):
    PLAIN.check_for(address)
    with pytest.raises(UserError) as caught:
        InferenceOptions(flip=True).check_for(address)
    assert str(caught.value) == NO_LOGITS.format(address)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (InferenceOptions(scales=(0,)), "--scales must be above 0 and at most 8, got 0"),
        (
            InferenceOptions(scales=(1.0, 8.0000001)),
            "--scales must be above 0 and at most 8, got 1 8.0000001",
        ),
        (
            InferenceOptions(crf_parameters=dense_crf.Parameters(sigma=0)),
            "--crf.sigma must be a number of at least 0.01, got 0",
        ),
        (
            InferenceOptions(crf_parameters=dense_crf.Parameters(bilateral_xy=49)),
            "--crf.bilateral-xy 49 is about the dense CRF: add --crf",
        ),
        (
            InferenceOptions(crf_parameters=dense_crf.Parameters(sigma=1.00000001)),
            "--crf.sigma 1.00000001 is about the dense CRF: add --crf",
        ),
    ],
)
def test_invalid_values(given, message):
    with pytest.raises(UsageError) as caught, as_options():
        given.check_for("model.keras")
    assert str(caught.value) == message


def test_options():
    assert PLAIN.command_line() == ""
    views = InferenceOptions((0.75, 1), True, (64, 96), 8)
    assert views.command_line() == "--scales 0.75 1 --flip --tile 64 96 --overlap 8"
    assert InferenceOptions(scales=(0.5, 1), dense_crf=True).command_line() == (
        "--scales 0.5 1 --crf --crf.weight 3 --crf.sigma 1 --crf.bilateral-weight 4 "
        "--crf.bilateral-xy 67 --crf.bilateral-rgb 3 --crf.iterations 10"
    )


def test_options_are_exact():
    """Those of two results that differ are two."""
    parameters = dense_crf.Parameters(1234567.0, 1.00000001, 0.1, 1e-05, np.float64(49), 7)
    given = InferenceOptions(scales=(1.0000001,), dense_crf=True, crf_parameters=parameters)
    assert given.command_line() == (
        "--scales 1.0000001 --crf --crf.weight 1234567 --crf.sigma 1.00000001 "
        "--crf.bilateral-weight 0.1 --crf.bilateral-xy 1e-05 --crf.bilateral-rgb 49 "
        "--crf.iterations 7"
    )


VIEWS = {"scales": (0.5, 1, 1.25), "flip": True, "tile": (48, 40), "overlap": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set; a model of its two classes as a .keras file and as a SavedModel."""
    import keras

    from gcn_keras.deployment.deployable import Deployable
    from gcn_keras.deployment.saved_model import export_saved_model
    from gcn_keras.inference.legend import Legend

    folder = tmp_path_factory.mktemp("commands")
    prepare_halves(folder)
    keras.utils.set_random_seed(0)
    model = gcn_keras.gcn(2, "resnet14_tiny", 3)
    # Untrained, it is very sure of one class. Nearly undecided, it sees both on noise.
    last = model.get_layer("deconv_up2")
    last.set_weights([last.get_weights()[0] / 1000, np.zeros(2)])
    scores = gcn_keras.probabilities(model, noise(), **VIEWS)
    preferred = np.median(np.log(scores[..., 0] / scores[..., 1]))
    last.set_weights([last.get_weights()[0], np.array([0, preferred])])
    model.save(folder / "model.keras")
    export_saved_model(Deployable(model, Legend.unnamed(2)), folder / "saved")
    return folder


def noise():
    return np.random.default_rng(0).integers(0, 256, (50, 83, 3)).astype(np.uint8)


@pytest.mark.slow
class TestCommands:
    OPTIONS = ("--scales", 0.5, 1, 1.25, "--flip", "--tile", 48, 40, "--overlap", 8)

    def expected(self, folder, image) -> np.ndarray:
        from gcn_keras.inference.keras_model import load_model

        scores = gcn_keras.probabilities(load_model(folder / "model.keras"), image, **VIEWS)
        return scores.argmax(axis=-1)

    def test_evaluate(self, folder, tmp_path):
        results = []
        for model in (folder / "model.keras", folder / "saved"):
            report = tmp_path / "report.json"
            options = ("--dataset", "image_folder", "--data-dir", folder / "data")
            done = run("evaluate", model, *options, *self.OPTIONS, "--json", report)
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[1] == (
                "procedure --scales 0.5 1 1.25 --flip --tile 48 40 --overlap 8"
            )
            results.append(json.loads(report.read_text()))
        assert results[0]["procedure"] == done.stdout.splitlines()[1].removeprefix("procedure ")
        matrix = ConfusionMatrix(2)
        for number in range(8, 12):
            image = load_image(folder / "source" / "val" / "images" / f"{number}.jpg")
            with Image.open(folder / "source" / "val" / "labels" / f"{number}.png") as label:
                matrix.update(np.array(label), self.expected(folder, image))
        # Another decoder of the JPEG files, and a folded batch norm: borderline pixels may differ.
        for found in results:
            assert found["mean_iou"] == pytest.approx(matrix.mean_iou, abs=0.005)

    def test_predict(self, folder, tmp_path):
        picture = noise()
        Image.fromarray(picture).save(tmp_path / "a.png")
        done = run(
            "predict", folder / "model.keras", tmp_path / "a.png", "--out", tmp_path, *self.OPTIONS
        )
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "a_labels.png") as labels:
            labels = np.array(labels)
        assert len(np.unique(labels)) == 2
        assert (labels == self.expected(folder, picture)).mean() > 0.999

    def test_a_form_without_logits(self, tmp_path):
        (tmp_path / "a.tflite").touch()
        done = run("predict", tmp_path / "a.tflite", "a.png", "--flip")
        assert done.returncode == 1
        assert done.stderr == f"error: {NO_LOGITS.format(tmp_path / 'a.tflite')}\n"

    def test_a_form_without_logits_that_is_not_installed(self, tmp_path, monkeypatch):
        """Its package would help nobody."""
        monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
        monkeypatch.setattr(crf, "require", lambda: None)
        path = tmp_path / "a.tflite"
        path.touch()
        predict = importlib.import_module("gcn_keras.predict").predict
        for command in (
            lambda: predict(str(path), (tmp_path,), inference=InferenceOptions(flip=True)),
            lambda: crf.search(str(path), "shapes"),
        ):
            with pytest.raises(UserError) as caught:
                command()
            assert str(caught.value) == NO_LOGITS.format(path)
