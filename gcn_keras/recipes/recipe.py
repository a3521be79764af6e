"""Recipes: everything that a training run depends on, in one frozen dataclass.

The options of `python -m gcn_keras.fit` are the fields of `Recipe`. This module imports neither
Keras nor TensorFlow, so that a wrong option is refused at once.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from gcn_keras.models.pyramids import P2_STRIDES
from pipelines import datasets


@dataclass(frozen=True)
class Recipe:
    """One training run. Options of the command line replace the recipe's values."""

    name: Annotated[str, tyro.conf.Suppress]
    """Name of the recipe."""

    # === Data ===
    dataset: str
    """Data set, prepared by `python -m pipelines.prepare`; `shapes` prepares itself. For a
    classifier a set of TFDS with one class an image, such as imagenet2012."""
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
    """`crop` cuts from larger images; `pad` shows whole ones, and a larger one is an error."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random scaling before the crop."""
    flip: bool = True
    """Mirror half of the images left to right."""
    jitter: float = 0.0
    """Strength of the colour jitter, 0…1."""
    area: tuple[float, float] = (0.08, 1.0)
    """For a classifier: range of the share of an image that a crop shows, resized to the crop."""

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
    """What to do about a step whose loss is not finite, after its images were written down."""

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
    """What the recipe trains: a label for each pixel, or one for an image, which teaches a
    backbone."""
