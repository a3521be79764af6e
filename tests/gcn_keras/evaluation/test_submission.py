"""Archives for the test servers, and Cityscapes' own evaluation of ours."""

import dataclasses
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import write_cityscapes, write_pairs, write_sbd, write_voc  # noqa: E402
from PIL import Image

from gcn_keras import evaluate as evaluate_command
from gcn_keras.evaluation import measure
from gcn_keras.evaluation.boundaries import TRIMAP_WIDTHS, BoundaryReport
from gcn_keras.evaluation.options import EvaluationOptions
from gcn_keras.evaluation.submission import LAYOUTS, check_file, layout_of, write_submission
from pipelines import datasets
from pipelines.base import labels
from pipelines.base.errors import ArgumentError, UsageError, UserError, as_options
from pipelines.datasets.cityscapes19.cityscapes19_dataset_builder import train_ids
from pipelines.stream.evaluation import evaluation_examples

VOC, CITYSCAPES = LAYOUTS


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="module")
def data_dir(streets, tmp_path_factory) -> Path:
    """Holds cityscapes19, voc2012_sbd and an image_folder of two classes."""
    folder = tmp_path_factory.mktemp("data")
    datasets.prepare("cityscapes19", streets, folder)
    objects = write_sbd(write_voc(tmp_path_factory.mktemp("voc")))
    datasets.prepare("voc2012_sbd", objects, folder)
    mine = tmp_path_factory.mktemp("mine")
    write_pairs(mine / "train", "a", [0])
    write_pairs(mine / "val", "b", [1])
    (mine / "classes.txt").write_text("a\nb\n")
    datasets.prepare("image_folder", mine, folder, accept_findings=True)
    return folder


def guess_streets(images: np.ndarray) -> np.ndarray:
    """The classes that `write_cityscapes` paints in its first images, some of them wrong."""
    classes = train_ids(np.arange(images.shape[2], dtype=np.uint8) % 34)
    classes = np.broadcast_to(np.where(classes == 255, 18, classes), images.shape[:3])
    return np.where(images[..., 0] > 100, classes, (classes + 1) % 17).astype(np.uint8)


def guess_objects(images: np.ndarray) -> np.ndarray:
    return (images[..., 0] % 21).astype(np.uint8)


@pytest.fixture
def evaluate(monkeypatch, tmp_path, data_dir):
    """Runs the command's function on a model that is a function."""
    (tmp_path / "model.keras").touch()

    def run(segment, dataset, json_file=None, **options):
        segmenter = SimpleNamespace(segment=segment, num_classes=None, legend=None)
        monkeypatch.setattr(measure, "open_segmenter", lambda model: segmenter)
        model, given = str(tmp_path / "model.keras"), EvaluationOptions(**options)
        with as_options():
            evaluate_command.evaluate(model, dataset, data_dir, given, json_file)

    return run


