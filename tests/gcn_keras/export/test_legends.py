"""The classes that an export has, and those of an earlier one in its place."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from exports import CLASSES, LEGEND, export, names, older_versions

from gcn_keras.deployment.export_folder import check_classes_stay
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from pipelines.base import labels
from pipelines.base.errors import UserError, in_options


class TestClassesStay:
    @pytest.mark.parametrize("earlier", [LEGEND, Legend.unnamed(3), None])
    def test_names_may_be_the_same_or_new(self, tmp_path, earlier):
        older_versions(tmp_path / "out", {"1": Legend.unnamed(4), "2": earlier})
        check_classes_stay(tmp_path / "out", CLASSES, "best.keras")

    def test_an_order_is_a_meaning(self, tmp_path):
        older_versions(tmp_path / "out", {"1": LEGEND})
        with pytest.raises(UserError, match="a.keras has the same in another order: blue, green"):
            check_classes_stay(tmp_path / "out", CLASSES[::-1], "a.keras")

    def test_what_is_not_written_may_be_anothers(self, tmp_path):
        out = tmp_path / "out"
        older_versions(out, {"1": Legend.unnamed(4), "backup": LEGEND})
        (out / "out-int8.tflite").touch()
        Legend.unnamed(4).write(out / "out-int8.json")
        check_classes_stay(out, CLASSES, "best.keras", ("tflite", "tflite-fp16"))
        check_classes_stay(tmp_path / "none", CLASSES, "best.keras")


class TestOlderExports:
    """An export in whose place another one is written."""

    def test_another_legend_beside_an_older_file(self, models, tmp_path):
        out = tmp_path / "two"
        out.mkdir()
        (out / "two.tflite").write_bytes(b"older")
        Legend.unnamed(4).write(out / "two.json")
        pytest.importorskip("tf2onnx")
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, ("onnx",))
        assert str(caught.value) == (
            f"{out / 'two.tflite'} knows the classes class 0, class 1, class 2, class 3, and "
            f"{models / 'three.keras'} has others: class 0, class 1, class 2; they do not belong "
            "together; give another --out"
        )
        assert names(out) == {"two.tflite", "two.json"}

    def test_a_damaged_legend_of_an_older_export(self, models, tmp_path):
        older_versions(tmp_path / "old", {"2": LEGEND})
        legend = tmp_path / "old" / "2" / "assets" / "labels.json"
        legend.write_text('{"class_names": []}')
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", tmp_path / "old", size=(32, 32))
        assert str(caught.value) == (
            f"{legend} is no file of class names and colours: 'palette'; give another --out"
        )

    @pytest.mark.parametrize(
        ("form", "path", "legend"),
        [
            ("savedmodel", "10", "10/assets/labels.json"),
            ("tflite", "old.tflite", "old.json"),
            ("tflite-fp16", "old-fp16.tflite", "old-fp16.json"),
        ],
    )
    def test_other_classes_in_place_of_an_older_export(self, models, tmp_path, form, path, legend):
        """Of a SavedModel those of the newest version count, which is served."""
        out = tmp_path / "old"
        older_versions(out, {"2": Legend.unnamed(3), "10": LEGEND})
        if form != "savedmodel":
            (out / path).write_bytes(b"older")
            LEGEND.write(out / legend)
        before = names(out)
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, (form,), size=(32, 32))
        assert str(caught.value) == (
            f"{out / path} knows the classes red, green, blue, and {models / 'three.keras'} has no "
            "names for its own, which gcn_keras.save_model writes; give another --out"
        )
        assert names(out) == before and Legend.read(out / legend).class_names == CLASSES

    @pytest.mark.parametrize("form", ["savedmodel", "tflite"])
    def test_a_version_folder(self, models, tmp_path, monkeypatch, form):
        older_versions(tmp_path / "old", {"1": Legend.unnamed(3)})
        version = tmp_path / "old" / "1"
        before = names(version)
        for out in (version, Path()):
            monkeypatch.chdir(version)
            with pytest.raises(UserError) as caught:
                export(models / "three.keras", out, (form,), size=(32, 32))
            assert str(caught.value) == (
                f"{out} is a SavedModel, and inside of it no other is found: give the folder of "
                f"its versions, --out {tmp_path / 'old'}"
            )
        assert names(version) == before

    def test_a_saved_model_without_a_number(self, tmp_path):
        older_versions(tmp_path, {"mine": None})
        with pytest.raises(UserError) as caught:
            check_classes_stay(tmp_path / "mine", CLASSES, "a.keras", folder="saved_model")
        assert in_options(caught.value.template) == (
            f"{tmp_path / 'mine'} is a SavedModel, and inside of it no other is found: give "
            "another --saved-model"
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("form", "file", "beside"),
        [
            ("tflite", "out.tflite", "out.json"),
            ("onnx", "out.onnx", "out.json"),
            ("savedmodel", "1", "1/assets/labels.json"),
        ],
    )
    def test_other_classes_than_an_older_export_has_inside(
        self, models, tmp_path, form, file, beside
    ):
        """The file beside it is gone."""
        if form == "onnx":
            pytest.importorskip("tf2onnx")
        path, out = tmp_path / "best.keras", tmp_path / "out"
        shutil.copy(models / "three.keras", path)
        LEGEND.write_into(path)
        export(path, out, (form,), size=(32, 32))
        (out / beside).unlink()
        export(path, out, (form,), size=(32, 32))  # of the same ones
        newest = out / ("2" if file == "1" else file)
        (out / beside.replace("1/", "2/")).unlink()
        before = names(out)
        with pytest.raises(UserError) as caught:
            export(models / "four.keras", out, (form,), size=(32, 32))
        assert str(caught.value) == (
            f"{newest} knows the classes red, green, blue, and {models / 'four.keras'} has no "
            "names for its own, which gcn_keras.save_model writes; give another --out"
        )
        assert names(out) == before


class TestLegend:
    def exported(self, model, out, **options) -> Legend:
        export(model, out, **options)
        return Legend.read(out / "1" / "assets" / "labels.json")

    @pytest.mark.slow
    def test_of_the_data_set(self, models, data_dir, tmp_path):
        options = {"dataset": "image_folder", "data_dir": data_dir}
        found = self.exported(models / "three.keras", tmp_path, **options)
        assert found.class_names == CLASSES

    @pytest.mark.slow
    def test_beside_the_model(self, models, tmp_path):
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        LEGEND.write(tmp_path / "labels.json")
        found = self.exported(path, tmp_path / "out")
        assert found.class_names == CLASSES
        np.testing.assert_array_equal(found.palette[:3], labels.CAMVID_PALETTE[:3])

    @pytest.mark.parametrize(
        "names, relation",
        [
            (("green", "red", "blue"), "the same in another order"),
            (("sky", "road", "car"), "others"),
        ],
    )
    def test_is_never_replaced(self, models, data_dir, tmp_path, names, relation):
        """A data set of other classes, if only in their order, is refused; nothing is written."""
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        Legend(names, labels.palette()).write(tmp_path / "labels.json")
        with pytest.raises(UserError) as caught:
            export(path, tmp_path / "out", dataset="image_folder", data_dir=data_dir)
        assert str(caught.value) == (
            f"{path} knows the classes {', '.join(names)}, and 'image_folder' has {relation}: "
            "red, green, blue; they do not belong together"
        )
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_keeps_its_colours_beside_a_data_set(self, models, data_dir, tmp_path):
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        LEGEND.write_into(path)
        options = {"dataset": "image_folder", "data_dir": data_dir}
        found = self.exported(path, tmp_path / "out", **options)
        np.testing.assert_array_equal(found.palette[:3], labels.CAMVID_PALETTE[:3])

    @pytest.mark.slow
    def test_of_nobody(self, models, tmp_path):
        found = self.exported(models / "three.keras", tmp_path)
        assert found.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.slow
def test_colours_beside_an_earlier_export_stay(models, tmp_path, capsys):
    path, out = tmp_path / "best.keras", tmp_path / "out"
    shutil.copy(models / "three.keras", path)
    LEGEND.write_into(path)
    own, given = out / "out.json", '{"class_names": ["red", "green", "blue"], "palette": %s}'
    out.mkdir()
    own.write_text(given % "[[9, 9, 9], [8, 8, 8], [7, 7, 7]]")
    for written in (own.read_text(), given % LEGEND.palette[:3].tolist()):
        own.write_text(written)
        export(path, out, ("tflite",), size=(32, 32))
        assert own.read_text() == written
        found = open_segmenter(out / "out.tflite").legend.palette[:3].tolist()
        assert found == json.loads(written)["palette"]
    assert capsys.readouterr().err.count("note: ") == 1  # where they differ
    (out / "out.tflite").unlink()
    own.write_text("no legend")
    with pytest.raises(UserError, match="Expecting value.*; it would be written over: move it, or"):
        export(path, out, ("tflite",), size=(32, 32))
    assert own.read_text() == "no legend"
    own.write_text(given.replace("red", "rot") % LEGEND.palette[:3].tolist())
    export(path, out, ("tflite",), size=(32, 32))
    assert own.read_text() == LEGEND.json
