"""Recipes and the command line that replaces their values."""

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

from gcn_keras.models.backbones import BACKBONES
from gcn_keras.recipes import recipe
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.checks import check
from gcn_keras.recipes.command_line import command, parse, resume_options
from pipelines.base.errors import ArgumentError, UsageError

WEIGHTS = r"--weights takes imagenet, Keras' file of them \(.h5\) or a .keras file, as fit writes"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_sound(name, tmp_path):
    """What some leave open has to be named."""
    recipe, given = RECIPES[name], []
    assert recipe.name == name
    model = tmp_path / "best.keras"
    model.touch()
    for field, value in (("dataset", "image_folder/mine"), ("weights", str(model))):
        if getattr(recipe, field) == "":
            recipe = dataclasses.replace(recipe, **{field: value})
            given += [f"--{field}", value]
    check(recipe)
    assert parse(["--recipe", name, *given]) == parse([f"--recipe={name}", *given]) == recipe


@pytest.mark.parametrize(
    ("options", "module", "sentence"),
    [
        ("--backbone resnet34", "keras_cv", "--backbone resnet34 needs keras-cv{}[keras-cv]"),
        ("--backend jax", "jax", "--backend jax needs JAX{}[jax]"),
    ],
)
def test_what_is_not_installed(monkeypatch, options, module, sentence):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        parse(options.split())
    middle = ', which is not installed: pip install "gcn_keras'
    assert str(caught.value) == sentence.format(middle) + '"'


@pytest.mark.parametrize("field", ["flip", "skip_errors", "export", "resume", "jit_compile"])
def test_an_answer_in_words_is_none(field):
    with pytest.raises(ArgumentError, match=f"^{field} must be True or False, got 'no'$"):
        check(dataclasses.replace(RECIPES["shapes"], **{field: "no"}))


def test_the_papers_settings():
    """Section 4 of the paper; the learning rate and its schedule are our choice."""
    paper = RECIPES["paper"]
    assert (paper.optimizer, paper.batch, paper.momentum) == ("sgd", 1, 0.99)
    assert (paper.weight_decay, paper.crop, paper.kernel_size) == (5e-4, (512, 512), (15,))
    assert (paper.block, paper.boundary_refinement, paper.weights) == ("gcn", True, "imagenet")


def test_the_papers_data_and_sizes():
    """Sections 4.1 to 4.3."""
    settings = {
        name: (recipe.dataset, recipe.train_split, recipe.crop, recipe.mode, recipe.kernel_size)
        for name, recipe in RECIPES.items()
        if name.startswith(("voc", "cityscapes"))
    }
    assert settings == {
        "voc-ablation": ("voc2012_sbd", "trainaug", (512, 512), "pad", (15,)),
        "voc-stage1": ("stage1", "train", (640, 640), "pad", (15,)),
        "voc-stage2": ("voc2012_sbd", "trainaug", (512, 512), "pad", (15,)),
        "voc-stage3": ("voc2012_sbd", "train", (512, 512), "pad", (15,)),
        "cityscapes-stage1": ("cityscapes_stage1", "train", (800, 800), "crop", (25,)),
        "cityscapes-stage2": ("cityscapes19", "train", (800, 800), "crop", (25,)),
    }
    for name in settings:
        recipe = RECIPES[name]
        assert (recipe.backbone, recipe.batch, recipe.momentum) == ("resnet152", 1, 0.99)
        assert (recipe.weights, recipe.freeze_batch_norm) == ("imagenet", True)


