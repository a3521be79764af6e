"""A file of every kind that the project reads, and who reads it."""

import csv
import io
import json
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipelines.base.errors import UserError

CLASSES = ("sky", "road", "car")
SIZE = (24, 32)


class Subject(NamedTuple):
    """A file that is damaged, and who reads it.

    Attributes:
        file: in a folder of its own.
        read: what the project makes of it: arrays, strings and numbers in lists and dicts.
        has_checksums: whether damage is noticed or does not matter.
    """

    file: Path
    read: Callable[[], Any]
    has_checksums: bool


def make_subjects(folder: Path) -> dict[str, Subject]:
    """Writes a file of every kind, each into a folder of its own."""
    makers = (
        _models, _run, _results, _data_set, _annotations, _masks_and_images, _own_data,
        _archives,
    )  # fmt: skip
    return {name: subject for maker in makers for name, subject in maker(folder).items()}


def _models(folder: Path) -> dict[str, Subject]:
    """A model, and the one checkpoint of a run that trains it."""
    import keras

    from gcn_keras.inference.keras_model import load_model
    from gcn_keras.recipes.catalogue import RECIPES
    from gcn_keras.training.optimizers import compile_model
    from gcn_keras.training.run_folder import RunFolder
    from gcn_keras.training.step import Step
    from gcn_keras.training.training_state import TrainingState

    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(image, keras.layers.Conv2D(len(CLASSES), 1, name="logits")(x))
    file = folder / "model" / "best.keras"
    file.parent.mkdir()
    model.save(file)

    def loaded():
        found = load_model(file)
        return [json.dumps(found.get_config()), *found.get_weights()]

    recipe, run = RECIPES["shapes"], RunFolder(folder / "run")
    compile_model(model, recipe, 100)
    model.optimizer.build(model.trainable_variables)
    run.checkpoints.mkdir(parents=True)
    state = TrainingState(recipe, run, model, Step(), 4)
    state.progress.epoch, state.progress.step = 2, 1
    state.save()
    for path in (run.best, run.history):
        path.write_bytes(b"of a good run")

    def restored():
        model.set_weights([np.zeros_like(weights) for weights in model.get_weights()])
        return [state.restore(), *model.get_weights()]

    [checkpoint] = run.checkpoints.glob("*.npz")
    return {
        "model": Subject(file, loaded, True),
        "checkpoint": Subject(checkpoint, restored, True),
    }


def _run(folder: Path) -> dict[str, Subject]:
    """A finished run, which `fit` is asked to go on with."""
    from gcn_keras import fit
    from gcn_keras.inference.legend import Legend
    from gcn_keras.recipes import command_line
    from gcn_keras.training.run_folder import RunFolder, begin_run
    from pipelines.base.files import write_json
    from pipelines.base.labels import voc_colour_map

    subjects = {}
    for name in ("config", "metrics", "legend"):
        run = RunFolder(folder / name)
        options = ["--recipe", "shapes", "--data-dir", str(folder / "shapes"), "--no-export"]
        options += ["--out", str(run.path), "--resume"]
        begin_run(run, command_line.parse(options))
        run.release()
        write_json(run.metrics, {"mean_iou": 0.5, "best_epoch": 2})
        Legend(CLASSES, voc_colour_map()).write(run.legend)
        zipfile.ZipFile(run.best, "w").close()  # a finished run has a sound one
        for file in (run.model, run.history):
            file.write_bytes(b"of a good run")

        def go_on(options=options):
            sys.argv[1:] = options
            return fit.main()

        read = (
            (lambda file=run.legend: Legend.read(file).class_names) if name == "legend" else go_on
        )
        subjects[name] = Subject(getattr(run, name), read, False)
    return subjects


def _results(folder: Path) -> dict[str, Subject]:
    """runs.csv of the paper's tables."""
    from gcn_keras.experiments.results import COLUMNS, Results
    from gcn_keras.experiments.table import formatted

    file = folder / "results" / "runs.csv"
    file.parent.mkdir()
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([COLUMNS, *(["base", seed, "0" * 12, *[0.5] * 9] for seed in range(9))])

    def read():
        known = Results(file).known.values()
        return [formatted("mean_iou", [result["mean_iou"]]) for result in known]

    return {"results": Subject(file, read, False)}


