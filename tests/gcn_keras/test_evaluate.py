"""The command `evaluate`: a model and a data set that belong together, and those that do not."""

import json

import keras
import numpy as np
import pytest
from miniatures import write_pairs

from gcn_keras.crf import search
from gcn_keras.evaluate import evaluate
from gcn_keras.inference.legend import Legend
from pipelines import datasets
from pipelines.base.errors import UserError
from pipelines.base.labels import palette

NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two images of noise to train on and two to measure, all of class 0."""
    folder = tmp_path_factory.mktemp("evaluate")
    for split in ("train", "val"):
        write_pairs(folder / "source" / split, ["a", "b"], [0, 0])
    (folder / "source" / "classes.txt").write_text("\n".join(NAMES))
    datasets.prepare("image_folder", folder / "source", folder / "data")
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
    Legend(NAMES, palette(3)).write_into(model)
    evaluate(str(model), "image_folder", data_dir, json_file=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["iou"] == {"red": 1.0, "green": None, "blue": None}
    assert "class names" not in capsys.readouterr().err


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
    legend = Legend(names, palette(3))
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


def test_unknown_names_are_told(model, data_dir, capsys):
    evaluate(str(model), "image_folder", data_dir)
    printed = capsys.readouterr()
    assert (
        f"note: {model} carries no class names; they are taken to be those of 'image_folder': "
        "red, green, blue\n"
    ) in printed.err
    assert "mean IoU         100.0" in printed.out
