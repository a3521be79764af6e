import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from miniatures import REPOSITORY, noise, save, write_pairs
from PIL import Image

from pipelines import datasets
from pipelines.base import encoding, labels
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.base.files import writing_in
from pipelines.building import image_label
from pipelines.stream.evaluation import evaluation_examples
from pipelines.stream.record_order import open_records


def recorded(prepared, split):
    """Image bytes, label bytes by image id."""
    examples = open_records(list(prepared.files[split])).map(prepared.parse)
    return {
        example["image_id"].numpy().decode(): (example["image"].numpy(), example["label"].numpy())
        for example in examples
    }


def test_validation_split():
    def prepared(*splits):
        return datasets.PreparedDataset(
            "a", ("x", "y"), None, dict.fromkeys(splits, 1), {}, {}, {}, None
        )

    assert prepared("train", "val").validation_split() == "val"
    assert prepared("train", "validation", "test").validation_split() == "validation"
    assert prepared("train", "val", "test").validation_split("test") == "test"
    with pytest.raises(UsageError, match="^'a' has no split 'nope'; it has: train, val$"):
        prepared("train", "val").validation_split("nope")
    with pytest.raises(UsageError, match="^'a' has no split 'val' or 'validation'; it has: test$"):
        prepared("test").validation_split()


def test_a_mixture_is_prepared_with_all_its_parts(tmp_path):
    for part in ("coco_voc", "voc2012_sbd"):
        assert not datasets.is_prepared("stage1", tmp_path)
        folder = datasets.prepared_folder(part, tmp_path)
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert datasets.is_prepared("stage1", tmp_path)


def test_image_folder_round_trip(source, data_dir):
    save(source / "images" / "e.png", noise(5, 9, 9))
    label = np.array([[0, 1, 2, 255, 0, 1, 2, 255, 0]] * 5, np.uint8)
    save(source / "labels" / "e.png", label)
    datasets.prepare("image_folder", source, data_dir)
    for path in sorted(source.rglob("*"), reverse=True):  # nothing but data_dir is needed
        path.rename(path.with_name(f"gone {path.name}"))
    prepared = datasets.load("image_folder", data_dir)
    assert prepared.name == "image_folder"
    assert prepared.class_names == ("sky", "road", "car") and prepared.num_classes == 3
    assert prepared.splits == {"train": 4, "val": 1}
    assert prepared.palette[:3].tolist() == labels.distinct_colours()[:3].tolist()
    assert np.array_equal(prepared.palette[3:], labels.palette()[3:])
    found = {}
    for split in prepared.splits:
        for example in evaluation_examples(prepared, split):
            found[example["image_id"].numpy().decode()] = example
    assert sorted(found) == list("abcde")
    assert np.array_equal(found["e"]["image"], noise(5, 9, 9))
    assert np.array_equal(found["e"]["label"], label)
    assert (found["d"]["label"].numpy() == 255).all()


def test_image_bytes_are_recorded_as_they_are(split_source, data_dir):
    save(split_source / "train" / "images" / "z.png", noise(4, 4))
    save(split_source / "train" / "labels" / "z.png", np.zeros((4, 4), np.uint8))
    prepared = datasets.prepare("image_folder", split_source, data_dir)
    found = recorded(prepared, "train")
    assert sorted(found) == list("abcdefz")
    for path in (split_source / "train" / "images").iterdir():
        assert found[path.stem][0] == path.read_bytes()


def test_tfds_itself_can_read_what_was_written(ten):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(Path(ten.files["val"][0]).parent)
    (example,) = builder.as_dataset(split="val")
    assert example["image"].shape == (5, 7, 3) and example["label"].shape == (5, 7, 1)
    assert example["image_id"].numpy() == b"x"


def test_camvid_maps_unlabelled_to_void(tmp_path, data_dir):
    for split in ("train", "val", "test"):
        write_pairs(tmp_path / "camvid" / split, ["x", "y"], [10, 11])
    prepared = datasets.prepare("camvid", tmp_path / "camvid", data_dir)
    assert prepared.class_names == labels.CAMVID_CLASSES
    assert prepared.splits == {"train": 2, "val": 2, "test": 2}
    assert prepared.palette[3].tolist() == [128, 64, 128]
    values = {
        example["image_id"].numpy().decode(): np.unique(example["label"]).tolist()
        for example in evaluation_examples(prepared, "test")
    }
    assert values == {"x": [10], "y": [255]}


