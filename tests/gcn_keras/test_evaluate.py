"""The command `evaluate`: a model and a data set that belong together, and those that do not."""

import json
import sys

import keras
import numpy as np
import pytest
from miniatures import noise, write_pairs

from gcn_keras import probabilities, segment
from gcn_keras.crf import search
from gcn_keras.deployment.form_report import report
from gcn_keras.evaluate import evaluate
from gcn_keras.evaluation.comparison import ComparisonOptions
from gcn_keras.evaluation.options import EvaluationOptions
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import FORMS, check_exists
from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, in_options
from pipelines.base.labels import palette

NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two images of noise to train on and two to measure, all of class 0."""
    folder = tmp_path_factory.mktemp("evaluate")
    for split in ("train", "val"):
        write_pairs(folder / "source" / split, ["a", "b"], [0, 0])
    (folder / "source" / "classes.txt").write_text("\n".join(NAMES))
    source, data = folder / "source", folder / "data"
    datasets.prepare("image_folder", source, data, accept_findings=True)
    return folder / "data"


@pytest.fixture
def model(tmp_path):
    """A pixel's class is 0, whatever it shows."""
    x = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(3, 1)
    network = keras.Model(x, layer(x))
    layer.set_weights([np.zeros((1, 1, 3, 3)), np.array([1.0, 0, 0])])
    network.save(tmp_path / "best.keras")
    return tmp_path / "best.keras"


def test_the_same_classes(model, data_dir, tmp_path, capsys):
    Legend(NAMES, palette()).write_into(model)
    evaluate(str(model), "image_folder", data_dir, json_file=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["iou"] == {"red": 1.0, "green": None, "blue": None}
    assert figures["images"] == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{model} on image_folder, split val\n")
    assert "class names" not in printed.err


def test_a_part_of_the_images_is_called_so(model, data_dir, tmp_path, capsys):
    options, file = EvaluationOptions(limit=1), tmp_path / "figures.json"
    evaluate(str(model), "image_folder", data_dir, options, file)
    head = f"{model} on image_folder, split val, the first 1 of 2 images\n"
    assert capsys.readouterr().out.startswith(head)
    assert json.loads(file.read_text())["images"] == 1


@pytest.mark.parametrize("where", ["inside", "beside"])
@pytest.mark.parametrize(
    "names, relation",
    [
        (("green", "red", "blue"), "the same in another order"),
        (("red", "green", "azure"), "others"),
        (("red", "green", "Blue"), "others"),
    ],
)
def test_other_classes(model, data_dir, where, names, relation):
    legend = Legend(names, palette())
    if where == "inside":
        legend.write_into(model)
    else:
        legend.write(model.with_name("labels.json"))
    message = (
        f"{model} knows the classes {', '.join(names)}, and 'image_folder' has {relation}: "
        "red, green, blue; they do not belong together"
    )
    with pytest.raises(UserError) as caught:
        evaluate(str(model), "image_folder", data_dir)
    assert str(caught.value) == message
    pytest.importorskip("pydensecrf")
    with pytest.raises(UserError) as caught:
        search(str(model), "image_folder", data_dir)
    assert str(caught.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 32), (64, None), (None, None)])
def test_a_model_of_a_fixed_size(data_dir, tmp_path, size, capsys):
    """Smaller images, of 6×8 here, are padded."""
    x = keras.Input((*size, 3))
    keras.Model(x, keras.layers.Conv2D(3, 1)(x)).save(tmp_path / "fixed.keras")
    evaluate(str(tmp_path / "fixed.keras"), "image_folder", data_dir)
    assert "mean IoU" in capsys.readouterr().out
    prepared = datasets.load("image_folder", data_dir)
    [row] = report([tmp_path / "fixed.keras"], prepared, "val")
    fixed = None not in size
    assert (row["size"], row["other_sizes"]) == (([64, 32], 2) if fixed else (None, None))


