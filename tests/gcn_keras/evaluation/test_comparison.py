"""`evaluate --compare`: stand-ins for models on three images, figures worked out by hand."""

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import write_pairs

from gcn_keras.evaluation import measure
from gcn_keras.evaluation.bootstrap import CountsByImage, Difference, paired_bootstrap
from gcn_keras.evaluation.comparison import (
    ALONE,
    ComparisonOptions,
    Measured,
    _sentence,
    compare,
    runs_of,
)
from gcn_keras.evaluation.options import DEFAULT, EvaluationOptions
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.options import InferenceOptions
from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.base.labels import palette

command = importlib.import_module("gcn_keras.evaluate")

NAMES = ("sky", "road", "car")
# Of 6×8 pixels: all sky; upper half sky; all road, but a column of void.
HALVES = np.repeat(np.array([0, 1], np.uint8), 3)[:, None] * np.ones(8, np.uint8)
WITH_VOID = np.where(np.arange(8) == 0, 255, np.ones((6, 1))).astype(np.uint8)
LABELS = {"a": 0, "b": HALVES, "c": WITH_VOID}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_pairs(folder / "source" / "train", ["x"], [0])
    write_pairs(folder / "source" / "val", LABELS.keys(), LABELS.values())
    write_pairs(folder / "source" / "test", ["y"], [0])
    (folder / "source" / "classes.txt").write_text("\n".join(NAMES))
    source, data = folder / "source", folder / "data"
    datasets.prepare("image_folder/three", source, data, accept_findings=True)
    return folder / "data"