def test_two_folders_in_one_data_dir(source, tmp_path, data_dir):
    other = tmp_path / "other"
    write_pairs(other, ["p", "q"], [np.array([[0, 1]], np.uint8)] * 2)
    (other / "classes.txt").write_text("rest\nthing\n")
    datasets.prepare("image_folder/one", source, data_dir)
    datasets.prepare("image_folder/two", other, data_dir)
    assert datasets.load("image_folder/one", data_dir).num_classes == 3
    assert datasets.load("image_folder/two", data_dir).class_names == ("rest", "thing")
    with pytest.raises(UserError, match="'image_folder' is not prepared"):
        datasets.load("image_folder", data_dir)


@pytest.fixture
def small_shapes(monkeypatch):
    from pipelines.datasets.shapes import shapes_dataset_builder

    monkeypatch.setattr(shapes_dataset_builder, "SPLITS", {"train": 3, "validation": 2, "test": 1})
    return shapes_dataset_builder


def test_shapes_are_generated_on_first_use(small_shapes, data_dir, capsys):
    from pipelines.datasets.shapes import scenes

    prepared = datasets.load("shapes", data_dir)
    assert f"generating into {data_dir}/shapes/1" in capsys.readouterr().out
    assert prepared.splits == {"train": 3, "validation": 2, "test": 1}
    assert prepared.class_names == scenes.CLASS_NAMES
    found = {e["image_id"].numpy().decode(): e for e in evaluation_examples(prepared, "validation")}
    assert sorted(found) == ["validation_00000", "validation_00001"]
    image, label = scenes.render_scene(np.random.default_rng((0, 1, 1)), size=128)
    assert np.array_equal(found["validation_00001"]["label"], label)
    decoded = found["validation_00001"]["image"].numpy()
    assert np.abs(decoded.astype(int) - image).mean() < 6  # JPEG of a noisy scene
    datasets.load("shapes", data_dir)
    assert capsys.readouterr().out == ""


def test_shapes_are_the_same_everywhere(small_shapes, tmp_path):
    first, second = (
        recorded(datasets.load("shapes", tmp_path / name), "train") for name in ("one", "two")
    )
    assert first == second and len(set(first.values())) == 3
    assert small_shapes.render_example("train", 0, 2)[1]["image"] == first["train_00002"][0]


def test_jpegs_are_baseline_and_not_subsampled():
    shape = tf.io.extract_jpeg_shape(encoding.encode_jpeg(noise(8, 9)))
    assert shape.numpy().tolist() == [8, 9, 3]
    data = encoding.encode_jpeg(noise(8, 9))
    start = data.index(b"\xff\xc0")  # baseline frame header
    assert data[start + 11] == 0x11  # sampling factors of the first component


@pytest.mark.parametrize(
    "name, message",
    [
        ("camvids", "no data set 'camvids' (did you mean 'camvid'?); there are: shapes, camvid"),
        (
            "zzz",
            "no data set 'zzz'; there are: shapes, camvid, image_folder/NAME (your own), voc",
        ),
        ("shapes/big", "'shapes' is a single data set, got 'shapes/big'"),
        ("image_folder/", "'image_folder/' cannot name a data set"),
        (
            "image_folder/_mine",
            "'image_folder/_mine' cannot name a data set: a letter (a to z) or digit, and then "
            "these, '_', '-' and '.' after the slash",
        ),
        ("image_folder/../x", "'image_folder/../x' cannot name a data set"),
    ],
)
def test_names(name, message, data_dir):
    for call in (datasets.load, lambda name, data_dir: datasets.prepare(name, None, data_dir)):
        with pytest.raises(UsageError) as caught:
            call(name, data_dir)
        assert message in str(caught.value)
    assert not data_dir.exists()