def test_images_larger_than_a_fixed_size(tmp_path):
    x = keras.Input((64, 32, 3))
    layer = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(x, layer(x), name="fixed")
    layer.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 255])
    image = noise(65, 30)
    with pytest.raises(UserError) as caught:
        segment(model, image)
    assert in_options(caught.value.template) == (
        "fixed takes images of at most 64x32, got 65x30: take tiles of that size, --tile 64 32"
    )
    found = probabilities(model, noise(65, 40), tile=(64, 32)).argmax(axis=-1)
    np.testing.assert_array_equal(found, noise(65, 40).argmax(axis=-1))
    np.testing.assert_array_equal(segment(model, image[:64]), image[:64].argmax(axis=-1))


def test_unknown_names_are_told(model, data_dir, capsys):
    evaluate(str(model), "image_folder", data_dir)
    printed = capsys.readouterr()
    assert (
        f"note: {model} carries no class names; they are taken to be those of 'image_folder': "
        "red, green, blue\n"
    ) in printed.err
    assert "mean IoU         100.0" in printed.out


@pytest.mark.parametrize(
    "name",
    [
        "a.keras",
        "labels.json",
        "b.tflite",
        "b.json",
        "c/1/saved_model.pb",
        "c/1/assets/labels.json",
    ],
)
def test_figures_over_a_model(tmp_path, name):
    """Or over the names of its classes, whichever of the compared models it is."""
    (tmp_path / "c" / "1" / "assets").mkdir(parents=True)
    for file in ("a.keras", "b.tflite", "c/1/saved_model.pb", "c/1/assets/labels.json"):
        (tmp_path / file).touch()
    models = tuple(str(tmp_path / each) for each in ("[a].keras", "b.tflite", "c"))
    json_file = tmp_path / name
    with pytest.raises(UsageError) as caught:
        evaluate(None, "shapes", json_file=json_file, comparison=ComparisonOptions(models))
    assert str(caught.value) == f"--json {json_file} would be written over: name another file"


def test_figures_over_the_submission(tmp_path):
    (tmp_path / "a.keras").touch()
    file = tmp_path / "city.tar.gz"
    options = EvaluationOptions(submission=file)
    with pytest.raises(UsageError) as caught:
        evaluate(str(tmp_path / "a.keras"), "shapes", options=options, json_file=file)
    assert str(caught.value) == f"--json {file} would be written over: name another file"


@pytest.mark.parametrize("compared", [None, ("a.keras", "")])
def test_an_empty_name(monkeypatch, tmp_path, compared):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.keras").touch()
    with pytest.raises(UserError) as caught:
        evaluate(None if compared else "", "shapes", comparison=ComparisonOptions(compared))
    assert str(caught.value) == f"there is no model at '': expected {FORMS}"


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize(
    "name, module, package, extra",
    [
        ("a.tflite", "ai_edge_litert", "ai-edge-litert", "tflite"),
        ("a.onnx", "onnxruntime", "onnxruntime", "onnx"),
        ("grpc://localhost:1/a", "tensorflow_serving", "tensorflow-serving-api", "serving"),
    ],
)
def test_what_is_not_installed(monkeypatch, tmp_path, compared, name, module, package, extra):
    """It is named before thousands of scenes are drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(datasets, "load", lambda *given: pytest.fail("data were asked for"))
    for file in ("a.tflite", "a.onnx", "b.keras"):
        (tmp_path / file).touch()
    comparison = ComparisonOptions(("b.keras", name) if compared else None)
    with pytest.raises(UserError) as caught:
        evaluate(None if compared else name, "shapes", comparison=comparison)
    assert str(caught.value) == (
        f'{name} needs {package}, which is not installed: pip install "gcn_keras[{extra}]"'
    )


def test_a_folder_that_is_called_like_a_file(monkeypatch, tmp_path):
    """It holds a SavedModel, which needs nothing more."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    (tmp_path / "a.tflite").mkdir()
    (tmp_path / "a.tflite" / "saved_model.pb").touch()
    check_exists(tmp_path / "a.tflite")


def test_the_folder_of_a_run_for_its_model(tmp_path):
    for name in ("model.keras", "config.json", "best.keras"):
        (tmp_path / name).touch()
    with pytest.raises(
        UserError, match="holds no SavedModel: .*; name a model in it: best.keras, "
    ):
        check_exists(tmp_path)