def _data_set(folder: Path) -> dict[str, Subject]:
    """A prepared data set: what is known of it, and its records."""
    from pipelines import datasets
    from pipelines.stream.evaluation import evaluation_examples
    from pipelines.stream.faults import DATA_ERRORS, describe_fault

    def examples_of(stream):
        try:
            return list(stream.as_numpy_iterator())
        except DATA_ERRORS as error:
            if text := describe_fault(error):
                raise UserError(text) from error
            raise

    subjects = {}
    for name in ("dataset_info.json", "features.json", "metadata.json", "records"):
        source, data_dir = folder / name / "source", folder / name / "data"
        for split in ("train", "val"):
            for kind in ("images", "labels"):
                (source / split / kind).mkdir(parents=True)
            for number in range(4):
                image, mask = (source / split / f"{part}/{number}" for part in ("images", "labels"))
                image.with_suffix(".jpg").write_bytes(_image(number, "JPEG"))
                mask.with_suffix(".png").write_bytes(_mask(number))
        (source / "classes.txt").write_text("\n".join(CLASSES))
        prepared = datasets.prepare("image_folder", source, data_dir)
        file = Path(prepared.files["train"][0])
        stream = evaluation_examples(prepared, "train")

        def opened(data_dir=data_dir):
            anew = datasets.load("image_folder", data_dir)
            return [*anew.class_names, *examples_of(evaluation_examples(anew, "train"))]

        if name == "records":  # each iteration reads the file again
            subjects[name] = Subject(file, lambda stream=stream: examples_of(stream), True)
        else:
            subjects[name.removesuffix(".json")] = Subject(file.with_name(name), opened, False)
    return subjects


def _annotations(folder: Path) -> dict[str, Subject]:
    """Labels that are no PNGs: COCO's JSON, and the SBD's .mat."""
    from scipy.io import savemat
    from scipy.sparse import csc_array

    from pipelines.base.files import write_json
    from pipelines.base.labels import VOC_CLASSES
    from pipelines.datasets.coco_voc import coco_voc_dataset_builder as coco
    from pipelines.datasets.voc2012_sbd.mat_files import read_mat

    height, width = SIZE
    names = [coco.COCO_NAMES.get(name, name) for name in VOC_CLASSES[1:]]
    objects = [
        {"iscrowd": 0, "area": 60, "segmentation": [[2, 2, 12, 2, 12, 8, 2, 8]]},
        {
            "iscrowd": 0,
            "area": 20,
            "segmentation": [[20.5, 9, 25, 9, 22, 20], [1, 20, 3, 20, 3, 23]],
        },
        {
            "iscrowd": 1,
            "area": 9,
            "segmentation": {"size": [height, width], "counts": [height * width - 9, 9]},
        },
    ]
    content = {
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
        "images": [{"id": 7, "file_name": "7.jpg", "height": height, "width": width}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": i, **thing}
            for i, thing in enumerate(objects, start=1)
        ],
    }
    annotations = folder / "annotations" / "instances.json"
    annotations.parent.mkdir()
    write_json(annotations, content)
    annotations.with_name("7.jpg").write_bytes(_image(7, "JPEG"))

    def painted():
        return [
            coco.make_example(item) for item in coco.list_items(annotations, annotations.parent)
        ]

    mat = folder / "mat" / "1.mat"
    mat.parent.mkdir()
    label = np.random.default_rng(1).integers(0, len(CLASSES), SIZE).astype(np.uint8)
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [csc_array(label == value) for value in range(20)]
    content = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": [[1], [2]]}
    savemat(mat, {"GTcls": content}, do_compression=True)
    return {
        "annotations": Subject(annotations, painted, False),
        "mat": Subject(mat, lambda: read_mat(mat, mat.read_bytes(), CLASSES), True),
    }


def _masks_and_images(folder: Path) -> dict[str, Subject]:
    from gcn_keras.inference.encoded_images import InvalidAnswerError, decode_labels
    from gcn_keras.inference.images import load_image
    from pipelines.building.image_label import read_image, read_label

    def answer(file):
        try:
            return decode_labels(file.read_bytes(), *SIZE)
        except InvalidAnswerError as error:
            raise UserError(str(error)) from error

    def both(file):
        """As a user's image, and as one of a data set."""
        errors = []
        for read in (lambda: load_image(file), lambda: read_image(file, file.read_bytes())):
            try:
                found = read()
            except UserError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return found

    readers = {
        "mask": (_mask(1), lambda file: read_label(file, file.read_bytes(), CLASSES), True),
        "answer": (_mask(1), answer, True),
        "png": (_image(1, "PNG"), both, True),
        "jpeg": (_image(1, "JPEG"), both, False),
        "gif": (_image(1, "GIF"), load_image, False),
        "tiff": (_image(1, "TIFF"), load_image, False),
        "webp": (_image(1, "WEBP"), load_image, False),
        "bmp": (_image(1, "BMP"), load_image, False),
    }
    return {
        name: _subject(folder / name, content, read, has_checksums)
        for name, (content, read, has_checksums) in readers.items()
    }


def _subject(
    folder: Path, content: bytes, read: Callable[[Path], object], has_checksums: bool
) -> Subject:
    """A file of its own in a folder of its own, and what reads it."""
    folder.mkdir()
    file = folder / f"{folder.name}.img"
    file.write_bytes(content)
    return Subject(file, partial(read, file), has_checksums)


