"""The dense CRF beside a mean field that adds up every pair of pixels, and the search."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gcn_keras import crf
from gcn_keras.evaluation.crf_search import grid, measure
from gcn_keras.inference import dense_crf
from gcn_keras.inference.dense_crf import Parameters
from gcn_keras.inference.multi_scale import MultiScale
from gcn_keras.inference.options import InferenceOptions
from pipelines.base.errors import UsageError, UserError, as_options

pytest.importorskip("pydensecrf")


def mean_field(image, probabilities, parameters):
    """The same field by its definition: every pair of pixels, kernels normalised on both sides."""
    height, width, classes = probabilities.shape
    y, x = np.mgrid[:height, :width]
    positions = np.stack([y, x], axis=-1).reshape(-1, 2).astype(float)
    colours = image.reshape(-1, 3).astype(float)

    def kernel(features):
        squared = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
        values = np.exp(-squared / 2)
        scale = 1 / np.sqrt(values.sum(axis=1))
        return scale[:, None] * values * scale[None]

    smooth = kernel(positions / parameters.sigma)
    bilateral = kernel(
        np.hstack([positions / parameters.bilateral_xy, colours / parameters.bilateral_rgb])
    )
    unary = np.log(np.maximum(probabilities, 1e-8)).reshape(-1, classes)
    field = np.exp(unary) / np.exp(unary).sum(axis=1, keepdims=True)
    for _ in range(parameters.iterations):
        energy = unary + parameters.weight * smooth @ field
        energy = energy + parameters.bilateral_weight * bilateral @ field
        field = np.exp(energy - energy.max(axis=1, keepdims=True))
        field /= field.sum(axis=1, keepdims=True)
    return field.reshape(height, width, classes)


def scene(height=14, width=23):
    """A bright box on dark ground, noise on both, and scores that know it badly."""
    random = np.random.default_rng(0)
    label = np.zeros((height, width), int)
    label[3:9, 5:19] = 1
    image = 60 + 120 * label[..., None] + random.integers(-8, 9, (height, width, 3))
    scores = random.normal(0, 1, (height, width, 3)) + np.eye(3)[label] * 1.2
    exponentials = np.exp(scores)
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return image.astype(np.uint8), probabilities.astype(np.float32), label


COLOURED = Parameters(bilateral_xy=20, bilateral_rgb=13)  # wider than the scene's noise


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(sigma=2, bilateral_weight=0, iterations=5),
        Parameters(weight=0, bilateral_xy=8, bilateral_rgb=20, iterations=5),
        Parameters(weight=2, sigma=1.5, bilateral_weight=3, bilateral_xy=10, bilateral_rgb=13),
    ],
)
def test_it_is_the_mean_field(parameters):
    """pydensecrf filters on a lattice, which is not exact: hence a tolerance of some per cent."""
    image, probabilities, _ = scene()
    refined = dense_crf.refine(image, probabilities, parameters)
    expected = mean_field(image, probabilities, parameters)
    assert refined.shape == probabilities.shape and refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(axis=-1), 1, rtol=1e-4)
    assert np.abs(refined - expected).max() < 0.05
    assert np.abs(refined - expected).mean() < 0.005
    clear = np.sort(expected, axis=-1)[..., -1] > 0.75
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(refined.argmax(-1)[clear], expected.argmax(-1)[clear])


def test_it_follows_the_image():
    image, probabilities, label = scene()
    before = (probabilities.argmax(-1) == label).mean()
    after = (dense_crf.refine(image, probabilities, COLOURED).argmax(-1) == label).mean()
    assert before < 0.85 and after == 1


def test_axes_are_not_swapped():
    """One sure pixel pulls its neighbours along, and those of an image that is not square."""
    probabilities = np.full((6, 11, 2), 0.5, np.float32)
    probabilities[4, 8] = 0.001, 0.999
    parameters = Parameters(sigma=1, bilateral_weight=0, iterations=1)
    refined = dense_crf.refine(np.zeros((6, 11, 3), np.uint8), probabilities, parameters)[..., 1]
    refined[4, 8] = 0
    assert set(map(tuple, np.argwhere(refined > 0.52))) >= {(3, 8), (5, 8), (4, 7), (4, 9)}
    assert abs(refined[:3, :6] - 0.5).max() < 0.01


@pytest.mark.parametrize(
    "image, probabilities, received",
    [
        (np.zeros((4, 5), np.uint8), np.ones((4, 5, 2)), "uint8 (4, 5) and (4, 5, 2)"),
        (np.zeros((4, 5, 3)), np.ones((4, 5, 2)), "float64 (4, 5, 3) and (4, 5, 2)"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((5, 4, 2)), "uint8 (4, 5, 3) and (5, 4, 2)"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((4, 5)), "uint8 (4, 5, 3) and (4, 5)"),
    ],
)
def test_what_does_not_fit(image, probabilities, received):
    with pytest.raises(ValueError) as caught:
        dense_crf.refine(image, probabilities)
    assert str(caught.value) == (
        f"the CRF takes an image, uint8 [H, W, 3], and probabilities [H, W, C], received {received}"
    )


def test_without_weights_nothing_changes():
    image, probabilities, _ = scene()
    refined = dense_crf.refine(image, probabilities, Parameters(weight=0, bilateral_weight=0))
    np.testing.assert_allclose(refined, probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iterations": 0}, "--crf.iterations must be at least 1, got 0"),
        ({"weight": -1.0}, "--crf.weight must be in 0…1,000,000, got -1"),
        (
            {"bilateral_weight": 1000000.1},
            "--crf.bilateral-weight must be in 0…1,000,000, got 1000000.1",
        ),
        ({"weight": 1e39}, "--crf.weight must be in 0…1,000,000, got 1e+39"),
        ({"bilateral_rgb": 0.0}, "--crf.bilateral-rgb must be a number of at least 0.01, got 0"),
        (
            {"bilateral_xy": 0.009999999},
            "--crf.bilateral-xy must be a number of at least 0.01, got 0.009999999",
        ),
        ({"sigma": 1e-30}, "--crf.sigma must be a number of at least 0.01, got 1e-30"),
        ({"sigma": float("inf")}, "--crf.sigma must be a number of at least 0.01, got inf"),
    ],
)
def test_invalid_values(fields, message):
    with pytest.raises(UsageError) as caught, as_options():
        Parameters(**fields).check("crf.")
    assert str(caught.value) == message


def test_the_least_reach_and_the_largest_weight():
    """Each pixel by itself, and labels that follow from their neighbours alone."""
    image, probabilities, _ = scene()
    alone = dense_crf.refine(image, probabilities, Parameters(1e6, 0.01, 1e6, 0.01, 0.01))
    np.testing.assert_array_equal(alone.argmax(-1), probabilities.argmax(-1))
    together = dense_crf.refine(image, probabilities, Parameters(weight=1e6))
    assert np.isfinite(together).all() and len(np.unique(together.argmax(-1))) > 1


def test_a_reach_that_would_end_the_process(monkeypatch):
    monkeypatch.setattr(dense_crf, "require", lambda: pytest.fail("begun"))
    image, probabilities, _ = scene()
    with pytest.raises(ValueError) as caught:
        dense_crf.refine(image, probabilities, Parameters(sigma=1e-30))
    assert str(caught.value) == "sigma must be a number of at least 0.01, got 1e-30"


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(UserError) as caught:
        dense_crf.require()
    assert str(caught.value) == (
        'a dense CRF needs pydensecrf2, which is not installed: pip install "gcn_keras[crf]"'
    )


# === Search ===


def test_every_combination():
    assert grid(weight=(1.0, 2.0), bilateral_xy=(30.0,), iterations=(5, 10)) == [
        Parameters(weight=1, bilateral_xy=30, iterations=5),
        Parameters(weight=1, bilateral_xy=30, iterations=10),
        Parameters(weight=2, bilateral_xy=30, iterations=5),
        Parameters(weight=2, bilateral_xy=30, iterations=10),
    ]


def test_options_are_those_of_evaluate():
    options = InferenceOptions(dense_crf=True, crf_parameters=Parameters(sigma=2.5))
    assert options.command_line() == (
        "--crf --crf.weight 3 --crf.sigma 2.5 --crf.bilateral-weight 4 --crf.bilateral-xy 67 "
        "--crf.bilateral-rgb 3 --crf.iterations 10"
    )


def test_each_image_meets_every_candidate(monkeypatch):
    image, probabilities, label = scene()
    examples = [{"image": image, "label": label.astype(np.uint8), "image_id": b"a"}] * 2
    monkeypatch.setattr(
        "pipelines.stream.evaluation.evaluation_examples",
        lambda dataset, split, limit: SimpleNamespace(as_numpy_iterator=lambda: iter(examples)),
    )
    calls = []

    def logits(images):
        calls.append(len(images))
        return np.log(probabilities)[None]

    idle = Parameters(weight=0, bilateral_weight=0)
    dataset = SimpleNamespace(num_classes=3, splits={"val": 2})
    scores = measure(logits, dataset, "val", None, [idle, COLOURED])
    assert calls == [1, 1]
    assert scores[None] == scores[idle] < scores[COLOURED] == 1


def test_a_search_where_all_is_void(monkeypatch):
    image, probabilities, label = scene()
    examples = [{"image": image, "label": np.full_like(label, 255, np.uint8), "image_id": b"a"}]
    monkeypatch.setattr(
        "pipelines.stream.evaluation.evaluation_examples",
        lambda *_: SimpleNamespace(as_numpy_iterator=lambda: iter(examples)),
    )
    dataset = SimpleNamespace(name="noise", num_classes=3, splits={"val": 1})
    with pytest.raises(UserError) as caught:
        measure(lambda images: np.log(probabilities)[None], dataset, "val", None, [COLOURED])
    assert str(caught.value) == "split 'val' of 'noise' has no label but void: no score"


def test_the_search_takes_several_views(monkeypatch):
    image, probabilities, label = scene()
    monkeypatch.setattr(
        "pipelines.stream.evaluation.evaluation_examples",
        lambda *_: SimpleNamespace(
            as_numpy_iterator=lambda: iter(
                [{"image": image, "label": label.astype(np.uint8), "image_id": b"a"}]
            )
        ),
    )
    shapes = []

    def logits(images):
        shapes.append(images.shape[1:3])
        return np.zeros((*images.shape[:3], 3), np.float32)

    dataset = SimpleNamespace(num_classes=3, splits={"val": 1})
    measure(logits, dataset, "val", None, [], MultiScale(scales=(1, 2)))
    assert shapes == [(14, 23), (28, 46)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sigma"], "--sigma needs at least one value to try, got none"),
        (
            ["--bilateral-rgb", "3", "-1"],
            "--bilateral-rgb must be a number of at least 0.01, got -1",
        ),
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--overlap", "3"], "--overlap needs --tile H W, got --overlap 3 alone"),
    ],
)
def test_an_invalid_search(arguments, message, monkeypatch):
    arguments = ["search", "model.keras", "--dataset", "shapes", *arguments]
    monkeypatch.setattr(sys, "argv", ["crf", *arguments])
    with pytest.raises(UsageError) as caught, as_options():
        crf.main()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["model.keras", "labels.json"])
def test_a_table_over_the_model(tmp_path, name):
    (tmp_path / "model.keras").touch()
    with pytest.raises(UsageError) as caught:
        crf.search(str(tmp_path / "model.keras"), "shapes", json_file=tmp_path / name)
    assert str(caught.value) == f"--json {tmp_path / name} would be written over: name another file"


@pytest.mark.slow
def test_search_by_the_command(tmp_path):
    from small_runs import prepare_halves, run

    from gcn_keras import gcn

    data = prepare_halves(tmp_path)
    gcn(2, "small", 3).save(tmp_path / "model.keras")
    arguments = [tmp_path / "model.keras", "--dataset", "image_folder", "--data-dir", data]
    done = run(
        "crf", "search", *arguments, "--limit", 2, "--sigma", 1, "--bilateral-weight", 0, 4,
        "--bilateral-xy", 9, "--bilateral-rgb", 20, "--scales", 1, 1.5,
        "--json", tmp_path / "found.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["mean_iou"] for row in found] == sorted(
        (row["mean_iou"] for row in found), reverse=True
    )
    assert {(row["parameters"] or {}).get("bilateral_weight") for row in found} == {None, 0.0, 4.0}
    lines = done.stdout.splitlines()
    assert lines.pop(0) == f"{arguments[0]} on image_folder, split val, the first 2 of 4 images"
    assert lines[0] == "mean IoU %  options of evaluate and predict"
    assert len(lines) == 4 and sum(line.endswith("  --scales 1 1.5") for line in lines) == 1
    assert [line.split(maxsplit=1)[1] for line in lines[1:]] == [row["options"] for row in found]
    assert {(row["dataset"], row["split"], row["images"]) for row in found} == {
        ("image_folder", "val", 2)
    }
    # The options are those of evaluate, and give the same score there.
    best = next(row for row in found if row["parameters"])
    measured = tmp_path / "measured.json"
    done = run("evaluate", *arguments, "--limit", 2, *best["options"].split(), "--json", measured)
    assert done.returncode == 0, done.stderr
    assert json.loads(measured.read_text())["mean_iou"] == pytest.approx(best["mean_iou"])
