"""Recipes: everything that a training run depends on, in one frozen dataclass.

The options of `python -m gcn_keras.fit` are the fields of `Recipe`. This module imports neither
Keras nor TensorFlow, so that a wrong option is refused at once.
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from gcn_keras import recipe_checks
from gcn_keras.pyramids import P2_STRIDES
from pipelines import datasets
from pipelines.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """One training run. Options of the command line replace the recipe's values."""

    name: Annotated[str, tyro.conf.Suppress]
    """Name of the recipe."""

    # === Data ===
    dataset: str
    """Data set, prepared by `python -m pipelines.prepare`; `shapes` prepares itself. For a
    classifier a set of TFDS with one class a picture, such as imagenet2012."""
    data_dir: str = datasets.DEFAULT_DATA_DIR
    """Where prepared data sets live."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str | None = None
    """Split to measure on; None: val, or validation."""

    # === Model (Figure 2) ===
    backbone: Literal[tuple(P2_STRIDES)] = "resnet50"
    """The ResNet that gives the pyramid P2…P5."""
    block: Literal["gcn", "conv1x1", "conv", "stack"] = "gcn"
    """What makes a score map of a stage: the paper's block or a rival of Tables 1 to 4."""
    kernel_size: tuple[int, ...] = (15,)
    """Odd k, or four of them: for P2, P3, P4 and P5."""
    stack_width: int | None = None
    """Channels inside `stack` (m in Table 4); None keeps the stage's own."""
    boundary_refinement: bool = True
    """Whether BR blocks are built in; Tables 1 to 4 have none."""
    weights: str | None = None
    """Start from: `imagenet`, Keras' ImageNet file (.h5), or a model trained here (.keras)."""
    freeze_batch_norm: bool = False
    """Keep batch norm at its stored statistics; for tiny batches on pretrained weights."""
    batch_norm_momentum: float = 0.99
    """Of the moving statistics. At 0.99 they lag a few hundred steps behind."""

    # === Crops ===
    crop: tuple[int, int] = (512, 512)
    """Height and width of training crops in pixels, multiples of P5's stride."""
    mode: Literal["crop", "pad"] = "crop"
    """`crop` cuts from larger pictures; `pad` shows whole ones, and a larger one is an error."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random scaling before the crop."""
    flip: bool = True
    """Mirror half of the pictures left to right."""
    jitter: float = 0.0
    """Strength of the colour jitter, 0…1."""
    area: tuple[float, float] = (0.08, 1.0)
    """For a classifier: range of the share of a picture that a crop shows, resized to the crop."""

    # === Stream ===
    cache: str | None = None
    """Keep encoded examples in `memory`, or copies of the record files in this folder."""
    shuffle_mib: int = 64
    """Memory of the shuffle buffer in MiB; it holds encoded examples."""
    data_service: str | None = None
    """HOST:PORT of a dispatcher (python -m pipelines.service) whose workers make the batches."""
    skip_errors: bool = False
    """Leave out damaged training examples and tell how many, instead of stopping at the first."""

    # === Optimisation ===
    batch: int = 1
    """Crops a step."""
    epochs: int = 20
    """Passes through the training split."""
    steps_per_epoch: int | None = None
    """Steps that count as an epoch; None: once through the training split."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD decays weights through the loss, as Caffe does; AdamW apart from it."""
    learning_rate: float = 2.6e-5
    """Peak learning rate, for the mean of the loss over the batch's valid pixels."""
    momentum: float = 0.99
    """Of SGD."""
    weight_decay: float = 5e-4
    """For kernels; biases and batch norms are not decayed."""
    schedule: Literal["constant", "poly", "cosine"] = "poly"
    """Learning rate over the steps; poly has the power 0.9."""
    warmup_steps: int = 0
    """Steps of linear warm-up; at most a tenth of all steps."""
    class_weights: Literal["none", "sqrt", "median-frequency"] = "none"
    """Weights of the classes in the loss: median frequency balancing, or its square root."""
    label_smoothing: float = 0.0
    """For a classifier: share of the target that is spread over all classes."""
    mixed_precision: Literal["none", "bfloat16", "float16"] = "none"
    """Type of the computations; variables and logits stay float32."""
    jit_compile: bool = False
    """Compile steps with XLA; slower on most CPUs."""
    accumulate: int = 1
    """Parts that a batch is worked through in, one after another, to need less memory."""
    seed: int = 0
    """Of weights, order and augmentation."""
    deterministic: bool = False
    """Add up in the same order in every run, so that results are equal to the last bit."""

    # === Devices ===
    strategy: Literal["auto", "one", "mirrored", "multiworker"] = "auto"
    """One device; all of this machine; or those of several machines (TF_CONFIG, Slurm). auto takes
    what is there."""
    backend: Literal["tensorflow", "jax"] = "tensorflow"
    """What Keras computes with."""

    # === Surviving ===
    resume: bool = False
    """Go on with the run in --out (else with the last one of this recipe), or begin it."""
    checkpoint_steps: int = 1000
    """Steps between two checkpoints within an epoch; there is one after each epoch, too."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do about a step whose loss is not finite, after its pictures were written down."""

    # === Results ===
    validate_every: int = 1
    """Epochs between two validations; the last epoch is always validated."""
    out: str | None = None
    """Run folder; None: runs/RECIPE, or runs/RECIPE-2 … where that is taken."""
    saved_model: str | None = None
    """Where version folders of the SavedModel go; None: saved_models/RECIPE."""
    export: bool = True
    """Whether the best model is exported as a SavedModel at the end."""

    task: Annotated[Literal["segmentation", "classification"], tyro.conf.Suppress] = "segmentation"
    """What the recipe trains: a label for each pixel, or one for a picture, which teaches a
    backbone."""


