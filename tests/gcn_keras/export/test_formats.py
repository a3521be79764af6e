"""All that one export writes, and what it says of it."""

import json

import forks
import numpy as np
import pytest
from exports import CLASSES, names

from gcn_keras import segment
from gcn_keras.deployment import form_report
from gcn_keras.evaluation.measure import evaluate_model
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from pipelines import datasets

FORMATS = ("savedmodel", "tflite", "tflite-fp16", "tflite-int8")


@pytest.fixture(scope="module")
def exported(models, data_dir, tmp_path_factory):
    """The folder, the figures and what was printed."""
    out = tmp_path_factory.mktemp("exported") / "stripes"
    done = forks.run(
        *("gcn_keras.export", models / "three.keras", "--out", out),
        *("--formats", *FORMATS, "--size", 32, 40, "--dataset", "image_folder"),
        *("--data-dir", data_dir, "--budget", 5, "--json", out.with_suffix(".json")),
    )
    assert done.returncode == 0, done.stderr
    return out, json.loads(out.with_suffix(".json").read_text()), done.stdout


@pytest.mark.slow
class TestEveryFormat:
    def test_files(self, exported):
        out, _, _ = exported
        assert names(out) == {
            "1",
            "stripes.tflite",
            "stripes.json",
            "stripes-fp16.tflite",
            "stripes-fp16.json",
            "stripes-int8.tflite",
            "stripes-int8.json",
        }
        for path in out.glob("*.json"):
            assert Legend.read(path).class_names == CLASSES

    def test_each_can_be_opened(self, exported):
        out, _, _ = exported
        image = np.random.default_rng(0).integers(0, 256, (1, 50, 33, 3)).astype(np.uint8)
        for path in (out, *out.glob("*.tflite")):
            segmenter = open_segmenter(path)
            assert segmenter.legend.class_names == CLASSES
            found, expected = segmenter.segment(image), image.argmax(axis=-1)
            assert np.mean(found == expected) > 0.98

    def test_what_folding_gave(self, exported, models):
        _, figures, printed = exported
        training, deployed = figures["graph"]["training"], figures["graph"]["deployed"]
        assert (training["layers"], deployed["layers"]) == (3, 2)
        # A kernel of 3×3 and four numbers a channel; a kernel and a bias.
        assert (training["parameters"], deployed["parameters"]) == (9 + 12, 9 + 3)
        assert deployed["operations"] < training["operations"]
        assert training["mib"] == (models / "three.keras").stat().st_size / 2**20
        assert (figures["graph"]["height"], figures["graph"]["width"]) == (32, 40)
        ratio = training["ms"] / deployed["ms"]
        assert figures["graph"]["speed_ratio"] == ratio
        lines = printed.splitlines()
        assert lines[0].split() == ["training", "graph", "deployed", "graph"]
        assert [line.split() for line in lines[1:4:2]] == [
            ["layers", "3", "2"],
            ["parameters", "21", "12"],
        ]
        assert lines[5].startswith("ms, 32x40") and lines[5].endswith(f"{ratio:.2f} x as fast")

    def test_report(self, exported, models, data_dir):
        out, figures, printed = exported
        path, prepared = models / "three.keras", datasets.load("image_folder", data_dir)
        model = open_segmenter(path).model
        matrix = evaluate_model(lambda images: segment(model, images), prepared, "val")
        assert 0.5 < matrix.mean_iou < 1
        rows = figures["formats"]
        assert [row["model"] for row in rows] == [
            str(path),
            str(out / "1"),
            str(out / "stripes.tflite"),
            str(out / "stripes-fp16.tflite"),
            str(out / "stripes-int8.tflite"),
        ]
        for row in rows[:3]:
            assert row["mean_iou"] == pytest.approx(matrix.mean_iou, abs=1e-9)
        assert rows[-1]["loss_points"] <= 5
        assert (figures["model"], figures["dataset"], figures["split"]) == (
            str(path),
            "image_folder",
            "val",
        )
        # Images of 32×32, 40×64, 20×24 and 32×33: none has the size of the TFLite files.
        assert [(row["size"], row["other_sizes"]) for row in rows] == (
            [(None, None)] * 2 + [([32, 40], 4)] * 3
        )
        assert (
            f"{out / 'stripes.tflite'} takes images of 32x40, and 4 had another size: smaller ones "
            "were padded, larger ones cut into tiles, which see less around them\n"
        ) in printed
        assert form_report.markdown(rows) in printed
        assert "int8 with no layer in float: mean IoU" in printed