def unpack(file: Path) -> dict[str, bytes]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(file, "r:gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def pixels(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


def pictures(data_dir, dataset, split) -> dict[str, np.ndarray]:
    examples = evaluation_examples(datasets.load(dataset, data_dir), split).as_numpy_iterator()
    return {example["image_id"].decode(): example["image"] for example in examples}


class TestFiles:
    @pytest.mark.slow
    def test_voc(self, evaluate, data_dir, tmp_path, capsys):
        file, report = tmp_path / "voc.tgz", tmp_path / "report.json"
        options = {"split": "test", "submission": file, "json_file": report}
        evaluate(guess_objects, "voc2012_sbd", **options)
        ((image_id, image),) = pictures(data_dir, "voc2012_sbd", "test").items()
        assert image_id == "2008_000006"
        ((name, content),) = unpack(file).items()
        assert name == "results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png"
        np.testing.assert_array_equal(pixels(content), guess_objects(image[None])[0])
        with Image.open(io.BytesIO(content)) as opened:
            assert opened.mode == "P" and opened.size == (9, 6)
            assert opened.getpalette() == labels.voc_colour_map().ravel().tolist()
        assert capsys.readouterr().out.splitlines() == [
            f"{tmp_path / 'model.keras'} on voc2012_sbd, split test",
            "no score: this split has no labels",
            f"1 label map for the server of PASCAL VOC 2012: {file}",
        ]
        assert json.loads(report.read_text()) == {
            "model": str(tmp_path / "model.keras"),
            "dataset": "voc2012_sbd",
            "split": "test",
            "images": 1,
        }

    @pytest.mark.parametrize("name", ["city.zip", "city.tar.gz", "city.tgz"])
    def test_cityscapes(self, evaluate, data_dir, tmp_path, name):
        evaluate(guess_streets, "cityscapes19", split="test", submission=tmp_path / name)
        assert sorted(path.name for path in tmp_path.iterdir()) == [name, "model.keras"]
        ((image_id, image),) = pictures(data_dir, "cityscapes19", "test").items()
        ((path, content),) = unpack(tmp_path / name).items()
        assert path == "berlin_000000_000019_pred_labelIds.png"
        found = pixels(content)
        assert found.dtype == np.uint8 and found.shape == (32, 64)
        assert set(np.unique(found)) <= set(labels.CITYSCAPES_LABEL_IDS)
        np.testing.assert_array_equal(train_ids(found), guess_streets(image[None])[0])

    def test_of_a_split_with_labels_there_is_a_score_too(self, evaluate, tmp_path, capsys):
        options = {"submission": tmp_path / "a.tgz", "json_file": tmp_path / "report.json"}
        evaluate(guess_objects, "voc2012_sbd", **options)
        assert {Path(name).stem for name in unpack(tmp_path / "a.tgz")} == {
            "2007_000033",
            "2007_000042",
            "2007_000061",
        }
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == "class           IoU %"
        assert lines[-1].startswith("3 label maps for the server of PASCAL VOC 2012: ")
        assert 0 < json.loads((tmp_path / "report.json").read_text())["mean_iou"] < 0.2

    def test_of_labels_that_are_all_void_there_is_no_score(
        self, evaluate, tmp_path, capsys, monkeypatch
    ):
        batch = np.zeros((1, 4, 6, 3), np.uint8), np.full((1, 4, 6), 255, np.uint8), ["a_1_2"]
        monkeypatch.setattr(measure, "evaluation_batches", lambda *_, **__: [batch])
        options = {"submission": tmp_path / "a.zip", "json_file": tmp_path / "report.json"}
        evaluate(guess_streets, "cityscapes19", **options)
        assert list(unpack(tmp_path / "a.zip")) == ["a_1_2_pred_labelIds.png"]
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == "no score: this split has no label but void"
        report = json.loads((tmp_path / "report.json").read_text())
        assert report.keys() == {"model", "dataset", "split", "images"}

    @pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
    def test_the_same_label_maps_make_the_same_bytes(self, monkeypatch, tmp_path, name):
        now, contents = time.time, []
        for day in range(2):
            monkeypatch.setattr(time, "time", lambda day=day: now() + 86400 * day)
            (tmp_path / f"{day}").mkdir()
            file = tmp_path / f"{day}" / name
            with write_submission(file, CITYSCAPES) as keep:
                keep(["b_1_2", "a_1_2"], np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
            contents.append(file.read_bytes())
        assert contents[0] == contents[1]
        assert list(unpack(file)) == ["b_1_2_pred_labelIds.png", "a_1_2_pred_labelIds.png"]
        if name == "a.tgz":
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(contents[0]))) as archive:
                member = archive.getmembers()[0]
            assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)

    def test_nothing_is_left_of_one_that_failed(self, evaluate, tmp_path):
        (tmp_path / "a.zip").write_text("the one before")

        def guess(images):
            return np.full(images.shape[:3], 19, np.uint8)

        with pytest.raises(UserError) as error:
            evaluate(guess, "cityscapes19", split="test", submission=tmp_path / "a.zip")
        assert str(error.value) == (
            f"{tmp_path / 'model.keras'} and 'cityscapes19' do not belong together: predictions "
            "must be below 19, found 19"
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "model.keras"]
        assert (tmp_path / "a.zip").read_text() == "the one before"


