"""What `prepare` says at its end: classes, shares, contact sheet, what to run next."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipelines import datasets
from pipelines.base.files import replacing
from pipelines.base.plurals import count_of, plural
from pipelines.datasets import PreparedDataset, classification
from pipelines.examination.contact_sheet import contact_sheet
from pipelines.examination.examine import some_samples
from pipelines.examination.judgement import is_held_out
from pipelines.stream.evaluation import class_pixel_counts

CONTACT_SHEET = "contact_sheet.png"
# The recipe that is made for a data set; for all others there is one that takes what it is given.
_RECIPES = {
    "shapes": "shapes",
    "camvid": "camvid",
    "voc2012_sbd": "voc-ablation",
    "coco_voc": "voc-stage1",
    "cityscapes19": "cityscapes-stage2",
    classification.IMAGENET: "imagenet-pretrain",
}
_OWN_RECIPE = "finetune"
_TRAINED_IN_A_MIXTURE = {"coco_voc": "stage1"}


def summary(prepared: PreparedDataset, data_dir: str | Path) -> Iterator[str]:
    """Lines of text; the contact sheet is drawn on the way.

    Args:
        prepared: a data set of label maps.
        data_dir: where it lies.

    Raises:
        UserError: the contact sheet cannot be written, as the disk is full, say.
    """
    names = ", ".join(prepared.class_names)
    yield f"{prepared.name}: {count_of(prepared.num_classes, 'class')}: {names}"
    for split, count in prepared.splits.items():
        yield f"  {split:<12}{count:>8,} {plural(count, 'example')}; {_shares(prepared, split)}"
    if turned := prepared.counts.get("turned"):
        verb = "was" if turned == 1 else "were"
        yield (
            f"  {count_of(turned, 'image')} {verb} turned upright, as EXIF says: see on the sheet "
            "whether the labels fit"
        )
    if nearest := prepared.counts.get("nearest"):
        share = 100 * nearest / prepared.counts["pixels"]
        yield f"  the nearest colour decided {share:.2f} % of the masks' pixels"
    for what, count in prepared.skipped.items():
        verb = "was" if count == 1 else "were"
        yield f"  {what}: {count:,} could not be used and {verb} skipped"
    yield f"in {datasets.prepared_folder(prepared.name, data_dir)}"
    yield f"contact sheet: {_contact_sheet(prepared, data_dir)}"
    labelled = [split for split in prepared.splits if split not in prepared.unlabelled_splits]
    yield from next_steps(prepared.name, labelled, data_dir)


def next_steps(name: str, splits: list[str], data_dir: str | Path) -> Iterator[str]:
    """How to train on a data set, in lines of text.

    Args:
        name: of the data set.
        splits: those with labels.
        data_dir: where it lies.
    """
    base, slash, config = name.partition("/")
    recipe = _RECIPES.get(base, _OWN_RECIPE)
    dataset = _TRAINED_IN_A_MIXTURE.get(base, base) + slash + config
    command = ["python", "-m", "gcn_keras.fit", "--recipe", recipe, "--dataset", dataset]
    if str(data_dir) != datasets.DEFAULT_DATA_DIR:
        command += ["--data-dir", str(data_dir)]
    # Held out by its name, or else any other.
    train = min(splits, key=lambda split: (split != "train", is_held_out(split)), default="")
    others = sorted((split for split in splits if split != train), key=is_held_out, reverse=True)
    if not others:
        has = f"{train!r} alone" if train else "none"
        yield f"next: add a split with labels, to measure on; {name} has {has}"
        return
    if train != "train":
        command += ["--train-split", train]
    if not {"val", "validation"} & set(others):
        command += ["--val-split", others[0]]
    yield f"next: {shlex.join(command)}"
    yield "  (--show-batch FILE.png draws what it trains on, and ends)"


def _shares(prepared: PreparedDataset, split: str) -> str:
    """Each class's share of the valid pixels: a class that never occurs is a mistake to see now."""
    counts = class_pixel_counts(prepared, split)
    if not counts.any():
        return "every pixel is void (255)"
    shares = zip(prepared.class_names, counts / counts.sum(), strict=True)
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares)


def _contact_sheet(prepared: PreparedDataset, data_dir: str | Path) -> str:
    """The path of the contact sheet beside the records, or why there is none.

    It lies in the folder of the records, and comes and goes with them: what is there is of these.
    """
    path = datasets.prepared_folder(prepared.name, data_dir) / CONTACT_SHEET
    if path.exists():
        return str(path)
    if not os.access(path.parent, os.W_OK):
        doctor = ["python", "-m", "pipelines.doctor", prepared.name, "--data-dir", str(data_dir)]
        command = f"{shlex.join(doctor)} --sheet FILE"
        return f"none, as {path.parent} cannot be written; {command} makes one"
    samples = some_samples(prepared)
    png = contact_sheet(samples, prepared.class_names, prepared.palette, prepared.name)
    with replacing(path) as temporary:
        temporary.write_bytes(png)
    return str(path)