class StandIn:
    """Sees the images alone: every pixel is `upper` in the upper half and `lower` in the other."""

    def __init__(self, upper: int, lower: int, names=NAMES):
        self.halves, self.num_classes = (upper, lower), len(names)
        self.legend = Legend(names, palette())

    def segment(self, images: np.ndarray) -> np.ndarray:
        labels = np.empty(images.shape[:3], np.uint8)
        labels[:, :3], labels[:, 3:] = self.halves
        return labels

    def logits(self, images: np.ndarray) -> np.ndarray:
        return 10 * np.eye(3, dtype=np.float32)[self.segment(images)]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Paths to stand-ins: one sees sky above road, one sky alone, one is of other classes."""
    opened = []
    stand_ins = {
        "halves": StandIn(0, 1),
        "sky": StandIn(0, 0),
        "car": StandIn(2, 1),
        "others": StandIn(0, 1, ("sky", "car", "road")),
    }
    paths = {name: tmp_path / f"{name}.keras" for name in stand_ins}
    for path in paths.values():
        path.touch()

    def open_segmenter(address):
        opened.append(address)
        return next(stand_ins[name] for name, path in paths.items() if str(path) == address)

    monkeypatch.setattr(measure, "open_segmenter", open_segmenter)
    return SimpleNamespace(opened=opened, **{name: str(path) for name, path in paths.items()})


def loaded(data_dir):
    return datasets.load("image_folder/three", data_dir)


@pytest.mark.slow
def test_by_hand(models, data_dir):
    """Of 138 pixels; under void nothing counts."""
    found = compare([models.halves, models.sky], loaded(data_dir), "val", DEFAULT)
    sky, road = (24 + 24) / (48 + 24 + 21), (24 + 21) / (24 + 42 + 24)
    halves, alone = (sky + road) / 2, (72 / 138) / 2
    assert [run.matrix.mean_iou for [run] in found.runs] == pytest.approx([halves, alone])
    [difference] = found.differences
    assert difference.value == pytest.approx(alone - halves)
    assert found.images == 3

    summary = found.summary(NAMES)
    assert [row["model"] for row in summary["models"]] == [models.halves, models.sky]
    assert summary["models"][0]["iou"] == {
        "sky": pytest.approx(sky), "road": pytest.approx(road), "car": None,
    }  # fmt: skip
    [pair] = summary["differences"]
    assert (pair["model"], pair["than"]) == (models.sky, models.halves)
    assert pair["iou"] == {
        "sky": pytest.approx(72 / 138 - sky), "road": pytest.approx(-road), "car": None,
    }  # fmt: skip
    assert pair["pixel_accuracy"] == pytest.approx((72 - (24 + 24 + 24 + 21)) / 138)
    assert pair["interval"] == [difference.low, difference.high]
    assert found.table(NAMES).splitlines() == [
        f"A  {models.halves}",
        f"B  {models.sky}",
        "IoU %                A       B     B−A",
        "sky               51.6    52.2    +0.6",
        "road              50.0     0.0   −50.0",
        "car                  –       –       –",
        "mean IoU          50.8    26.1   −24.7",
        "pixel accuracy    67.4    52.2   −15.2",
        "–: a class absent from labels and predictions, not in the model's mean",
    ]


def test_a_difference_that_rounds_to_nothing_has_no_minus(models, data_dir, monkeypatch):
    found = compare([models.halves, models.sky], loaded(data_dir), "val", DEFAULT)
    first = found.runs[0][0].figures
    lower = {models.halves: first, models.sky: first - 0.0004}
    monkeypatch.setattr(Measured, "figures", property(lambda run: lower[run.path]))
    assert [line[-5:] for line in found.table(NAMES).splitlines()[3:8]] == [
        " +0.0", " +0.0", "    –", " +0.0", " +0.0",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_interval_is_of_the_images_as_they_are(models, data_dir):
    paths = [models.halves, models.sky, models.car]
    given = ComparisonOptions(resamples=300, seed=3)
    found = compare(paths, loaded(data_dir), "val", DEFAULT, given)
    counts = []
    for upper, lower in ((0, 1), (0, 0), (2, 1)):
        by_image = CountsByImage(3)
        for label in (np.zeros((6, 8), np.uint8), HALVES, WITH_VOID):
            prediction = np.where(np.arange(6)[:, None] < 3, upper, lower) * np.ones(8, int)
            by_image.update(label[None], prediction[None])
        counts.append(by_image.counts)
    # In the order of the records, which is that of the ids here.
    assert list(found.differences) == paired_bootstrap(counts, resamples=300, seed=3)


@pytest.mark.slow
def test_a_class_that_one_model_alone_predicts(models, data_dir):
    """The car is absent for one, and counts as missed for the other, as the metric has it."""
    found = compare([models.halves, models.car], loaded(data_dir), "val", DEFAULT)
    halves, car = (run.matrix for [run] in found.runs)
    assert car.iou[2] == 0 and halves.absent == [2]
    [pair] = found.summary(NAMES)["differences"]
    assert pair["iou"]["car"] is None
    assert pair["mean_iou"] == pytest.approx(np.mean(car.iou) - np.mean(halves.iou[:2]))


class TestRuns:
    """Two of one kind beside one model."""

    @pytest.fixture
    def pattern(self, models):
        """Matches the models called sky and halves, in the order of their names."""
        return models.sky.replace("sky.keras", "[hs]*.keras")

    @pytest.mark.slow
    def test_by_hand(self, models, data_dir, pattern):
        found = compare([models.car, pattern], loaded(data_dir), "val", DEFAULT)
        assert [run.path for run in found.runs[1]] == [models.halves, models.sky]
        sky, road = (24 + 24) / (48 + 24 + 21), (24 + 21) / (24 + 42 + 24)
        mean = ((sky + road) / 2 + (72 / 138) / 2) / 2
        alone = (0 + road + 0) / 3
        [difference] = found.differences
        assert difference.value == pytest.approx(mean - alone)
        summary = found.summary(NAMES)
        own = summary["models"][1]
        assert (own["model"], own["mean_iou"]) == (pattern, pytest.approx(mean))
        assert own["iou"] == {
            "sky": pytest.approx((sky + 72 / 138) / 2),
            "road": pytest.approx(road / 2),
            "car": None,
        }
        assert [run["model"] for run in own["runs"]] == [models.halves, models.sky]
        assert summary["differences"][0]["iou"]["road"] == pytest.approx(-road / 2)
        assert found.table(NAMES).splitlines()[1] == f"B  {pattern}, mean of 2 runs"
        assert " interval over 3 images and the runs (paired" in found.sentences()

    @pytest.mark.slow
    def test_runs_are_drawn(self, models, data_dir, pattern):
        [found] = compare([models.car, pattern], loaded(data_dir), "val", DEFAULT).differences
        paths = [models.car, models.halves, models.sky]
        counts = []
        for path in paths:
            by_image = CountsByImage(3)
            measure.measure(path, loaded(data_dir), "val", DEFAULT, [by_image])
            counts.append(by_image.counts)
        assert [found] == paired_bootstrap([counts[0], counts[1:]])

    @pytest.mark.slow
    def test_the_command(self, models, data_dir, pattern, capsys):
        comparison = ComparisonOptions((models.car, pattern))
        command.evaluate(None, "image_folder/three", data_dir, comparison=comparison)
        assert "mean of 2 runs" in capsys.readouterr().out

    def test_brackets_of_an_address(self):
        address = "grpc://[::1]:8500/shapes"
        assert runs_of(address) == [address]

    def test_a_pattern_of_nothing(self, models, data_dir, pattern):
        comparison = ComparisonOptions((models.car, f"{pattern}x"))
        with pytest.raises(UsageError) as caught, as_options():
            command.evaluate(None, "image_folder/three", data_dir, comparison=comparison)
        assert str(caught.value) == f"--compare {pattern}x: there is no such model"


def test_runs_that_chose_a_learning_rate(tmp_path, capsys):
    """As `ablate` leaves them beside those that a table counts."""
    paths = [tmp_path / f"base-0.01-seed{seed}" / "best.keras" for seed in (0, 1, 1000)]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    first, second, chose = map(str, paths)
    for _ in range(2):
        assert runs_of(f"{tmp_path}/base-0.01-seed*/best.keras") == [first, second]
    assert capsys.readouterr().err == f"note: {chose} is left out: it chose a learning rate\n"
    assert runs_of(f"{tmp_path}/*-seed1000/*.keras") == [chose]
    assert runs_of(chose) == [chose]


@pytest.mark.slow
def test_the_command(models, data_dir, tmp_path, capsys):
    options = EvaluationOptions(boundaries=True, boundary_width=2, trimap=(1,))
    comparison = ComparisonOptions((models.sky, models.halves, models.car), 200, 5)
    file = tmp_path / "figures.json"
    command.evaluate(None, "image_folder/three", data_dir, options, file, comparison)
    printed = capsys.readouterr().out
    assert printed.startswith("3 models on image_folder/three, split val\nA  ")
    assert "accuracy within 2 px of a boundary" in printed and "mean IoU within 1 px" in printed
    assert "interval over 3 images (paired bootstrap, 200 resamples, seed 5):" in printed
    assert len([line for line in printed.splitlines() if "(95 %: " in line]) == 3
    figures = json.loads(file.read_text())
    assert (figures["dataset"], figures["split"]) == ("image_folder/three", "val")
    assert (figures["resamples"], figures["seed"], figures["confidence"]) == (200, 5, 0.95)
    assert [row["model"] for row in figures["models"]] == list(comparison.compare)
    assert figures["models"][0]["boundaries"]["width"] == 2
    assert [(row["than"], row["model"]) for row in figures["differences"]] == [
        (models.sky, models.halves), (models.sky, models.car), (models.halves, models.car),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_model_alone_has_the_same_figures(models, data_dir, tmp_path, capsys):
    file, alone = tmp_path / "figures.json", tmp_path / "alone.json"
    options = EvaluationOptions(boundaries=True, inference=InferenceOptions(flip=True))
    comparison = ComparisonOptions((models.halves, models.sky))
    command.evaluate(None, "image_folder/three", data_dir, options, file, comparison)
    assert "split val\nprocedure --flip\n" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["procedure"] == "--flip"
    for row in figures["models"]:
        command.evaluate(row["model"], "image_folder/three", data_dir, options, alone)
        of_one = json.loads(alone.read_text())
        assert {key: of_one[key] for key in row} == row


@pytest.mark.slow
def test_tiles_and_scales(models, data_dir):
    views = InferenceOptions(scales=(1.0, 2.0), tile=(6, 8))
    options = EvaluationOptions(inference=views)
    found = compare([models.sky, models.car], loaded(data_dir), "val", options)
    # The tiles of twice the size: each has halves of its own.
    sky, car = (run.matrix.counts for [run] in found.runs)
    assert sky.tolist() == [[72, 0, 0], [66, 0, 0], [0, 0, 0]]
    assert car[:, 0].sum() == 0


def test_another_models_classes_are_refused_before_anything_is_measured(models, data_dir):
    with pytest.raises(UserError) as caught:
        compare([models.halves, models.sky, models.others], loaded(data_dir), "val", DEFAULT)
    assert str(caught.value) == (
        f"{models.others} knows the classes sky, car, road, and 'image_folder/three' has the same "
        "in another order: sky, road, car; they do not belong together"
    )
    assert models.opened == [models.halves, models.sky, models.others]


def test_a_single_image(models, data_dir):
    for split, options in (("test", DEFAULT), ("val", EvaluationOptions(limit=1))):
        with pytest.raises(UserError, match=f"at least two: there is 1 in split '{split}'"):
            compare([models.halves, models.sky], loaded(data_dir), split, options)
    assert not models.opened


def test_nothing_but_void(models, data_dir, monkeypatch):
    batch = np.zeros((2, 6, 8, 3), np.uint8), np.full((2, 6, 8), 255, np.uint8), ["a", "b"]
    monkeypatch.setattr(measure, "evaluation_batches", lambda *_, **__: [batch])
    with pytest.raises(UserError, match="has no label but void: no score"):
        compare([models.halves, models.sky], loaded(data_dir), "val", DEFAULT)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (Difference(0, 1, 0.012, 0.003, 0.021), "B is better than A: +1.20 (95 %: +0.30 … +2.10)"),
        (Difference(0, 2, -0.02, -0.03, -0.01), "A is better than C: +2.00 (95 %: +1.00 … +3.00)"),
        (
            Difference(1, 2, -0.002, -0.011, 0.007),
            "undecided between B and C: C−B is −0.20 (95 %: −1.10 … +0.70)",
        ),
        (
            Difference(0, 1, 0, 0, 0),
            "undecided between A and B: B−A is +0.00 (95 %: +0.00 … +0.00)",
        ),
    ],
)  # fmt: skip
def test_sentences(difference, sentence):
    assert _sentence(difference) == sentence


@pytest.mark.parametrize(
    ("model", "comparison", "options", "message"),
    [
        (None, {}, {}, "name a MODEL, or several by --compare MODEL MODEL"),
        ("a", {"seed": 1}, {}, "--seed is about --compare, which is missing"),
        ("a", {"resamples": 500}, {}, "--resamples is about --compare, which is missing"),
        ("a", {"compare": ("b", "c")}, {}, "--compare names all of the models: name a there, too"),
        (None, {"compare": ()}, {}, "--compare takes 2 to 26 models, got 0"),
        (None, {"compare": ("b",)}, {}, "--compare takes 2 to 26 models, got 1"),
        (None, {"compare": tuple(map(str, range(27)))}, {}, "takes 2 to 26 models, got 27"),
        (None, {"compare": ("b", "c", "b")}, {}, "--compare names b twice"),
        (None, {"compare": "bc", "resamples": 99}, {}, "--resamples must be at least 100, got 99"),
        (None, {"compare": "bc", "seed": -1}, {}, "--seed must be at least 0, got -1"),
        (
            None,
            {"compare": "bc"},
            {"submission": "a.tgz"},
            "--submission is of one model: omit --compare",
        ),
    ],
)
def test_what_is_refused(model, comparison, options, message):
    with pytest.raises(UsageError) as caught, as_options():
        ComparisonOptions(**comparison).check(model, EvaluationOptions(**options))
    assert message in str(caught.value)


def test_models_to_measure():
    assert ALONE.check("a.keras", DEFAULT) == ("a.keras",)
    assert ComparisonOptions(("a", "b")).check(None, DEFAULT) == ("a", "b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--compare {halves} {sky} --dataset image_folder/three --limit 2",
        "--dataset image_folder/three --limit 2 --compare {halves} {sky}",
    ],
)
def test_the_command_line(models, data_dir, monkeypatch, capsys, words):
    given = words.format(**vars(models)).split()
    monkeypatch.setattr("sys.argv", ["evaluate", *given, "--data-dir", str(data_dir)])
    command.main()
    assert "2 models on image_folder/three, split val" in capsys.readouterr().out