def test_a_set_that_is_not_prepared_names_the_command(data_dir):
    with pytest.raises(UserError) as caught:
        datasets.load("camvid", data_dir)
    assert str(caught.value) == (
        f"'camvid' is not prepared in {data_dir} (looked for {data_dir}/camvid/1.0.0); prepare it "
        f"with: python -m pipelines.prepare camvid --from DIR --data-dir {data_dir}"
    )


def test_sources(tmp_path, data_dir):
    with pytest.raises(UsageError, match="'shapes' is generated and takes no source, got 'x'"):
        datasets.prepare("shapes", "x", data_dir)
    message = "'camvid' needs the folder .*--from DIR"
    with pytest.raises(UsageError, match=message), as_options(source="from"):
        datasets.prepare("camvid", None, data_dir)
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/none"):
        datasets.prepare("camvid", tmp_path / "none", data_dir)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=f"the folder {tmp_path}/bare is empty"):
        datasets.prepare("camvid", tmp_path / "bare", data_dir)


def test_a_data_dir_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot prepare 'image_folder' in {tmp_path}/file"):
        datasets.prepare("image_folder", source, tmp_path / "file")


def test_a_full_disk(source, data_dir, monkeypatch):
    from tensorflow_datasets.core import writer

    def finalize(self):
        raise tf.errors.ResourceExhaustedError(None, None, "x.tfrecord; No space left on device")

    monkeypatch.setattr(writer.Writer, "finalize", finalize)
    with pytest.raises(UserError) as caught:
        datasets.prepare("image_folder", source, data_dir)
    assert str(caught.value) == (
        f"cannot prepare 'image_folder' in {data_dir}: x.tfrecord; No space left on device"
    )
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []


