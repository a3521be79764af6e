"""Recipes: everything that a training run depends on, in one frozen dataclass a task.

The options of `python -m gcn_keras.fit` are the fields of the recipe that is named. This module
imports neither Keras nor TensorFlow, so that a wrong option is refused at once.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import tyro

from gcn_keras.models import backbones
from gcn_keras.models.block_names import Block
from pipelines import datasets
from pipelines.stream.options import ClassificationOptions, SegmentationOptions, StreamOptions

LOSSES = ("cross-entropy", "focal", "dice", "lovasz")


@dataclass(frozen=True)
class Recipe:
    """What every training run depends on. Options of the command line replace the values.

    Attributes:
        task: "segmentation", a label for each pixel, or "classification", one for an image, which
            teaches a backbone.
        stream: the options of its stream; those that have the name of a field take its value.
    """

    task: ClassVar[str]
    stream: ClassVar[type[StreamOptions]]

    name: Annotated[str, tyro.conf.arg(name="recipe", metavar="NAME")]
    """Name of the recipe, whose values the options replace."""

    # === Data ===
    dataset: str
    """Data set, prepared by `python -m pipelines.prepare`; `shapes` prepares itself. For a
    classifier a set of TFDS with one class an image, such as imagenet2012."""
    data_dir: str = datasets.DEFAULT_DATA_DIR
    """Folder of the prepared data sets."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str | None = None
    """Split to measure on; None: val, or validation."""

    # === Model (Figure 2) ===
    backbone: Literal[backbones.NAMES] = "resnet50"
    """Network that gives the pyramid P2…P5."""
    weights: str | None = None
    """Initial weights: `imagenet`, Keras' file of them (.h5), or a model trained here (.keras)."""
    batch_norm_momentum: float = 0.99
    """Momentum of batch norm's moving statistics; at 0.99 they lag a few hundred steps behind."""

    # === Crops ===
    crop: tuple[int, int] = (512, 512)
    """Height and width of training crops in pixels, multiples of P5's stride."""
    flip: bool = True
    """Whether half of the images are mirrored left to right."""
    jitter: float = 0.0
    """Strength of the colour jitter, 0…1."""

    # === Stream ===
    cache: str | None = None
    """Where to keep copies: `memory`, of encoded examples, or a folder, of the record files."""
    shuffle_mib: int = 64
    """Memory of the shuffle buffer in MiB; it holds encoded examples."""
    data_service: str | None = None
    """HOST:PORT of a dispatcher (python -m pipelines.service) whose workers make the batches."""
    skip_errors: bool = False
    """Whether damaged training examples are left out and counted, instead of being an error."""

    # === Optimisation ===
    batch: int = 1
    """Crops a step."""
    epochs: int = 20
    """Epochs of --steps-per-epoch steps; with a constant schedule more of them extend a run
    (--resume)."""
    steps_per_epoch: int | None = None
    """Steps of an epoch; None: once through the training split."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimizer; SGD decays weights through the loss, as Caffe does, AdamW separately."""
    learning_rate: float = 2.6e-5
    """Peak learning rate, for the mean of the loss over the batch's valid pixels."""
    momentum: float = 0.99
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of kernels; biases and batch norms are not decayed."""
    schedule: Literal["constant", "poly", "cosine"] = "poly"
    """How the learning rate changes over the steps; poly has the power 0.9."""
    warmup_steps: int = 0
    """Steps of linear warm-up; at most a tenth of all steps."""
    ema: float = 0.0
    """Momentum of a moving average of the weights, such as 0.999, which is validated, saved and
    exported in their place; 0: no average."""
    backbone_learning_rate_factor: float = 1.0
    """Factor, 0…1, of the backbone's learning rate; 0 freezes it, including the statistics of its
    batch norms."""
    gradient_clip: float | None = None
    """Largest norm of a step's gradient; larger ones are scaled down to it."""
    mixed_precision: Literal["none", "bfloat16", "float16"] = "none"
    """Data type of the computations; variables and logits stay float32."""
    jit_compile: bool = False
    """Whether steps are compiled with XLA; slower on most CPUs."""
    accumulate: int = 1
    """Parts into which a batch is split, computed one after another to need less memory."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    deterministic: bool = False
    """Whether sums keep their order, so that equal runs give equal results, to the last bit."""

    # === Devices ===
    strategy: Literal["auto", "one", "mirrored", "multiworker"] = "auto"
    """Devices: one; all of this machine; or those of several machines (TF_CONFIG, Slurm). auto
    takes all that are there, but only one with JAX or `jit_compile`."""
    backend: Literal["tensorflow", "jax"] = "tensorflow"
    """Backend of Keras."""

    # === Interruption ===
    resume: bool = False
    """Whether to continue the run in --out (default: this recipe's last one), or begin it."""
    accept_changes: bool = False
    """Whether --resume continues although config.json or the records of the data set have changed;
    it never does with other class names."""
    checkpoint_steps: int = 1000
    """Steps between two checkpoints within an epoch; each epoch also ends with one."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do about a step whose loss is not finite, after recording its images."""

    # === Results ===
    validate_every: int = 1
    """Epochs between two validations; the last epoch is always validated."""
    patience: int | None = None
    """Validations in a row without a new best score after which the run ends; None: never."""
    out: str | None = None
    """Run folder; None: runs/RECIPE, or runs/RECIPE-2 … where that is taken."""
    callbacks: Annotated[str | None, tyro.conf.arg(metavar="MODULE:FUNCTION")] = None
    """Function that returns Keras callbacks of your own, one or a list, see
    gcn_keras/training/callbacks.py."""
    show_batch: Annotated[str | None, tyro.conf.arg(metavar="FILE.png")] = None
    """File to draw the first training batch into, instead of training."""

    def stream_fields(self) -> dict[str, Any]:
        """What the recipe asks of its stream, by the names of the stream's options."""
        names = {field.name for field in dataclasses.fields(self.stream)}
        given = {name: value for name, value in vars(self).items() if name in names}
        return {**given, "batch_size": self.batch}


@dataclass(frozen=True)
class SegmentationRecipe(Recipe):
    """A run that trains a model to label every pixel."""

    task: ClassVar[str] = "segmentation"
    stream: ClassVar = SegmentationOptions

    # === Data ===
    from_data: tuple[
        Literal["crop", "kernel_size", "batch", "epochs", "steps_per_epoch", "freeze_batch_norm"],
        ...,
    ] = ()
    """Options whose values are derived from the data set, unless they are given."""

    # === Model (Figure 2) ===
    block: Block = "gcn"
    """Block that computes a stage's score map: the paper's, or a rival from Tables 1 to 4."""
    kernel_size: tuple[int, ...] = (15,)
    """k, an odd number, or four of them: for P2, P3, P4 and P5."""
    stack_width: int | None = None
    """Channels inside `stack` (m in Table 4); None keeps the stage's own."""
    boundary_refinement: bool = True
    """Whether BR blocks are built in; Tables 1 to 4 have none."""
    freeze_batch_norm: bool = False
    """Whether batch norm keeps its stored statistics; for tiny batches on pretrained weights."""

    # === Crops ===
    mode: Literal["crop", "pad"] = "crop"
    """How crops are made: `crop` cuts larger images, `pad` pads whole ones and refuses larger."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random scaling before the crop."""
    flip_vertical: bool = False
    """Whether half of the images are turned upside down."""
    rotate: float = 0.0
    """Degrees, in both directions, of the random rotation."""
    hue: float = 0.0
    """Strength of the shift of hues, in turns of the colour circle: 0…0.5."""
    sharpness: float = 0.0
    """Strength of blurring or sharpening, 0…1."""
    erase: float = 0.0
    """Probability that a rectangle of a crop is blanked and void."""
    mix: Literal["none", "cutmix", "classmix"] = "none"
    """What every second image takes from another: a rectangle, or half of its classes."""

    # === Loss ===
    loss: str = "cross-entropy"
    """Loss: cross-entropy, focal, dice or lovasz, or a sum of them: cross-entropy+dice."""
    ohem: float = 1.0
    """Share of each image's pixels, the hardest, that cross-entropy and focal train on."""
    class_weights: Literal["none", "sqrt", "median-frequency"] | tuple[float, ...] = "none"
    """Weights of the classes in cross-entropy and focal: median frequency balancing, its square
    root, or a number for each class."""

    # === Results ===
    validation_tile: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None
    """Size of the tiles in which images are validated; None: whole, which takes more memory."""
    tensorboard_samples: int = 4
    """Images whose predictions TensorBoard shows after each validation; 0: none."""
    saved_model: str | None = None
    """Folder of the SavedModel's version folders; None: saved_models/RECIPE."""
    export: bool = True
    """Whether the best model is exported as a SavedModel at the end."""


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """A run that pretrains a backbone as a classifier of images."""

    task: ClassVar[str] = "classification"
    stream: ClassVar = ClassificationOptions
    export: ClassVar[bool] = False  # what a server segments with is no classifier

    area: tuple[float, float] = (0.08, 1.0)
    """Range of the share of an image that a crop shows, resized to the crop."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""


RECIPE_TYPES = (SegmentationRecipe, ClassificationRecipe)
# Where results go, which devices work, and what is done in an emergency do not change what a run
# computes.
NOT_CONFIGURATION = (
    *("out", "saved_model", "export", "data_dir", "strategy", "resume", "accept_changes"),
    *("checkpoint_steps", "keep_checkpoints", "on_nan", "validation_tile"),
    *("tensorboard_samples", "show_batch"),
)


def configuration(recipe: Recipe) -> dict:
    """What a run computes follows from this: the recipe, JSON-ready, without where results go.

    It has the options of every task, those of others at their defaults: files and digests are from
    a time when there was one dataclass for all.
    """
    fields = {f.name: f.default for kind in RECIPE_TYPES for f in dataclasses.fields(kind)}
    fields |= {**dataclasses.asdict(recipe), "task": recipe.task}
    kept = {key: value for key, value in fields.items() if key not in NOT_CONFIGURATION}
    return json.loads(json.dumps(kept))  # tuples become lists, as they are read back