class TestRefusals:
    @pytest.mark.parametrize(
        ("dataset", "options", "message"),
        [
            (
                "image_folder",
                {"submission": "a.tgz"},
                "--submission is for the classes of PASCAL VOC 2012 and Cityscapes, and "
                "'image_folder' has others",
            ),
            (
                "voc2012_sbd",
                {"submission": "a.zip"},
                "the server of PASCAL VOC 2012 takes .tgz or .tar.gz: --submission DIR/a.zip ends "
                "otherwise",
            ),
            (
                "voc2012_sbd",
                {"split": "test"},
                "'voc2012_sbd' has no labels for split 'test', so that nothing can be measured: "
                "--submission FILE writes what its test server measures",
            ),
            (
                "cityscapes19",
                {"split": "test", "submission": "a.zip", "trimap": ()},
                "--boundaries and --trimap measure by labels, and 'cityscapes19' has none for "
                "split 'test'",
            ),
        ],
    )
    def test_of_the_data(self, evaluate, tmp_path, dataset, options, message):
        if "submission" in options:
            options = {**options, "submission": tmp_path / options["submission"]}
        with pytest.raises(UsageError) as error:
            evaluate(guess_streets, dataset, **options)
        assert str(error.value) == message.replace("DIR", str(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]

    @pytest.mark.parametrize(
        ("file", "limit", "kind", "message"),
        [
            (
                "a.rar",
                None,
                UsageError,
                "--submission FILE must end in .tgz, .tar.gz or .zip, got a.rar",
            ),
            (
                "a.tgz",
                5,
                UsageError,
                "--submission needs every image of the split: omit --limit 5",
            ),
            ("no/a.tgz", None, UserError, "--submission no/a.tgz: there is no folder no"),
        ],
    )
    def test_of_the_file(self, file, limit, kind, message):
        with pytest.raises(UserError) as error, as_options():
            evaluate_command.evaluate(
                "model.keras",
                "cityscapes19",
                options=EvaluationOptions(submission=Path(file), limit=limit),
            )
        assert type(error.value) is kind and str(error.value) == message

    @pytest.mark.parametrize(
        ("file", "kind", "message"),
        [
            (
                "a.rar",
                ArgumentError,
                "submission FILE must end in .tgz, .tar.gz or .zip, got a.rar",
            ),
            ("no/a.tgz", UserError, "submission no/a.tgz: there is no folder no"),
        ],
    )
    def test_of_the_file_by_the_library(self, file, kind, message):
        with pytest.raises(UserError) as error:
            check_file(Path(file))
        assert type(error.value) is kind and str(error.value) == message

    def test_layouts_follow_the_classes(self, data_dir):
        mine = datasets.load("image_folder", data_dir)
        own = dataclasses.replace(mine, class_names=labels.CITYSCAPES_CLASSES)
        assert layout_of(own, Path("a.zip")) is CITYSCAPES
        other = dataclasses.replace(mine, class_names=labels.VOC_CLASSES)
        assert layout_of(other, Path("a.tgz")) is VOC


class TestBoundaries:
    def test_all_options(self, evaluate, data_dir, tmp_path, capsys):
        options = {"boundaries": True, "boundary_width": 2, "contour_share": 0.05, "trimap": (1, 4)}
        evaluate(guess_streets, "cityscapes19", json_file=tmp_path / "report.json", **options)
        dataset = datasets.load("cityscapes19", data_dir)
        expected = BoundaryReport(19, 2, 0.05, (1, 4))
        for example in evaluation_examples(dataset, "val").as_numpy_iterator():
            for counts in expected.measures:
                counts.update(example["label"][None], guess_streets(example["image"][None]))
        report = json.loads((tmp_path / "report.json").read_text())
        summary = expected.summary(labels.CITYSCAPES_CLASSES)
        assert list(summary) == ["boundaries", "trimap"]
        assert {key: report[key] for key in summary} == summary
        assert 0 < summary["boundaries"]["mean_boundary_iou"] < 1
        assert capsys.readouterr().out.endswith(f"\n{expected.table()}\n")

    @pytest.mark.parametrize(
        ("options", "widths"),
        [([], None), (["--trimap"], TRIMAP_WIDTHS), (["--trimap", "9", "2"], (2, 9))],
    )
    def test_widths_of_the_command(
        self, monkeypatch, evaluate, data_dir, tmp_path, options, widths
    ):
        segmenter = SimpleNamespace(segment=guess_streets, num_classes=19, legend=None)
        monkeypatch.setattr(measure, "open_segmenter", lambda model: segmenter)
        arguments = [tmp_path / "model.keras", "--dataset", "cityscapes19", "--data-dir", data_dir]
        arguments += ["--json", tmp_path / "report.json", *options]
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
        evaluate_command.main()
        report = json.loads((tmp_path / "report.json").read_text())
        found = tuple(row["width"] for row in report["trimap"]) if widths else None
        assert found == widths and ("trimap" in report) == bool(widths)
        assert "boundaries" not in report


@pytest.mark.slow
def test_cityscapes_own_evaluation_agrees(streets, evaluate, tmp_path):
    pytest.importorskip("cityscapesscripts")
    file, results, report = tmp_path / "a.zip", tmp_path / "results", tmp_path / "report.json"
    evaluate(guess_streets, "cityscapes19", submission=file, json_file=report)
    results.mkdir()
    for name, content in unpack(file).items():
        (results / name).write_bytes(content)
    # The script as it is, by its own search for files. Only what it measures by instances is off,
    # by its own parameter: that calls np.in1d, which NumPy 2.4 has no more, and is not compared.
    program = (
        "from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official\n"
        "official.args.evalInstLevelScore = False\n"
        "official.main()\n"
    )
    places = {
        "CITYSCAPES_DATASET": streets,
        "CITYSCAPES_RESULTS": results,
        "CITYSCAPES_EXPORT_DIR": tmp_path,
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **{name: str(path) for name, path in places.items()}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = json.loads((tmp_path / "resultPixelLevelSemanticLabeling.json").read_text())
    ours = json.loads(report.read_text())
    assert ours["mean_iou"] == pytest.approx(theirs["averageScoreClasses"], abs=1e-6)
    assert len(ours["iou"]) == 19 and len({*ours["iou"].values()}) > 10
    for name, value in ours["iou"].items():
        assert value == pytest.approx(theirs["classScores"][name], abs=1e-6), name