@pytest.mark.parametrize("name", ["shapes-ablation", "camvid-ablation"])
def test_the_ablation_asks_the_papers_question(name):
    ablation = RECIPES[name]
    p5 = [side // (BACKBONES[ablation.backbone].p5_stride) for side in ablation.crop]
    assert p5 == [8, 8]
    assert ablation.kernel_size == (2 * p5[0] - 1,)  # from any position to any other
    assert not ablation.boundary_refinement


def test_the_pretraining_of_table_6():
    recipe = RECIPES["imagenet-pretrain"]
    assert (recipe.task, recipe.dataset, recipe.backbone) == (
        "classification",
        "imagenet2012",
        "resnet50_gcn",
    )
    assert {x.task for x in RECIPES.values() if x is not recipe} == {"segmentation"}


@pytest.mark.parametrize(
    "option, value",
    [
        ("--kernel-size", "7"),
        ("--block", "conv1x1"),
        ("--stack-width", "9"),
        ("--no-boundary-refinement", "False"),
        ("--freeze-batch-norm", "True"),
        ("--scale", "0.5 2.0"),
        ("--mode", "pad"),
        ("--class-weights", "median-frequency"),
        ("--validation-tile", "512 512"),
        ("--saved-model", "somewhere"),
        ("--export", "True"),
    ],
)
def test_what_a_classifier_has_no_use_for(option, value):
    values = [] if value in ("True", "False") else value.split()
    with pytest.raises(UsageError) as caught:
        parse(["--recipe", "imagenet-pretrain", option, *values])
    assert str(caught.value) == (
        f"{option.replace('--no-', '--')} means nothing for --recipe imagenet-pretrain, which "
        f"trains a model for classification: leave it out, got {value}"
    )


def test_a_classifier_is_never_exported():
    """Which may be said, since the experiments and others say it of every run."""
    for said in (["--no-export"], ["--validation-tile", "None"], ["--saved-model=None"]):
        assert parse(["--recipe", "imagenet-pretrain", *said]) == RECIPES["imagenet-pretrain"]


@pytest.mark.parametrize("kind", recipe.RECIPE_TYPES)
def test_no_option_has_two_meanings(kind):
    """Options of one task are no options of another, and all have a default and a help text."""
    (other,) = set(recipe.RECIPE_TYPES) - {kind}
    own = {field.name for field in dataclasses.fields(kind)}
    shared = {field.name for field in dataclasses.fields(recipe.Recipe)}
    assert own & {field.name for field in dataclasses.fields(other)} == shared


# What lay in config.json of `shapes` when there was one dataclass for both tasks.
SHAPES_CONFIGURATION = {
    "name": "shapes",
    "dataset": "shapes",
    "train_split": "train",
    "val_split": None,
    "backbone": "resnet14_tiny",
    "block": "gcn",
    "kernel_size": [7],
    "stack_width": None,
    "boundary_refinement": True,
    "weights": None,
    "freeze_batch_norm": False,
    "batch_norm_momentum": 0.97,
    "crop": [128, 128],
    "mode": "crop",
    "scale": [1.0, 1.0],
    "flip": True,
    "jitter": 0.0,
    "area": [0.08, 1.0],
    "cache": None,
    "shuffle_mib": 64,
    "data_service": None,
    "skip_errors": False,
    "batch": 8,
    "epochs": 5,
    "steps_per_epoch": None,
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "momentum": 0.99,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 100,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "mixed_precision": "none",
    "jit_compile": False,
    "accumulate": 1,
    "seed": 0,
    "deterministic": False,
    "backend": "tensorflow",
    "validate_every": 1,
    "task": "segmentation",
}
PRETRAIN_CONFIGURATION = SHAPES_CONFIGURATION | {
    "name": "imagenet-pretrain",
    "dataset": "imagenet2012",
    "backbone": "resnet50_gcn",
    "kernel_size": [15],
    "batch_norm_momentum": 0.9,
    "crop": [224, 224],
    "batch": 256,
    "epochs": 90,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0001,
    "warmup_steps": 25000,
    "label_smoothing": 0.1,
    "task": "classification",
}


# Options that came later, at the values that leave those runs as they are.
SINCE_THEN = {
    "loss": "cross-entropy",
    "ohem": 1.0,
    "flip_vertical": False,
    "rotate": 0.0,
    "hue": 0.0,
    "sharpness": 0.0,
    "erase": 0.0,
    "mix": "none",
    "from_data": [],
    "ema": 0.0,
    "backbone_learning_rate_factor": 1.0,
    "callbacks": None,
    "patience": None,
    "gradient_clip": None,
}


@pytest.mark.parametrize("wanted", [SHAPES_CONFIGURATION, PRETRAIN_CONFIGURATION])
def test_configurations_are_those_of_runs_from_before(wanted):
    assert recipe.configuration(RECIPES[wanted["name"]]) == {**wanted, **SINCE_THEN}


def test_how_a_run_goes_on_as_it_was_begun():
    options = "--recipe camvid-ablation --batch 4 --export --on-nan skip --saved-model".split()
    found = resume_options(Path("runs/my run"), parse([*options, "saved models/mine"]))
    # What computes is kept in the folder; where things go is not.
    assert found == (
        "--resume --out 'runs/my run' --saved-model 'saved models/mine' --export --on-nan skip"
    )
    assert resume_options(Path("a"), parse(["--no-export"])) == "--resume --out a --no-export"
    assert resume_options(Path("a"), parse([])) == "--resume --out a"
    tiles = parse(["--validation-tile", "512", "768"])
    assert resume_options(Path("a"), tiles) == "--resume --out a --validation-tile 512 768"
    pretrain = parse(["--recipe", "imagenet-pretrain", "--data-dir", "b"])
    assert resume_options(Path("a"), pretrain) == "--resume --out a --data-dir b"


def test_without_an_argument_it_is_shapes():
    assert parse([]) == RECIPES["shapes"]


def test_options_replace_fields(tmp_path):
    model = tmp_path / "a.keras"
    model.touch()
    recipe = parse(
        "--kernel-size 3 5 5 7 --recipe camvid --crop 96 128 --no-flip --batch=2 --optimizer sgd "
        "--loss cross-entropy+dice --class-weights 1 2.5 --mix classmix "
        f"--scale 0.5 2 --weights {model} --steps-per-epoch 9 --no-export".split()
    )
    assert recipe == dataclasses.replace(
        RECIPES["camvid"],
        kernel_size=(3, 5, 5, 7),
        crop=(96, 128),
        flip=False,
        batch=2,
        optimizer="sgd",
        scale=(0.5, 2.0),
        loss="cross-entropy+dice",
        class_weights=(1.0, 2.5),
        mix="classmix",
        weights=str(model),
        steps_per_epoch=9,
        export=False,
    )


@pytest.mark.parametrize("no", ["--no-freeze-batch-norm", "--no_freeze_batch_norm"])
def test_options_that_are_given_do_not_follow_from_the_data(no):
    given = f"--crop 96 64 {no} --steps-per-epoch=9".split()
    recipe = parse(["--recipe", "finetune", "--dataset", "shapes", *given])
    assert recipe.from_data == ("kernel_size", "batch", "epochs")
    assert (recipe.crop, recipe.steps_per_epoch) == ((96, 64), 9)
    again = shlex.split(command(recipe))
    assert again[:3] == ["python", "-m", "gcn_keras.fit"] and parse(again[3:]) == recipe
    whole = dataclasses.replace(recipe, from_data=(), crop=(512, 512), batch=2)
    assert parse(shlex.split(command(whole))[3:]) == whole


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["shapes"].batch = 3


@pytest.mark.parametrize(
    "options, message",
    [
        ("--kernel-size 8", "--kernel-size must be odd.*got 8$"),
        ("--kernel-size 3 5 0 7", "--kernel-size must be odd.*got 0$"),
        ("--kernel-size -3", "--kernel-size must be odd.*got -3$"),
        ("--kernel-size 3 5", r"--kernel-size takes one number or four \(P2 to P5\), got 2$"),
        (
            "--kernel-size 9 --crop 128 128",
            "--kernel-size 9 is too large for P5, which is 4 pixels wide for --crop 128 128: "
            "beyond 7 the kernel sees only padding",
        ),
        (
            "--kernel-size 3 17 3 3 --crop 64 64",
            "--kernel-size 17 is too large for P3, which is 8 pixels wide",
        ),
        ("--block stack --kernel-size 1", "--block stack needs a --kernel-size of at least 3, got"),
        ("--crop 100 128", "--crop must be multiples of 32, the stride of .*'s P5, got 100 128$"),
        ("--crop 128 0", "--crop must be multiples of 32, .*got 128 0$"),
        ("--backbone resnet_nearsighted --crop 60 64", "multiples of 16, .*got 60 64$"),
        ("--recipe shape", "there is no recipe 'shape'; there are: shapes, shapes-ablation, camv"),
        ("--batch 2 --recipe", "--recipe needs a name: one of shapes, "),
        ("--loss mse", "--loss must be one of cross-entropy, focal, dice, lovasz, or several of "),
        ("--loss dice+dice", r"of them with \+ between, got 'dice\+dice'$"),
        (
            "--loss dice --ohem 0.5",
            "--ohem is for --loss cross-entropy and focal, got --loss dice: give --ohem 1.0$",
        ),
        ("--loss lovasz --class-weights sqrt", "--class-weights is for --loss cross-entropy and"),
        (
            "--recipe finetune --dataset camvid --loss lovasz",  # of its own
            "--class-weights is for --loss cross-entropy and focal, got --loss lovasz: give "
            "--class-weights none$",
        ),
        ("--ohem 0", "--ohem must be above 0 and at most 1, got 0.0$"),
        ("--class-weights 1 -2", "--class-weights must be none, sqrt, .*, got 1.0 -2.0$"),
        ("--class-weights 0 0", "--class-weights must be none, sqrt, .*, got 0.0 0.0$"),
        ("--rotate 200", "--rotate must be in 0…180, got 200.0$"),
        ("--hue 0.6", "--hue must be in 0…0.5, got 0.6$"),
        ("--erase -0.1", "--erase must be in 0…1, got -0.1$"),
        ("--mix cutmix --skip-errors", "--mix excludes --skip-errors: an example is mixed with"),
        ("--dataset camvids", r"there is no data set 'camvids' \(did you mean 'camvid'\?\)"),
        ("--batch 0", "--batch must be at least 1, got 0$"),
        ("--epochs -1", "--epochs must be at least 1, got -1$"),
        ("--steps-per-epoch 0", "--steps-per-epoch must be at least 1, got 0$"),
        ("--validate-every 0", "--validate-every must be at least 1, got 0$"),
        ("--stack-width 0", "--stack-width must be at least 1, got 0$"),
        ("--weight-decay -0.1", "--weight-decay must be a finite number of at least 0, got -0.1$"),
        ("--weight-decay nan", "--weight-decay must be a finite number of at least 0, got nan$"),
        ("--warmup-steps -1", "--warmup-steps must be a finite number of at least 0, got -1$"),
        (f"--weights '{__file__}'", rf"{WEIGHTS}, not {__file__}$"),
        ("--weights /", f"{WEIGHTS}, not /$"),
        (
            "--weights imagenet",
            "--weights imagenet: Keras publishes ImageNet weights of resnet50, resnet101, .*"
            "convnext_tiny, not of --backbone resnet14_tiny: give a .keras file by --weights, or "
            "--weights None$",
        ),
        ("--seed -1", "--seed must be in 0…4294967295, got -1$"),
        ("--learning-rate 0", r"--learning-rate must be a finite number above 0, got 0\.0$"),
        ("--learning-rate nan", "--learning-rate must be a finite number above 0, got nan$"),
        ("--learning-rate inf", "--learning-rate must be a finite number above 0, got inf$"),
        ("--momentum 1", r"--momentum must be at least 0 and below 1, got 1\.0$"),
        (
            "--batch-norm-momentum -1",
            r"--batch-norm-momentum must be at least 0 and below 1, got -1\.0$",
        ),
        ("--gradient-clip inf", "--gradient-clip must be a finite number above 0, got inf$"),
        ("--class-weights 1 inf", "or a finite number of at least 0 for each class, got 1.0 inf$"),
        ("--gradient-clip 0", r"--gradient-clip must be a finite number above 0, got 0\.0$"),
        ("--patience 0", "--patience must be at least 1, got 0$"),
        ("--accumulate 0", "--accumulate must be at least 1, got 0$"),
        ("--checkpoint-steps 0", "--checkpoint-steps must be at least 1, got 0$"),
        ("--keep-checkpoints 0", "--keep-checkpoints must be at least 1, got 0$"),
        ("--tensorboard-samples -1", "--tensorboard-samples must be at least 0, got -1$"),
        (
            "--accept-changes",
            "^--accept-changes needs --resume: a new run has nothing to differ from$",
        ),
        (
            "--backbone-learning-rate-factor 10",
            r"--backbone-learning-rate-factor must be in 0…1, got 10\.0$",
        ),
        (
            "--backbone-learning-rate-factor 0",
            r"--backbone-learning-rate-factor must be above 0 with --weights None: a backbone of "
            "random weights would stay random, got 0$",
        ),
        (
            "--deterministic --data-service localhost:5050",
            "--deterministic and --data-service exclude each other: its workers answer in no "
            "certain order$",
        ),
        ("--ema 1", r"--ema must be at least 0 and below 1, got 1\.0$"),
        ("--jitter 2", r"--jitter must be in 0…1, got 2\.0$"),
        ("--scale 2 1", r"--scale must be smallest and largest factor, .*, got \(2\.0, 1\.0\)$"),
        ("--scale 0 1", r"--scale must be smallest and largest factor, .*, got \(0\.0, 1\.0\)$"),
        ("--validation-tile 0 9", "--validation-tile must be at least 1 pixel, got 0 9$"),
        (
            "--batch 9 --accumulate 2",
            "^--batch must be a multiple of --accumulate 2, got 9$",
        ),
        (
            "--backend jax --strategy mirrored",
            "^--backend jax trains on one device, got --strategy mirrored$",
        ),
        (
            "--jit-compile --strategy multiworker",
            "^--jit-compile needs one device: .*, got --strategy multiworker$",
        ),
        ("--shuffle-mib 0", "--shuffle-mib must be at least 1, got 0$"),
        (
            "--recipe camvid --mode pad",
            r"--scale must be 1 and 1 with --mode pad, which resizes nothing, got \(0\.5, 1\.75\)$",
        ),
        (f"--cache '{__file__}'", f"--cache must be 'memory' or a folder, got '{__file__}'$"),
        (
            "--data-service localhost",
            "--data-service must be HOST:PORT with a port in 1…65535, got 'localhost'$",
        ),
        (
            "--data-service a:5050 --cache memory",
            "--data-service excludes --cache: .*got --cache memory$",
        ),
        (
            "--label-smoothing 0.1",
            "--label-smoothing means nothing for --recipe shapes, which trains a model for "
            r"segmentation: leave it out, got 0\.1$",
        ),
        (
            "--recipe imagenet-pretrain --area 0 1",
            r"--area must be smallest and largest share, above 0 and up to 1, got \(0\.0, 1\.0\)$",
        ),
        (
            "--recipe imagenet-pretrain --area 0.5 1.5",
            r"--area must be smallest and largest share, .*, got \(0\.5, 1\.5\)$",
        ),
        (
            "--recipe imagenet-pretrain --label-smoothing 1",
            r"--label-smoothing must be at least 0 and below 1, got 1\.0$",
        ),
        (
            "--recipe imagenet-pretrain --dataset ImageNet",
            "--dataset must be the name of a set that TFDS has, .*, got 'ImageNet'$",
        ),
        ("--recipe imagenet-pretrain --crop 100 224", "--crop must be multiples of 32, .* 100 224"),
        (
            "--recipe finetune",
            "--dataset must name the data set to train on: recipe finetune has none of its own; "
            "your own images are image_folder/NAME once they are prepared$",
        ),
        (
            "--recipe camvid-long",
            "--weights must name the model that recipe camvid-long goes on from, such as "
            "runs/camvid/best.keras; None trains from scratch$",
        ),
        (
            "--recipe finetune --dataset shapes --mode pad --scale 1 1",
            "--crop must be given with --mode pad, where every image has to fit into it$",
        ),
        ("--recipe finetune --dataset shapes --kernel-size 8", "--kernel-size must be odd.*got 8$"),
        ("--stack-width 64", "^--stack-width means nothing for --block gcn: leave it out, got 64$"),
        (
            "--block conv --stack-width 64",
            "^--stack-width means nothing for --block conv: leave it out, got 64$",
        ),
        (
            "--momentum 0.5",
            r"^--momentum means nothing for --optimizer adamw: leave it out, got 0\.5$",
        ),
        (
            "--recipe imagenet-pretrain --optimizer adamw --momentum 0.99",  # 0.9 is its own
            r"^--momentum means nothing for --optimizer adamw: leave it out, got 0\.99$",
        ),
        (
            "--recipe paper --batch-norm-momentum 0.5",
            r"^--batch-norm-momentum means nothing with --freeze-batch-norm: leave it out, got ",
        ),
        (
            "--cache memory --shuffle-mib 3",
            "^--shuffle-mib means nothing for --cache memory: leave it out, got 3$",
        ),
        (
            "--no-export --saved-model a",
            "^--saved-model means nothing without --export: leave it out, got a$",
        ),
        (
            "--recipe camvid-ablation --saved-model a",
            "^--saved-model means nothing without --export: leave it out, got a$",
        ),
        (
            "--schedule constant",
            "^--warmup-steps needs --schedule poly or cosine, got 100 with constant: give "
            "--warmup-steps 0$",
        ),
    ],
)
def test_values_that_cannot_be_meant(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(shlex.split(options))
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "options",
    [
        "--block stack --stack-width 64",
        "--optimizer sgd --momentum 0.5",
        "--recipe imagenet-pretrain --optimizer adamw",
        "--recipe imagenet-pretrain --batch-norm-momentum 0.5",
        "--recipe paper --no-freeze-batch-norm --batch-norm-momentum 0.5",
        "--cache /tmp --shuffle-mib 3",
        "--recipe camvid-ablation --export --saved-model a",
        "--tensorboard-samples 0",
        "--resume --accept-changes",
        # Whether it is frozen follows from the data.
        "--recipe finetune --dataset shapes --batch-norm-momentum 0.5",
    ],
)
def test_what_has_an_effect_is_taken(options):
    parse(options.split())


@pytest.mark.parametrize("k, fits", [(7, True), (9, False)])
def test_a_kernel_may_just_reach_across_the_map(k, fits):
    """P5 of a 128×128 crop is 4×4: from one end, k = 7 reaches the other."""
    recipe = dataclasses.replace(RECIPES["shapes"], kernel_size=(3, 3, 3, k), crop=(128, 128))
    if fits:
        check(recipe)
    else:
        with pytest.raises(
            ArgumentError, match="^kernel_size 9 is too large for P5.* for crop 128"
        ):
            check(recipe)
    check(dataclasses.replace(recipe, block="conv1x1"))  # which has no use for it


@pytest.mark.slow
class TestProcess:
    @pytest.mark.parametrize(
        "options, message",
        [
            ("--kernel-size 8", "error: --kernel-size must be odd"),
            ("--recipe none", "error: there is no recipe 'none'"),
            ("--dataset none", "error: there is no data set 'none'"),
            ("--backbone vgg16", "vgg16"),
            ("--learning-rte 1", "--learning-rte"),
            ("--batch many", "many"),
        ],
    )
    def test_a_wrong_option_ends_with_status_2(self, options, message):
        done = subprocess.run(
            [sys.executable, "-m", "gcn_keras.fit", *options.split()],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert message in done.stderr and "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_help_names_every_option_and_imports_nothing_heavy(self):
        program = """
import sys
from gcn_keras import fit
sys.argv[1:] = ["--recipe", "camvid", "--help"]
try:
    fit.main()
except SystemExit as end:
    assert end.code == 0
assert not {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"} & set(sys.modules)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        fields = {field.name for field in dataclasses.fields(recipe.SegmentationRecipe)} - {"name"}
        missing = {name for name in fields if name.replace("_", "-") not in done.stdout}
        assert not missing
        assert "--recipe" in done.stdout and "shapes-ablation" in done.stdout