# The paper's optimisation (Section 4): SGD, batch 1, momentum 0.99, weight decay 0.0005, flips, and
# no other augmentation. Not in the paper, so our choice: learning rate and schedule (1e-10 on the
# summed loss was the habit of FCNs with these settings, which is 2.6e-5 on the mean over 512 × 512
# pixels), ImageNet's batch norm statistics frozen, and everywhere the number of epochs.
_PAPER = Recipe(name="paper", dataset="image_folder", weights="imagenet", freeze_batch_norm=True)

# Section 4.1: every picture padded to 512×512. On SBD's additional masks as in the paper's setup.
_VOC_ABLATION = dataclasses.replace(
    _PAPER,
    name="voc-ablation",
    dataset="voc2012_sbd",
    train_split="trainaug",
    backbone="resnet152",
    mode="pad",
    epochs=10,
)

# Section 4.2: three stages, each from the last one's model (--weights). The paper tells the data
# and the sizes; each stage has a tenth of the last one's learning rate (our choice).
_VOC_STAGES = (
    dataclasses.replace(
        _VOC_ABLATION,
        name="voc-stage1",
        dataset="stage1",
        train_split="train",
        crop=(640, 640),
        epochs=3,
    ),
    dataclasses.replace(_VOC_ABLATION, name="voc-stage2", learning_rate=2.6e-6),
    dataclasses.replace(
        _VOC_ABLATION, name="voc-stage3", train_split="train", epochs=20, learning_rate=2.6e-7
    ),
)

# Section 4.3: random crops of 800×800, k = 25 for their P5 of 25×25; coarse and fine pictures, then
# the fine ones alone.
_CITYSCAPES_STAGE1 = dataclasses.replace(
    _PAPER,
    name="cityscapes-stage1",
    dataset="cityscapes19",
    train_split="train_coarse",
    backbone="resnet152",
    kernel_size=(25,),
    crop=(800, 800),
    epochs=10,
)
_CITYSCAPES_STAGES = (
    _CITYSCAPES_STAGE1,
    dataclasses.replace(
        _CITYSCAPES_STAGE1,
        name="cityscapes-stage2",
        train_split="train",
        epochs=40,
        learning_rate=2.6e-6,
    ),
)

