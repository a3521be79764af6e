"""Prepares a data set: `python -m pipelines.prepare NAME --from DIR --data-dir DIR`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pipelines import datasets
from pipelines.base.errors import UsageError, as_options, printable, run_command
from pipelines.base.plurals import count_of, plural
from pipelines.building.folders import Naming
from pipelines.datasets import classification
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.names import TFDS
from pipelines.datasets.tfds_set.options import TfdsOptions

_PLAIN = FolderOptions()


def prepare(
    name: tyro.conf.Positional[str],
    source: Annotated[str | None, tyro.conf.arg(name="from", metavar="DIR")] = None,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    beam_options: Annotated[str | None, tyro.conf.arg(metavar="K=V,...")] = None,
    image_feature: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    label_feature: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    class_names: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    skip_errors: bool = False,
    accept_findings: bool = False,
    overwrite: bool = False,
    own: Annotated[FolderOptions, tyro.conf.arg(name="")] = _PLAIN,
) -> None:
    """Write a data set as sharded TFRecords, after checking every image and label.

    Data sets: shapes (generated, needs no --from), camvid, voc2012_sbd, coco_voc (COCO 2017;
    coco_voc/2014, and coco_voc/2017_min1000 without objects below 1000 pixels), cityscapes19,
    image_folder, and image_folder/NAME for several of your own in one data directory. The layouts
    they expect are in pipelines/datasets/*/README.md. tfds:NAME is any set of TensorFlow Datasets
    that has an image and a mask. imagenet2012, for pretraining, is written by TFDS from ImageNet's
    archives.

    Args:
        name: The data set.
        source: The folder with its images and labels, or with its archives. Without it, voc2012_sbd
            and coco_voc are downloaded.
        data_dir: Folder of prepared data sets.
        beam_options: Options of Apache Beam, which must be installed, to prepare coco_voc or
            cityscapes19 with it: runner=DirectRunner,direct_num_workers=4.
        image_feature: Feature of tfds:NAME with the image, where it has more than one image.
        label_feature: Feature of tfds:NAME with the mask, where it has more than one mask.
        class_names: File of the names of tfds:NAME's classes, one a line; without it the classes
            are counted.
        skip_errors: Leave out images that cannot be used, or whose labels cannot or are missing;
            each is named, and they are counted. Without it all are looked for at once, 20 are
            listed, each kind among them, and nothing is written.
        accept_findings: Keep a split although its labels hold nothing but void, or 0 and 255, or a
            train of one class.
        overwrite: Write it anew if it is prepared already; what is there stays until the new one is
            whole. Runs that read it must be ended first: they would go on with the new records.
        own: Options of image_folder.
    """
    tfds = TfdsOptions(image_feature, label_feature, own.first_label, class_names)
    options: tuple[TfdsOptions | FolderOptions, ...] = (
        dataclasses.replace(tfds, first_label=0),  # which both have
        own,
    )
    if name.startswith(TFDS):
        options = dataclasses.replace(own, first_label=0), tfds
    asked = next((each for each in options if each != type(each)()), None)
    if name == classification.IMAGENET:
        if beam_options is not None or asked or skip_errors or accept_findings or overwrite:
            raise UsageError(f"{name!r} is written by TFDS: it takes --from and --data-dir alone")
        _prepare_imagenet(source, data_dir)
        return
    already = datasets.is_prepared(name, data_dir) and not overwrite
    prepared = datasets.prepare(
        *(name, source, data_dir, beam_options, asked),
        skip_errors=skip_errors,
        accept_findings=accept_findings,
        overwrite=overwrite,
    )
    if already:
        print(f"{name} was prepared before; no record was written. To build it anew: --overwrite")
    from pipelines.examination.summary import summary

    for line in summary(prepared, data_dir):
        print(printable(line), flush=True)


def _prepare_imagenet(source: str | None, data_dir: Path) -> None:
    if not source:
        raise UsageError(
            f"{classification.IMAGENET!r} needs the folder of its archives: --from DIR"
        )
    folder = classification.prepare_imagenet(source, data_dir)
    prepared = classification.load(classification.IMAGENET, data_dir)
    print(f"{prepared.name}: {count_of(prepared.num_classes, 'class')}")
    for split, count in prepared.splits.items():
        print(f"  {split:<12}{count:>10,} {plural(count, 'example')}")
    print(f"in {folder}")
    from pipelines.examination.summary import next_steps

    print(*next_steps(classification.IMAGENET, list(prepared.splits), data_dir), sep="\n")


def main() -> None:
    """Entry point of the command."""
    with as_options(source="from"):
        tyro.cli(prepare, prog="python -m pipelines.prepare")


if __name__ == "__main__":
    named = (field.name.replace("_", "-") for field in dataclasses.fields(Naming))
    run_command(main, may_be_empty=[f"--{name}" for name in named])
