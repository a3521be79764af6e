"""What follows from a data set where a recipe leaves it open."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import noise, save

from gcn_keras import RECIPES, fit
from gcn_keras.recipes.command_line import parse
from gcn_keras.training import from_data, run
from gcn_keras.training.devices import Team
from gcn_keras.training.run import steps_per_epoch
from gcn_keras.training.run_folder import RunFolder
from pipelines import datasets
from pipelines.base.errors import ArgumentError, UsageError, UserError, in_options
from pipelines.base.labels import palette
from pipelines.datasets import PreparedDataset

FINETUNE = dataclasses.replace(RECIPES["finetune"], dataset="image_folder/mine")


@pytest.fixture
def resolve(monkeypatch):
    """From sizes, the number of images and given options to the recipe and the lines."""

    def resolved(sizes, images, options="", replicas=1):
        dataset = PreparedDataset(
            "image_folder/mine", ("a", "b"), palette(), {"train": images}, {}, {}, {}, dict
        )
        monkeypatch.setattr(from_data, "image_sizes", lambda *given: np.array(sizes).reshape(-1, 2))
        recipe = parse(f"--recipe finetune --dataset image_folder/mine {options}".split())
        return from_data.resolve(recipe, dataset, replicas)

    return resolved


def test_photographs(resolve):
    recipe, lines = resolve([(480, 640), (640, 480), (480, 640)], 100)
    assert recipe == dataclasses.replace(
        FINETUNE,
        from_data=(),
        crop=(480, 480),
        kernel_size=(15,),
        batch=4,  # 8 · 384² pixels have room for 5 crops
        epochs=20,
        steps_per_epoch=100,  # 800 · √100 crops
        freeze_batch_norm=True,
    )
    assert lines == [
        "crop 480×480: images of split 'train' measure 480×640 to 640×480 pixels, all of them at "
        "least 480×480",
        "kernel size 15: P5 is 15 pixels wide",
        "batch 4: 0.92 million pixels a step",
        "epochs 20, of 100 steps: 8,000 crops, 80 of each of the 100 images in split 'train'",
        "batch norm keeps the statistics of its weights: 4 crops at once",
    ]


def test_many_small_images(resolve):
    """As recipe `shapes` has it but for the epochs; an epoch is a pass."""
    recipe, lines = resolve([(128, 128)], 4000)
    assert (recipe.crop, recipe.kernel_size, recipe.batch) == ((128, 128), (7,), 8)
    assert (recipe.epochs, recipe.steps_per_epoch) == (13, None)  # 800 / √4000 = 12.6
    assert not recipe.freeze_batch_norm
    assert lines[3] == (
        "epochs 13, of 500 steps: 52,000 crops, 13 of each of the 4,000 images in split 'train'"
    )
    assert lines[4] == "batch norm learns: 8 crops at once"


def test_large_photographs(resolve):
    recipe, lines = resolve([(3024, 4032)], 1000)
    assert (recipe.crop, recipe.batch) == ((512, 512), 4)
    assert lines[0] == (
        "crop 512×512: the first 200 images of split 'train' are 3024×4032 pixels, and a crop "
        "shows 2 % of the median image: where objects are larger than that, prepare smaller images"
    )


@pytest.mark.parametrize("images, which", [(200, "images"), (201, "the first 200 images")])
def test_sizes_are_those_of_200_images(resolve, images, which):
    _, lines = resolve([(128, 128)], images)
    assert lines[0] == f"crop 128×128: {which} of split 'train' are 128×128 pixels"


@pytest.mark.parametrize(
    "sizes, crop, wanted",
    [
        # The medians of heights and widths, 167 and 164, are those of no image.
        (
            [(201, 151), (133, 177)] * 6,
            128,
            "measure 133×177 to 201×151 pixels, half of them at least 142×142",
        ),
        (
            [(201, 151), (133, 177), (201, 151)],
            128,
            "measure 133×177 to 201×151 pixels, half of them at least 151×151",
        ),
        # By their areas: 600,000, 1,000,000 and 2,000,000.
        (
            [(2000, 1000), (2000, 300), (1000, 1000)],
            512,
            "measure 2000×300 to 2000×1000 pixels, half of them at least 1000×1000",
        ),
        # 512² = 262,144 of 3,000,000 are 8.7 %.
        (
            [(1500, 2000), (2000, 1500)],
            512,
            "measure 1500×2000 to 2000×1500 pixels, all of them at least 1500×1500, and a crop "
            "shows 9 % of the median image: where objects are larger than that, prepare smaller "
            "images",
        ),
    ],
)
def test_several_sizes(resolve, sizes, crop, wanted):
    recipe, lines = resolve(sizes, len(sizes))
    assert recipe.crop == (crop, crop)
    assert lines[0] == f"crop {crop}×{crop}: images of split 'train' {wanted}"


def test_a_few_tiny_images(resolve):
    recipe, _ = resolve([(20, 90)], 3)
    assert (recipe.crop, recipe.kernel_size, recipe.batch) == ((32, 32), (1,), 2)
    assert (recipe.epochs, recipe.steps_per_epoch) == (20, 35)  # 800 · √3 = 1,386 crops


@pytest.mark.parametrize(
    "options, wanted",
    [
        ("--crop 256 192", {"crop": (256, 192), "kernel_size": (15,), "batch": 8}),
        ("--kernel-size 3 5 7 9", {"kernel_size": (3, 5, 7, 9)}),
        ("--batch 16", {"batch": 16, "steps_per_epoch": 25, "freeze_batch_norm": False}),
        ("--accumulate 2", {"batch": 8, "freeze_batch_norm": True}),
        ("--accumulate 16", {"batch": 16, "freeze_batch_norm": True}),  # and not 8
        ("--epochs 2", {"epochs": 2, "steps_per_epoch": 100}),  # as 20 of them have
        ("--epochs 2 --steps-per-epoch None", {"epochs": 2, "steps_per_epoch": None}),
        ("--steps-per-epoch 50", {"epochs": 40, "steps_per_epoch": 50}),
        ("--no-freeze-batch-norm", {"freeze_batch_norm": False}),
        ("--weights None", {"freeze_batch_norm": False}),
        ("--backbone resnet_nearsighted --weights None", {"crop": (496, 496)}),
    ],
)
def test_what_is_given_stays(resolve, options, wanted):
    recipe, lines = resolve([(500, 500)], 100, options)
    assert {field: getattr(recipe, field) for field in wanted} == wanted
    assert recipe.from_data == ()
    assert from_data.resolve(recipe, None) == (recipe, [])  # as a resumed run has it


def test_given_epochs_are_as_long_as_those_that_follow(resolve):
    """A quarter of them takes a quarter of the time."""
    for sizes, images, epochs, line in (
        ([(480, 640)], 100, 5, "epochs 5, of 100 steps: 2,000 crops, 20 of each of the 100 images"),
        ([(128, 128)], 4000, 3, "epochs 3, of 500 steps: 12,000 crops, 3 of each of the 4,000 ima"),
    ):
        followed, _ = resolve(sizes, images)
        given, lines = resolve(sizes, images, f"--epochs {epochs}")
        assert given == dataclasses.replace(followed, epochs=epochs)
        assert lines[3].startswith(line)


def test_many_crops_of_each_image_are_counted_in_digits(resolve):
    """2,530 crops, the root of ten images, in 20 epochs of 16 steps of 8 crops."""
    for epochs, of_each in ((7, "89.6"), (100, "1,280"), (100_000, "1,280,000")):
        _, lines = resolve([(128, 128)], 10, f"--epochs {epochs}")
        assert f" crops, {of_each} of each of the 10 images in split 'train'" in lines[3]


class TestParts:
    """A batch is divided among devices, and into the parts of --accumulate."""

    @pytest.mark.parametrize(
        "images, options, replicas, batch",
        [
            (100, "", 2, 8),
            (100, "", 3, 9),
            (100, "", 16, 16),
            (100, "--accumulate 3", 2, 12),
            (100, "--crop 512 512", 3, 6),  # 4 on one device
            (8, "", 3, 6),  # not 9
            (2, "", 2, 2),
        ],
    )
    def test_a_batch_is_a_multiple_of_them(self, resolve, images, options, replicas, batch):
        recipe, _ = resolve([(128, 128)], images, options, replicas)
        assert recipe.batch == batch
        assert recipe.steps_per_epoch == round(800 * images**0.5 / 20 / batch)

    def test_is_said(self, resolve):
        lines = [resolve([(512, 512)], 100, "", replicas)[1][2] for replicas in (2, 3)]
        assert lines == [
            "batch 4: 1 million pixels a step",
            "batch 6: 1.6 million pixels a step, in 3 parts",
        ]

    @pytest.mark.parametrize(
        "options, replicas, parts",
        [
            ("", 4, "4 parts (4 devices × --accumulate 1)"),
            ("--accumulate 4", 1, "4 parts (1 device × --accumulate 4)"),
            ("--accumulate 2", 2, "4 parts (2 devices × --accumulate 2)"),
        ],
    )
    def test_too_few_images(self, resolve, options, replicas, parts):
        with pytest.raises(UsageError) as caught:
            resolve([(64, 64)], 3, options, replicas)
        assert in_options(caught.value.template) == (
            f"split 'train' has 3 images, and a batch {parts} of at least one crop each: give a "
            "smaller --accumulate, or --strategy one"
        )

    @pytest.fixture
    def train_on_three(self, monkeypatch, tmp_path):
        """Begins a run on three devices that has eight images; the recipe that it is made with."""

        class Begun(Exception):
            pass

        def begin(recipe, dataset):
            raise Begun(recipe)

        def train(options):
            recipe = parse(f"--recipe finetune --dataset image_folder/mine {options}".split())
            with pytest.raises(Begun) as caught:
                run.train(recipe, RunFolder(tmp_path / "run"))
            return caught.value.args[0]

        three = Team(SimpleNamespace(num_replicas_in_sync=3))
        splits = {"train": 8, "val": 1}
        dataset = PreparedDataset(
            "image_folder/mine", ("a", "b"), palette(), splits, {}, {}, {}, dict
        )
        monkeypatch.setattr(run, "make_team", lambda recipe: three)
        monkeypatch.setattr(run.Segmentation, "load", lambda name, folder: dataset)
        monkeypatch.setattr(from_data, "image_sizes", lambda *given: np.array([[128, 128]]))
        monkeypatch.setattr(run, "steps_per_epoch", begin)
        return train

    def test_of_a_run(self, train_on_three):
        assert train_on_three("").batch == 6
        assert train_on_three("--batch 3").batch == 3

    def test_of_a_run_are_checked_before_it_has_a_folder(self, train_on_three, tmp_path):
        with pytest.raises(ArgumentError, match="^batch .* must be a multiple of 3 devices, got 4"):
            train_on_three("--batch 4")
        assert not (tmp_path / "run").exists()


def test_a_given_kernel_that_does_not_fit_the_crop_that_follows(resolve):
    with pytest.raises(ArgumentError, match="^kernel_size 15 is too large for P5, which is 4 pixe"):
        resolve([(128, 128)], 100, "--kernel-size 15")


def test_a_given_momentum_of_batch_norms_that_are_frozen(resolve):
    options = "--batch-norm-momentum 0.5"
    assert resolve([(128, 128)], 100, options)[0].batch_norm_momentum == 0.5  # batches of 8
    with pytest.raises(ArgumentError, match="^batch_norm_momentum means nothing with freeze_batch"):
        resolve([(480, 640)], 100, options)  # of 4


@pytest.mark.parametrize("options", ["--batch 256", "--batch 16 --steps-per-epoch None"])
@pytest.mark.parametrize("images", [10, 15])
def test_too_large_a_batch_is_left_to_be_refused(resolve, options, images):
    recipe, _ = resolve([(64, 64)], images, options)
    dataset = SimpleNamespace(splits={"train": images}, check_split=lambda split: None)
    with pytest.raises(ArgumentError, match=f"^batch {recipe.batch} is larger than split 'train'"):
        steps_per_epoch(recipe, dataset)


def test_no_image_to_follow(resolve):
    with pytest.raises(UserError, match="^none of the images of 'image_folder/mine' can be used$"):
        resolve([], 100, "--skip-errors")


@pytest.mark.slow
def test_a_split_that_is_not_there(resolve):
    with pytest.raises(
        UsageError, match="^'image_folder/mine' has no split 'nope'; it has: train$"
    ):
        resolve([], 100, "--crop 128 128 --train-split nope")


def test_a_run_by_what_follows_goes_on_with_it(tmp_path, monkeypatch, capsys):
    """28 steps of four crops; the run's folder has the values, whatever the data say later."""
    for number in range(10):
        split = tmp_path / "mine" / ("train" if number < 8 else "val")
        save(split / "images" / f"{number}.jpg", noise(70, 80, number))
        label = np.repeat(np.uint8([0, 1]), [40, 40])[None].repeat(70, axis=0)
        save(split / "labels" / f"{number}.png", label)
    (tmp_path / "mine" / "classes.txt").write_text("left\nright\n")
    datasets.prepare("image_folder/mine", tmp_path / "mine", tmp_path / "data")
    out, data_dir = str(tmp_path / "run"), str(tmp_path / "data")
    options = ["--out", out, "--data-dir", data_dir, "--no-export"]

    def run(*more):
        monkeypatch.setattr("sys.argv", ["fit", *options, *more])
        assert not fit.main()
        return capsys.readouterr().out

    begin = "--recipe finetune --dataset image_folder/mine --weights None --epochs 1 --batch 4"
    begin += " --backbone small --schedule constant --warmup-steps 0"
    begin = [*begin.split(), "--no-boundary-refinement", "--block", "conv1x1"]
    said = run(*begin)
    assert "\ncrop 64×64: images of split 'train' are 70×80 pixels\nkernel size 7: P5 is" in said
    configuration = json.loads((tmp_path / "run" / "config.json").read_text())
    wanted = {"crop": [64, 64], "kernel_size": [7], "batch": 4, "epochs": 1, "from_data": []}
    wanted["steps_per_epoch"] = 28  # 800 · √8 crops, in 20 epochs
    assert {key: configuration[key] for key in wanted} == wanted
    assert "is finished: mean IoU" in run(*begin)  # what was not given is as it was
    monkeypatch.setattr(from_data, "image_sizes", lambda *given: np.array([[32, 32]]))
    said = run("--resume", "--epochs", "2")
    assert "goes on after 1 epoch and 0 steps" in said and "images of split" not in said
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == (
        configuration | {"epochs": 2}
    )
    with pytest.raises(UsageError, match=r"with crop = \[64, 64\], and this one has \[128, 128\]"):
        run("--resume", "--crop", "128", "128")