# The backbone of Table 6 on ImageNet. The paper tells the top-5 errors alone; all of this is our
# choice, and the field's habit for a ResNet: SGD with 0.1 for 256 pictures after five epochs of
# warm-up, 90 epochs, random-resized crops of 224, flips.
_IMAGENET_PRETRAIN = Recipe(
    name="imagenet-pretrain",
    task="classification",
    dataset="imagenet2012",
    backbone="resnet50_gcn",
    batch_norm_momentum=0.9,
    crop=(224, 224),
    batch=256,
    epochs=90,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="cosine",
    warmup_steps=25_000,
    label_smoothing=0.1,
    export=False,
)

_SHAPES = Recipe(
    name="shapes",
    dataset="shapes",
    backbone="resnet14_tiny",
    kernel_size=(7,),
    crop=(128, 128),
    batch=8,
    epochs=5,
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.01,
    schedule="cosine",
    warmup_steps=100,
    batch_norm_momentum=0.97,
)

# From scratch on the 367 photographs of CamVid.
_CAMVID = dataclasses.replace(
    _SHAPES,
    name="camvid",
    dataset="camvid",
    backbone="resnet18_slim",
    kernel_size=(7, 7, 11, 15),
    crop=(256, 256),
    scale=(0.6, 1.6),
    jitter=0.3,
    epochs=42,
    learning_rate=3e-3,
    weight_decay=0.02,
    warmup_steps=200,
    batch_norm_momentum=0.95,
    class_weights="median-frequency",
    validate_every=6,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The embedded data set: a trained model in minutes, on two cores.
        _SHAPES,
        # The paper's question (Table 1, so without BR) on a backbone that does not answer it by
        # itself: each pixel of its 8×8 P5 sees 35 pixels of the picture.
        dataclasses.replace(
            _SHAPES,
            name="shapes-ablation",
            backbone="resnet_nearsighted",
            kernel_size=(15,),
            boundary_refinement=False,
            epochs=5,
            steps_per_epoch=300,
            validate_every=5,
            jit_compile=True,  # these few channels are what XLA is good at, on a CPU too
            export=False,
        ),
        _CAMVID,
        # The paper's question asked of photographs, in a quarter of an hour a run on two cores.
        dataclasses.replace(
            _CAMVID,
            name="camvid-ablation",
            kernel_size=(15,),
            boundary_refinement=False,
            epochs=8,
            warmup_steps=50,
            validate_every=8,
            export=False,
        ),
        _PAPER,
        _VOC_ABLATION,
        *_VOC_STAGES,
        *_CITYSCAPES_STAGES,
        _IMAGENET_PRETRAIN,
    )
}


def parse(arguments: list[str] | None = None, base: Recipe | None = None) -> Recipe:
    """The recipe that a command line asks for: `--recipe NAME` and options that replace fields.

    Args:
        arguments: without the program's name; None takes those of the process.
        base: what the options replace fields of, instead of the recipe that is named.

    Returns:
        A checked recipe.

    Raises:
        UsageError: unknown recipe, or a value that cannot be meant.
        SystemExit: from tyro, status 2 for an unknown option, 0 after `--help`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name, arguments = _take_recipe(arguments)
    name = name or (base.name if base else "shapes")
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    if base and name != base.name:
        raise UsageError(f"--recipe {name} is not that of the run, which is {base.name}")
    recipe = tyro.cli(
        Recipe,
        args=arguments,
        default=base or RECIPES[name],
        prog="python -m gcn_keras.fit",
        description=(
            f"Train a model. Values shown are those of --recipe {name}; recipes: "
            f"{', '.join(RECIPES)} (--recipe NAME, default shapes)."
        ),
    )
    check(recipe)
    return recipe


def _take_recipe(arguments) -> tuple[str | None, list[str]]:
    """Takes `--recipe NAME` or `--recipe=NAME` out of the arguments."""
    name, rest, i = None, [], 0
    while i < len(arguments):
        option, equals, value = arguments[i].partition("=")
        if option != "--recipe":
            rest.append(arguments[i])
        elif equals:
            name = value
        elif i + 1 == len(arguments):
            raise UsageError(f"--recipe needs a name: one of {', '.join(RECIPES)}")
        else:
            i += 1
            name = arguments[i]
        i += 1
    return name, rest


def check(recipe: Recipe) -> None:
    """Refuses values that cannot be meant.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    recipe_checks.check(recipe, RECIPES[recipe.name])
