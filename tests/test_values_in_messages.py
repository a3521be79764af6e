"""Paths and names that look like names of arguments stand in messages as they are.

Every command is refused twice: with names of files, classes and others in braces, and with the same
names between other signs. But for these the messages must be the same, letter for letter.
"""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY

import gcn_keras
from pipelines.base.errors import UserError, run_command
from pipelines.prepare import prepare

MODEL = REPOSITORY / "saved_models" / "shapes" / "shapes.tflite"
OTHER_SIGNS = str.maketrans("{}", "«»")  # which a shell, too, wants in quotes
CLASSES = "{void}", "{source}-{out}"

PREPARE = "pipelines.prepare image_folder/x --data-dir {map} --from {map}"
COMMANDS = [
    f"{PREPARE}/missing",
    f"{PREPARE}/empty",
    f"{PREPARE}/no_labels",
    f"{PREPARE}/stray",
    f"{PREPARE}/numbered",
    f"{PREPARE}/no_classes",
    f"{PREPARE}/jpeg",
    f"{PREPARE}/twice",
    f"{PREPARE}/stray --image-folder {{split}} --label-folder {{out}}",
    f"{PREPARE}/stray --void {{tile}}",
    f"{PREPARE}/stray --map {{tile}}",
    f"{PREPARE}/stray --group ({{map}}",
    f"{PREPARE}/stray --group {{map}}",
    f"{PREPARE}/coloured --map 0=1",
    f"{PREPARE}/coloured --map 1=2",
    f"{PREPARE}/coloured --void #000000",
    "pipelines.prepare {source}",
    "pipelines.prepare camvid --from {map}",
    "pipelines.prepare voc2012_sbd --from {map}",
    "pipelines.prepare imagenet2012 --from {map}",
    "pipelines.prepare tfds:voc/2007 --data-dir {map} --from {map}/{tile}",
    "pipelines.prepare tfds:voc/2007 --data-dir {map} --from {map}/empty",
    "pipelines.doctor image_folder --data-dir {map}",
    "pipelines.doctor image_folder/x --data-dir {map}/data --split {split}",
    "pipelines.service worker --dispatcher {host}:{port}",
    "gcn_keras.predict {map}/missing.keras {map}/{tile}.png",
    "gcn_keras.predict {map}/damaged.keras {map}/{tile}.png",
    "gcn_keras.predict {map}/damaged.tflite {map}/{tile}.png",
    "gcn_keras.predict {map}/two.tflite {map}/{tile}.png",
    "gcn_keras.predict {map}/seven.tflite {map}/{tile}.jpg",
    "gcn_keras.predict {map}/seven.tflite {map}/empty",
    "gcn_keras.predict {map}/seven.tflite {map}/damaged.png --out {map}/{out}",
    "gcn_keras.predict {map}/seven.tflite --video {map}/{tile}.png",
    "gcn_keras.predict {map}/seven.tflite --video {map}",
    "gcn_keras.predict {map}/seven.tflite --video {map}/missing.mp4",
    "gcn_keras.predict grpc://{host}:{port}/m {map}/{tile}.png",
    "gcn_keras.evaluate {map}/missing.keras --dataset shapes",
    "gcn_keras.evaluate {map}/seven.tflite --dataset image_folder --data-dir {map}",
    "gcn_keras.evaluate {map}/seven.tflite --dataset image_folder/x --data-dir {map}/data",
    "gcn_keras.evaluate {map}/seven.tflite --dataset image_folder/x --submission {map}/{out}",
    "gcn_keras.evaluate {map}/seven.tflite --dataset shapes --submission {map}/{fold}/{out}.zip",
    "gcn_keras.evaluate --compare {map}/{tile}*.keras {map}/seven.tflite --dataset shapes",
    "gcn_keras.evaluate {map}/seven.tflite --compare {map}/seven.tflite --dataset shapes",
    "gcn_keras.export {map}/missing.keras --out {map}/{out}",
    "gcn_keras.export {map}/seven.tflite --out {map}/{out}",
    "gcn_keras.export {map}/damaged.keras --out {map}/{out}",
    "gcn_keras.export {map}/damaged.keras --out {map}/{tile}.png",
    "gcn_keras.summary {map}/damaged.keras",
    "gcn_keras.summary {map}/damaged.keras --num-classes 3",
    "gcn_keras.receptive_field {map}/missing.keras {map}/{tile}.png",
    "gcn_keras.receptive_field {map}/damaged.keras {map}/{tile}.png",
    "gcn_keras.crf search {map}/missing.keras --dataset shapes",
    "gcn_keras.demo {map}/missing.keras",
    "gcn_keras.demo {map}/seven.tflite --examples {map}/missing",
    "gcn_keras.ablate table1 --weights resnet50={map}/missing.keras",
    "gcn_keras.ablate table1 --weights {map}/missing.keras",
    "gcn_keras.ablate table1 --rows {seed}",
    "gcn_keras.ablate table1 --options='{seed}",
    "gcn_keras.ablate table1 --options=--weights={weights}.keras",
    "gcn_keras.reproduce voc --options='{seed}",
    "gcn_keras.fit --weights {map}/missing.keras",
    "gcn_keras.fit --weights {map}/{tile}.png",
    "gcn_keras.fit --out {map}/{tile}.png",
    "gcn_keras.fit --cache {map}/{tile}.png",
    "gcn_keras.fit --callbacks {on_nan}",
    "gcn_keras.fit --callbacks {on_nan}:f",
    "gcn_keras.fit --show-batch {map}/{tile}.png",
    "gcn_keras.fit --show-batch {map}/{fold}/{tile}.png",
    "gcn_keras.fit --loss {batch}",
    "gcn_keras.fit --resume --out {map}/{resume}",
    "gcn_keras.fit --data-service {host}:{port}",
    "gcn_keras.fit --dataset image_folder --data-dir {map}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two folders of files, named in braces and by the other signs."""
    place = tmp_path_factory.mktemp("names")
    write_files(place / "{map}", lambda text: text)
    write_files(place / "«map»", lambda text: text.translate(OTHER_SIGNS))
    return place


def write_files(home, named):
    write_set(home / "stray", "{}\n{}", 99, "PNG", named)
    write_set(home / "numbered", "1 {}\n2 {}", 0, "PNG", named)
    write_set(home / "coloured", "{} #000000\n{} #010101", 1, "PNG", named)
    write_set(home / "no_classes", None, 0, "PNG", named)
    write_set(home / "jpeg", "{}\n{}", 1, "JPEG", named)
    write_set(home / "twice", "{0}\n{0}", 0, "PNG", named)
    (home / "empty").mkdir()
    (home / "no_labels" / "images").mkdir(parents=True)
    (home / "no_labels" / named("{fold}")).mkdir()
    for name in "damaged.keras", "damaged.tflite", "damaged.png":
        (home / name).write_text(named("{tile}"))
    for name, count in ("two", 2), ("seven", 7):
        shutil.copy(MODEL, home / f"{name}.tflite")
        legend = {"class_names": [], "palette": [[0, 0, n] for n in range(count)]}
        legend["class_names"] = [named(f"{{tile}} {n}") for n in range(count)]
        (home / f"{name}.json").write_text(json.dumps(legend))
    Image.new("RGB", (8, 8)).save(home / named("{tile}.png"))
    (home / named("{resume}")).mkdir()
    (home / named("{resume}") / "recipe.json").write_text(named("{seed}"))
    prepare("image_folder/x", home / "coloured", home / "data", accept_findings=True)


def write_set(folder, classes, value, kind, named):
    for name in "images", "labels":
        (folder / name).mkdir(parents=True)
    for name in "{group}", "{split}":
        Image.new("RGB", (8, 8)).save(folder / "images" / named(f"{name}.jpg"))
        mask = Image.fromarray(np.full((8, 8), value, np.uint8))
        mask.save(folder / "labels" / named(f"{name}.png"), kind)
    if classes is not None:
        (folder / "classes.txt").write_text(named(classes.format(*CLASSES)))


@pytest.fixture
def message(folder, monkeypatch, capsys):
    """From a command line to the exit status and the error that it ends with."""
    monkeypatch.chdir(folder)

    def run(command):
        module, *words = command.split()
        monkeypatch.setattr("sys.argv", [module, *words])
        with pytest.raises(SystemExit) as ended:
            run_command(importlib.import_module(module).main)
        _, error, text = capsys.readouterr().err.partition("error: ")
        assert error
        return ended.value.code, text

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_of_a_command(message, command):
    status, text = message(command)
    assert "{" in text and "\0" not in text and r"\x00" not in text
    other_status, other = message(command.translate(OTHER_SIGNS))
    assert status == other_status and lines(text) == lines(other)


def lines(text):
    """Their beginnings, and what follows the last ": ", each in the order of the letters.

    The order of the images in splits depends on their names, and so does which of several faults
    says what to do, where the others have "…".
    """
    parts = [line.rpartition(": ") for line in text.translate(OTHER_SIGNS).splitlines()]
    return sorted(start for start, _, _ in parts), sorted(end for _, _, end in parts)


def batches(home, split, **options):
    dataset = gcn_keras.load_dataset("image_folder/x", home / "data")
    return gcn_keras.training_batches(dataset, split, crop=(8, 8), batch_size=1, **options)


FUNCTIONS = [
    lambda home: gcn_keras.open_segmenter(home / "missing.keras"),
    lambda home: gcn_keras.open_segmenter(home / "damaged.tflite"),
    lambda home: gcn_keras.open_segmenter(home / "two.tflite"),
    lambda home: gcn_keras.load_model(home / "damaged.keras"),
    lambda home: gcn_keras.load_image(home / "damaged.png"),
    lambda home: gcn_keras.load_dataset("image_folder", home),
    lambda home: gcn_keras.load_dataset(f"{home.name}/x", home),
    lambda home: gcn_keras.gcn(3, backbone=home.name),
    lambda home: batches(home, home.name),
    lambda home: batches(home, "train", cache=home / "two.json"),
    lambda home: batches(home, "train", mode=home.name),
    lambda home: batches(home, "train", data_service=f"{home}:1"),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=map(str, range(len(FUNCTIONS))))
def test_of_a_function(folder, function, monkeypatch):
    monkeypatch.chdir(folder)
    texts = []
    for home in Path("{map}"), Path("«map»"):
        with pytest.raises((UserError, ValueError)) as caught:
            function(home)
        texts.append(str(caught.value))
    assert "{map}" in texts[0] and "\0" not in texts[0]
    assert texts[0].translate(OTHER_SIGNS) == texts[1]