def test_errors_of_the_program_are_not_hidden(source, data_dir, monkeypatch):
    def make_example(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(image_label, "make_example", make_example)
    with pytest.raises(RuntimeError, match="a bug"):
        datasets.prepare("image_folder", source, data_dir)


def test_a_set_is_built_once(source, data_dir):
    datasets.prepare("image_folder", source, data_dir)
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    datasets.prepare("image_folder", source, data_dir)
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")} == before


def test_an_interrupt_leaves_nothing(source, data_dir, monkeypatch):
    reads = []

    def make_example(*arguments, **options):
        reads.append(arguments)
        if len(reads) == 4:  # in the second split: the first one has been written
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = image_label.make_example
    monkeypatch.setattr(image_label, "make_example", make_example)
    with pytest.raises(KeyboardInterrupt):
        datasets.prepare("image_folder", source, data_dir)
    assert not datasets.is_prepared("image_folder", data_dir)
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert datasets.prepare("image_folder", source, data_dir).splits == {"train": 3, "val": 1}


def test_what_a_killed_preparation_left_is_removed(source, data_dir):
    folder = data_dir / "image_folder" / "default"
    left = folder / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    (left / "image_folder-train.tfrecord-00000-of-00001").write_text("")
    (folder / "mine").mkdir()
    datasets.prepare("image_folder", source, data_dir)
    assert sorted(path.name for path in folder.iterdir()) == ["1.0.0", "mine"]


def test_what_a_living_preparation_writes_is_left(source, data_dir):
    """It may be another process: a lock of the folder tells."""
    folder = data_dir / "image_folder" / "default"
    program = f"""
        from pathlib import Path
        from pipelines.base.files import writing_in
        folder = Path({str(folder)!r})
        with writing_in(folder):
            (folder / "incomplete.ABCDEF_1.0.0").mkdir()
            print("writing", flush=True)
            input()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": REPOSITORY}
    with subprocess.Popen(command, **pipes) as writer:
        assert writer.stdout.readline() == b"writing\n"
        datasets.prepare("image_folder", source, data_dir)
        assert (folder / "incomplete.ABCDEF_1.0.0").exists()
        writer.communicate(b"\n")
    with writing_in(folder):
        assert [path.name for path in folder.iterdir()] == ["1.0.0"]


def test_two_preparations_at_once(source, data_dir, monkeypatch, capsys):
    def make_example(*arguments, **options):
        monkeypatch.setattr(image_label, "make_example", original)
        datasets.prepare("image_folder", source, data_dir)  # the faster one
        return original(*arguments, **options)

    original = image_label.make_example
    monkeypatch.setattr(image_label, "make_example", make_example)
    prepared = datasets.prepare("image_folder", source, data_dir)
    assert prepared.splits == {"train": 3, "val": 1}
    assert "another process has prepared it meanwhile" in capsys.readouterr().err
    (folder,) = (data_dir / "image_folder" / "default").iterdir()
    assert folder.name == "1.0.0"


@pytest.mark.slow
def test_a_killed_preparation_does_not_look_finished(source, data_dir):
    program = f"""
        import os
        from pipelines import datasets
        from pipelines.building import image_label
        make_example = image_label.make_example
        image_label.make_example = lambda pair, *rest: (
            os._exit(9) if pair.image.parents[1].name == "val" else make_example(pair, *rest)
        )
        datasets.prepare("image_folder", {str(source)!r}, {str(data_dir)!r})
    """
    for split, names in (("train", "abc"), ("val", "d")):
        write_pairs(source / split, names, range(len(names)))
    for flat in ("images", "labels"):
        (source / flat).rename(source / f"old {flat}")
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, capture_output=True
    )
    assert killed.returncode == 9, killed.stderr
    assert any(path.is_file() for path in data_dir.rglob("*"))  # it was under way
    with pytest.raises(UserError, match="is not prepared"):
        datasets.load("image_folder", data_dir)
    assert datasets.prepare("image_folder", source, data_dir).splits == {"train": 3, "val": 1}
    assert datasets.load("image_folder", data_dir).num_classes == 3


def test_label_encoding_refuses_what_is_no_label_map():
    with pytest.raises(ValueError, match="int64"):
        encoding.encode_label(np.zeros((2, 2), np.int64))
    label = np.array([[0, 255]], np.uint8)
    png = encoding.encode_label(label)
    Image.open(io.BytesIO(png)).verify()  # the checksums
    assert np.array_equal(Image.open(io.BytesIO(png)), label)
    assert np.array_equal(tf.io.decode_png(png)[..., 0], label)


@pytest.mark.parametrize(
    "file, path, value",
    [
        ("dataset_info.json", ["splits"], []),
        ("dataset_info.json", ["splits", 0, "shardLengths"], []),
        ("dataset_info.json", ["splits", 0, "shardLengths"], ["0"]),
        ("dataset_info.json", ["splits", 0, "shardLengths"], ["-1"]),
        ("dataset_info.json", ["splits", 0], None),
        ("dataset_info.json", ["fileFormat"], "tapes"),
        ("features.json", ["featuresDict"], {}),
        ("features.json", ["featuresDict", "features", "image"], None),
        ("features.json", ["pythonClassName"], "os.system"),
        ("metadata.json", ["class_names"], ["sky", "road"]),
        ("metadata.json", ["class_names"], ["sky", "", "car"]),
        ("metadata.json", ["class_names"], "sky"),
        ("metadata.json", ["label_pixels", "train"], 5),
        ("metadata.json", ["label_pixels", "train"], [4, 4, 4]),  # and none of void
    ],
)
def test_damaged_descriptions(source, data_dir, file, path, value):
    """Sound JSON, and yet no description of a data set: one sentence, before anything is read."""
    datasets.prepare("image_folder", source, data_dir)
    folder = datasets.prepared_folder("image_folder", data_dir)
    content = json.loads((folder / file).read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(content))
    start = f"^{folder} has a damaged dataset_info.json, features.json or metadata.json "
    with pytest.raises(UserError, match=start + ".*; delete the folder and prepare the data set"):
        datasets.load("image_folder", data_dir)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load(3), "the name of a data set must be a string, got 3"),
        (lambda: datasets.load(None), "the name of a data set must be a string, got None"),
        (
            lambda: datasets.load("image_folder", None),
            "data_dir must be a folder's path, got None",
        ),
        (lambda: datasets.prepare("image_folder", 3), "source must be a folder's path, got 3"),
        (
            lambda: datasets.prepare("image_folder", "x", options={"binary": True}),
            "options must be FolderOptions or TfdsOptions, got {'binary': True}",
        ),
    ],
)
def test_arguments_of_another_kind(call, message):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message
