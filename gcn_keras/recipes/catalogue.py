"""The named recipes."""

import dataclasses

from gcn_keras.recipes.recipe import ClassificationRecipe, Recipe, SegmentationRecipe

# The paper's optimisation (Section 4): SGD, batch 1, momentum 0.99, weight decay 0.0005, flips, and
# no other augmentation. Not in the paper, so our choice: learning rate and schedule (1e-10 on the
# summed loss was the habit of FCNs with these settings, which is 2.6e-5 on the mean over 512 × 512
# pixels), ImageNet's batch norm statistics frozen, and everywhere the number of epochs.
_PAPER = SegmentationRecipe(
    name="paper", dataset="image_folder", weights="imagenet", freeze_batch_norm=True
)
# Section 4.1: every image padded to 512×512. On SBD's additional masks as in the paper's setup.
_VOC_ABLATION = dataclasses.replace(
    _PAPER,
    name="voc-ablation",
    dataset="voc2012_sbd",
    train_split="trainaug",
    backbone="resnet152",
    mode="pad",
    epochs=10,
)
# Section 4.2: three stages, each from the last one's model (--weights). The paper gives the data
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
# Section 4.3: random crops of 800×800, k = 25 for their P5 of 25×25; coarse and fine images, then
# the fine ones alone.
_CITYSCAPES_STAGE1 = dataclasses.replace(
    _PAPER,
    name="cityscapes-stage1",
    dataset="cityscapes_stage1",
    train_split="train",
    backbone="resnet152",
    kernel_size=(25,),
    crop=(800, 800),
    epochs=10,
)
_CITYSCAPES_STAGE2 = dataclasses.replace(
    _CITYSCAPES_STAGE1,
    name="cityscapes-stage2",
    dataset="cityscapes19",
    epochs=40,
    learning_rate=2.6e-6,
)
# The backbone of Table 6 on ImageNet. The paper gives the top-5 errors alone; all of this is our
# choice, and the field's habit for a ResNet: SGD with 0.1 for 256 images after five epochs of
# warm-up, 90 epochs, random-resized crops of 224, flips.
_IMAGENET_PRETRAIN = ClassificationRecipe(
    name="imagenet-pretrain",
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
)
_SHAPES = SegmentationRecipe(
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
# Photographs from scratch: the paper's question, in a quarter of an hour a run on two cores.
_CAMVID_ABLATION = dataclasses.replace(
    _SHAPES,
    name="camvid-ablation",
    dataset="camvid",
    backbone="resnet18_slim",
    kernel_size=(15,),
    boundary_refinement=False,
    crop=(256, 256),
    scale=(0.6, 1.6),
    jitter=0.3,
    epochs=8,
    weight_decay=0.02,
    warmup_steps=50,
    batch_norm_momentum=0.95,
    class_weights="median-frequency",
    validate_every=8,
    export=False,
)
# The model of saved_models/camvid, from the 367 photographs of CamVid alone. They show three
# streets, so what a model knows of their light and colours is worth little in a fourth one.
_CAMVID = dataclasses.replace(
    _CAMVID_ABLATION,
    name="camvid",
    kernel_size=(7, 7, 11, 15),
    boundary_refinement=True,
    scale=(0.5, 1.75),
    hue=0.05,
    erase=0.3,
    mix="classmix",
    # Ten times the 45 steps in which all images are seen: the end of an epoch, which writes the
    # model and a checkpoint, takes as long as several steps.
    epochs=30,
    steps_per_epoch=450,
    weight_decay=0.05,
    warmup_steps=200,
    ema=0.999,
    class_weights="sqrt",
    validate_every=3,
    export=True,
)
# The second half of the way, from the model of `camvid` (--weights): crops as large as the images,
# so that the large kernels see in training what they will see.
_CAMVID_LONG = dataclasses.replace(
    _CAMVID,
    name="camvid-long",
    weights="",  # must be given
    crop=(352, 480),
    scale=(0.75, 1.75),
    epochs=16,
    steps_per_epoch=225,
    learning_rate=2e-3,
    validate_every=2,
)
# Any data set, from ImageNet weights: common practice of fine-tuning, tried on few data sets of our
# own. `training.from_data` computes what `from_data` names; the values here are ignored.
_FINETUNE = dataclasses.replace(
    _CAMVID_ABLATION,
    name="finetune",
    dataset="",  # must be given
    backbone="resnet50",
    weights="imagenet",
    from_data=("crop", "kernel_size", "batch", "epochs", "steps_per_epoch", "freeze_batch_norm"),
    crop=(512, 512),
    boundary_refinement=True,
    learning_rate=3e-4,
    weight_decay=0.01,
    warmup_steps=100,
    batch_norm_momentum=0.97,
    class_weights="sqrt",
    validate_every=1,
    export=True,
)
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        # The embedded data set: a trained model in minutes, on two cores.
        _SHAPES,
        # The paper's question (Table 1, so without BR) on a backbone that does not answer it by
        # itself: each pixel of its 8×8 P5 sees 35 pixels of the image.
        dataclasses.replace(
            _SHAPES,
            name="shapes-ablation",
            backbone="resnet_nearsighted",
            kernel_size=(15,),
            boundary_refinement=False,
            steps_per_epoch=300,
            validate_every=5,
            jit_compile=True,  # these few channels are what XLA is good at, on a CPU too
            export=False,
        ),
        _CAMVID,
        _CAMVID_LONG,
        _CAMVID_ABLATION,
        _FINETUNE,
        _PAPER,
        _VOC_ABLATION,
        *_VOC_STAGES,
        _CITYSCAPES_STAGE1,
        _CITYSCAPES_STAGE2,
        _IMAGENET_PRETRAIN,
    )
}