def _own_data(folder: Path) -> dict[str, Subject]:
    """What a folder of somebody's own may hold, and `prepare image_folder` reads."""
    from pipelines.base.files import write_json
    from pipelines.building.conversion import recorded_image
    from pipelines.datasets.image_folder.classes import plain
    from pipelines.datasets.image_folder.masks import MaskReader
    from pipelines.datasets.image_folder.options import FolderOptions
    from pipelines.datasets.image_folder.sources import open_source

    reader = MaskReader.of(plain(CLASSES), FolderOptions())

    def read_mask(file):
        return reader.read(file, file.read_bytes(), Counter())

    def read_image(file):
        return recorded_image(file, file.read_bytes())

    readers = {
        "mask-tiff": (_mask(1, "TIFF"), read_mask),
        "mask-gif": (_mask(1, "GIF"), read_mask),
        "mask-bmp": (_mask(1, "BMP"), read_mask),
        "image-tiff": (_image(1, "TIFF"), read_image),
        "image-webp": (_image(1, "WEBP"), read_image),
        "image-bmp": (_image(1, "BMP"), read_image),
    }
    subjects = {
        name: _subject(folder / name, content, read, False)
        for name, (content, read) in readers.items()
    }

    def examples(source):
        found = open_source(source, FolderOptions())
        items = [item for split in found.splits.values() for item in split]
        for item in items:
            if isinstance(item, UserError):
                raise item
        return [*found.classes.names, *map(found.make_example, items)]

    corners = [[2.0, 2.0], [12.0, 2.0], [12.0, 8.0]]
    shape = {"label": CLASSES[1], "shape_type": "polygon", "points": corners}
    size = {"height": SIZE[0], "width": SIZE[1]}
    region = {"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 12, 2, 12, 8]]}
    contents = {
        "labelme": ("0.json", {
            "imagePath": "0.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": [shape],
        }),
        "coco": ("instances.json", {
            "categories": [{"id": 1, "name": CLASSES[1]}],
            "images": [{"id": id, "file_name": f"{id - 1}.png", **size} for id in (1, 2)],
            "annotations": [{"id": 1, "iscrowd": 0, "area": 30, **region}],
        }),
        "classes": ("classes.txt", "\n".join(CLASSES)),
        "list": ("train.txt", "0\n1\n2"),
    }  # fmt: skip
    for name, (file_name, content) in contents.items():
        source = folder / name
        is_annotated = isinstance(content, dict)
        for number in range(3):
            image = source / "images" / f"{number}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(_image(number, "PNG"))
            if not is_annotated:
                mask = source / "labels" / image.name
                mask.parent.mkdir(exist_ok=True)
                mask.write_bytes(_mask(number))
        (source / "classes.txt").write_text("\n".join(CLASSES))
        file = source / file_name
        if name == "labelme":  # a second one, as there must be an image for val
            write_json(source / "1.json", {**content, "imagePath": "1.png"})
        file.write_text(json.dumps(content) if is_annotated else content)
        subjects[name] = Subject(file, lambda source=source: examples(source), False)
    return subjects


def _archives(folder: Path) -> dict[str, Subject]:
    import tensorflow_datasets as tfds

    from pipelines.building.archives import Archive, locate

    files = {f"images/{number}.png": _image(number, "PNG") for number in range(3)}
    subjects = {}
    for name in ("images.tar", "images.tgz", "images.zip"):
        source = folder / name / "source"
        source.mkdir(parents=True)
        file = source / name
        if name.endswith("zip"):
            with zipfile.ZipFile(file, "w") as packed:
                for path, content in files.items():
                    packed.writestr(path, content)
        else:
            with tarfile.open(file, "w:gz" if name.endswith("gz") else "w") as archive:
                for path, content in files.items():
                    info = tarfile.TarInfo(path)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))

        def read(name=name, source=source):
            with tempfile.TemporaryDirectory(dir=folder) as downloads:
                manager = tfds.download.DownloadManager(
                    download_dir=downloads, manual_dir=str(source)
                )
                try:
                    found = locate(manager, (Archive(name, "images", "its page"),), "images/")
                except UserError:
                    assert not list(Path(downloads).rglob("*.png")), "files are left"
                    raise
                paths = sorted(path for path in found[name].rglob("*") if path.is_file())
                return {str(path.relative_to(found[name])): path.read_bytes() for path in paths}

        subjects[name.removeprefix("images.")] = Subject(file, read, not name.endswith("tar"))
    return subjects


def _image(seed: int, form: str) -> bytes:
    return _encoded(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)), form)


def _mask(seed: int, form: str = "PNG") -> bytes:
    return _encoded(np.random.default_rng(seed).integers(0, len(CLASSES), SIZE), form)


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, format=form)
    return content.getvalue()
