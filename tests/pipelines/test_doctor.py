import ctypes
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import forks
import numpy as np
import pytest
import tensorflow as tf
from miniatures import REPOSITORY, encoded, noise, save, write_pairs
from PIL import Image

from pipelines import datasets, doctor
from pipelines.base import encoding
from pipelines.base.errors import UsageError, UserError
from pipelines.base.labels import median_frequency_weights
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.examination import examine, findings, judgement, report
from pipelines.examination.damaged_records import read_records

CLASSES = ("sky", "road", "car")


@pytest.fixture
def prepared(tmp_path, data_dir) -> datasets.PreparedDataset:
    """Three train and two val pairs of 4x6 pixels; a label of each holds what its name says."""
    folder = tmp_path / "source"
    half = np.array([[0] * 6, [0] * 6, [1] * 6, [255] * 6], np.uint8)
    write_pairs(
        folder / "train", ["sky", "half", "void"], [np.zeros((4, 6), np.uint8), half, 255], (4, 6)
    )
    write_pairs(folder / "val", ["x", "y"], [1, 2], (4, 6))
    for seed, name in enumerate("xy"):
        path = folder / "val" / "images" / f"{name}.jpg"
        path.write_bytes(encoded(noise(4, 6, 50 + seed), "JPEG"))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return datasets.prepare("image_folder/small", folder, data_dir)


def shard(prepared, split) -> Path:
    (path,) = prepared.files[split]
    return Path(path)


def rewrite(prepared, split, change) -> None:
    """Writes a split's records anew, changed by `change(example)` behind preparation's back."""
    with tf.io.TFRecordWriter(f"{shard(prepared, split)}.new") as writer:
        for record in tf.data.TFRecordDataset(str(shard(prepared, split))):
            example = {key: value.numpy() for key, value in prepared.parse(record).items()}
            changed = {**example, **(change(example) or {})}
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in changed.items()
            }
            message = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(message.SerializeToString())
    Path(f"{shard(prepared, split)}.new").replace(shard(prepared, split))


def texts(result, kind):
    assert {finding.kind for finding in result.findings} <= {kind}
    return [finding.text for finding in result.findings]


def test_nothing_is_wrong(prepared):
    result = examine.examine(prepared)
    assert result.findings == []
    train = result.splits["train"]
    assert (train.records, train.expected, train.labels, train.void_throughout) == (3, 3, 3, 1)
    assert train.sizes == {(4, 6): 3} and train.sides() == ([4, 4, 4], [6, 6, 6])
    assert train.pixels[[0, 1, 2, 255]].tolist() == [24 + 12, 6, 0, 6 + 24]
    assert train.images_with[[0, 1, 2, 255]].tolist() == [2, 1, 0, 2]
    assert train.void_share() == 30 / 72
    assert result.splits["val"].pixels[:3].tolist() == [0, 24, 24]
    assert result.notes == [
        "train: nothing but void in 1 label",
        "train: never seen: car",
        "val: never seen: sky",
    ]
    assert sorted(sample.image_id for sample in result.samples) == ["half", "sky", "void", "x", "y"]


def test_weights_are_median_over_frequency():
    # Shares 0.6, 0.3, 0.1 of the valid pixels; the class that never occurs weighs nothing.
    weights = median_frequency_weights(np.array([60, 30, 10, 0]))
    np.testing.assert_allclose(weights, [0.5, 1.0, 3.0, 0.0])


def test_the_report_as_text(prepared):
    text = report.text_report(examine.examine(prepared), 10)
    assert text.startswith("image_folder/small: 3 classes, 5 examples in 2 splits")
    assert "  train         3      6       4  41.7 %       3" in text
    # 36 of 42 and 6 of 42 valid pixels; median share 1/2: weights 7/12 and 7/2.
    assert "  0  sky    85.71 %    never               2           0.583" in text
    assert "  1  road   14.29 %  50.00 %               1           3.500" in text
    assert "  2  car      never  50.00 %               0           0.000" in text
    assert text.endswith("Nothing is wrong.")


def test_one_split_alone(prepared):
    assert list(examine.examine(prepared, "val").splits) == ["val"]
    with pytest.raises(UsageError, match="has no split 'test'; it has: train, val$"):
        examine.examine(prepared, "test")


def test_values_that_are_no_class(prepared):
    stray = encoding.encode_label(np.full((4, 6), 7, np.uint8))
    rewrite(prepared, "val", lambda e: {"label": stray} if e["image_id"] == b"x" else None)
    assert texts(examine.examine(prepared), findings.LABELS) == [
        "val: the label of 'x' has the label value 7, but the classes are 0 sky, 1 road, 2 car, "
        "and 255 is void"
    ]


def test_a_colour_mask_taken_for_an_index_mask(prepared):
    colours = prepared.palette[np.array([[1, 2], [2, 1]])]
    gray = np.array(Image.fromarray(colours).convert("L").resize((6, 4), Image.NEAREST))
    rewrite(prepared, "val", lambda e: {"label": encoding.encode_label(gray)})
    found = texts(examine.examine(prepared), findings.LABELS)
    assert len(found) == 2
    assert all(t.endswith("a colour mask was taken for an index mask") for t in found)
    rgb = encoded(prepared.palette[np.zeros((4, 6), int)], "PNG")
    rewrite(prepared, "val", lambda e: {"label": rgb})
    found = texts(examine.examine(prepared, "val"), findings.LABELS)
    assert sorted(found) == [
        f"val: the label of {name!r} is a RGB image; an index mask has one channel whose values "
        "are the classes"
        for name in "xy"
    ]


def test_masks_of_0_and_255(prepared):
    binary = encoding.encode_label(np.array([[0, 255] * 3] * 4, np.uint8))
    rewrite(prepared, "val", lambda e: {"label": binary})
    assert texts(examine.examine(prepared), findings.BALANCE) == [
        "val: all labels hold only 0 and 255: masks of 0 and 255 were taken for index masks, in "
        "which 255 is void and 'road' is 1"
    ]


@pytest.mark.parametrize("form", ["colours", "annotations"])
def test_a_split_of_class_0_and_void_by_other_masks_than_index_masks(tmp_path, data_dir, form):
    """Left half of class 0, right half void: in val; of class 1 and void in train."""
    for split, name, colour in (("train", "disc", (255, 0, 0)), ("val", "background", (0, 0, 0))):
        (tmp_path / split).mkdir()
        save(tmp_path / split / f"{split}.jpg", noise(4, 6, len(split)))
        if form == "colours":
            mask = np.full((4, 6, 3), 255, np.uint8)
            mask[:, :3] = colour
            save(tmp_path / split / f"{split}.png", mask)
        else:
            shapes = [
                {"label": name, "shape_type": "rectangle", "points": [[left, 0], [left + 2, 3]]}
                for left, name in ((0, name), (3, "void"))
            ]
            content = {"shapes": shapes, "imagePath": f"{split}.jpg"}
            (tmp_path / split / f"{split}.json").write_text(json.dumps(content))
    colours = form == "colours"
    (tmp_path / "classes.txt").write_text(
        "background #000000\ndisc #ff0000" if colours else "background\ndisc"
    )
    options = FolderOptions(void=("#ffffff",)) if colours else None
    prepared = datasets.prepare(
        "image_folder/small", tmp_path, data_dir, options=options, accept_findings=True
    )
    assert prepared.label_pixels == {"train": (0, 12, 12), "val": (12, 0, 12)}
    result = examine.examine(prepared)
    one_class = "train: every pixel is 'disc' or void (255)"
    assert texts(result, findings.BALANCE) == [one_class] and len(result.findings) == 1
    assert result.notes == [
        "train: never seen: background",
        "val: only 0 and 255 (void) in 1 label",
        "val: never seen: disc",
    ]
    # Preparation did not always record what masks there were.
    metadata = shard(prepared, "val").with_name("metadata.json")
    content = json.loads(metadata.read_text())
    assert content.pop("index_masks") is False
    metadata.write_text(json.dumps(content))
    again = datasets.load("image_folder/small", data_dir)
    first, text = texts(examine.examine(again), findings.BALANCE)
    assert first == one_class
    assert text.startswith("val: all labels hold only 0 and 255: masks of 0 and 255 were taken for")


def test_a_split_of_nothing_but_void(prepared):
    void = encoding.encode_label(np.full((4, 6), 255, np.uint8))
    rewrite(prepared, "val", lambda e: {"label": void})
    assert texts(examine.examine(prepared), findings.BALANCE) == ["val: every pixel is void (255)"]


def test_files_that_cannot_be_read(prepared):
    def damage(example):
        if example["image_id"] == b"x":
            return {"image": example["image"][:100]}
        return {"label": example["label"][:-20]}

    rewrite(prepared, "val", damage)
    found = {(f.kind, f.text) for f in examine.examine(prepared).findings}
    assert found == {
        (
            findings.IMAGES,
            "val: the image of 'x' cannot be decoded: it is truncated or damaged",
        ),
        (
            findings.LABELS,
            "val: the label of 'y' cannot be decoded: it is truncated or damaged",
        ),
        # x's label is whole, y's is not: what is left has one class.
    }


def test_sizes_that_differ(prepared):
    other = encoding.encode_label(np.zeros((6, 4), np.uint8))
    rewrite(prepared, "val", lambda e: {"label": other} if e["image_id"] == b"y" else None)
    assert texts(examine.examine(prepared), findings.SIZES) == [
        "val: the label of 'y' is 4x6 pixels, but its image is 6x4"
    ]


def test_a_validation_image_in_the_training_split(prepared):
    (first,) = (
        example["image"].numpy()
        for example in tf.data.TFRecordDataset(list(prepared.files["val"])).map(prepared.parse)
        if example["image_id"] == b"x"
    )
    pixels = np.array(Image.open(io.BytesIO(first)))
    again = encoded(pixels, "PNG")  # another file, the same pixels

    def leak(example):
        return {b"sky": {"image": first}, b"half": {"image": again}}.get(example["image_id"])

    rewrite(prepared, "train", leak)
    result = examine.examine(prepared)
    (text,) = texts(result, findings.LEAKS)
    assert text.startswith("val: 'x' is '") and " of train, the same " in text
    assert any(note.startswith("train: 1 image twice or more, such as ") for note in result.notes)


def test_images_that_splits_share_by_definition(prepared):
    same = encoded(noise(4, 6, 99), "PNG")
    rewrite(prepared, "train", lambda e: {"image": same} if e["image_id"] == b"sky" else None)
    rewrite(prepared, "val", lambda e: {"image": same} if e["image_id"] == b"y" else None)
    assert texts(examine.examine(prepared), findings.LEAKS) == [
        "val: 'y' is 'sky' of train, the same file"
    ]
    declared = replace(prepared, overlapping_splits=(("val", "train"),))
    result = examine.examine(declared)
    assert result.findings == []
    assert "train and val share 1 image, as intended" in result.notes


@pytest.mark.parametrize(
    "split, held_out",
    [
        ("val", True),
        ("validation", True),
        ("valid", True),
        ("minival", True),
        ("Dev", True),
        ("test", True),
        ("testing", True),
        ("test_easy", True),
        ("train", False),
        ("trainval", False),
        ("trainaug", False),
        ("coarse", False),
    ],
)
def test_which_splits_are_held_out(split, held_out):
    assert judgement.is_held_out(split) is held_out


def test_a_palette_label(prepared):
    indexed = Image.fromarray(np.full((4, 6), 1, np.uint8), "P")
    indexed.putpalette(prepared.palette.ravel().tolist())
    buffer = io.BytesIO()
    indexed.save(buffer, format="PNG")
    rewrite(
        prepared, "val", lambda e: {"label": buffer.getvalue()} if e["image_id"] == b"x" else None
    )
    assert texts(examine.examine(prepared), findings.LABELS) == [
        "val: the label of 'x' is a palette PNG, of which the stream would read the colours as "
        "gray values; store the indices as 8-bit grayscale"
    ]


def test_long_lists_are_cut_and_counted(prepared):
    result = examine.examine(prepared)
    result.findings = [findings.Finding(findings.IMAGES, f"no {i}") for i in range(12)]
    text = report.text_report(result, 2)
    assert text.endswith(
        "WRONG: images that cannot be used (12)\n  no 0\n  no 1\n  and 10 more\n\n"
        "12 things are wrong."
    )
    page = report.html_report(result, b"png", 2)
    assert "<li>no 1</li>" in page and "<li>no 2</li>" not in page and "and 10 more" in page


def test_names_are_text_in_the_page(prepared):
    result = examine.examine(replace(prepared, class_names=("<b>", "a & b", "car")))
    page = report.html_report(result, b"png", 2)
    assert "&lt;b&gt;" in page and "a &amp; b" in page and "<b>" not in page


def test_a_damaged_record_is_passed_over(prepared):
    data = bytearray(shard(prepared, "train").read_bytes())
    data[40] ^= 1  # in the first record
    shard(prepared, "train").write_bytes(bytes(data))
    result = examine.examine(prepared)
    assert texts(result, findings.RECORDS) == [
        f"{shard(prepared, 'train').name}, record 0: its checksum is wrong: the record is damaged"
    ]
    assert result.splits["train"].records == 3 and result.splits["train"].labels == 2


def test_records_behind_a_damaged_one_are_read(prepared):
    path = shard(prepared, "train")
    whole = [record.data for record in read_records(path)]
    second = 12 + len(whole[0]) + 4  # each record has 12 bytes before it and 4 behind
    data = bytearray(path.read_bytes())
    data[second + 12 + 40] ^= 1
    path.write_bytes(bytes(data))
    found = list(read_records(path))
    assert [record.number for record in found] == [0, 1, 2]
    assert [record.data for record in found] == [whole[0], None, whole[2]]
    assert found[1].where() == f"{path.name}, record 1"


def test_behind_a_damaged_length_nothing_can_be_read(prepared):
    path = shard(prepared, "train")
    second = 12 + len(next(read_records(path)).data) + 4
    data = bytearray(path.read_bytes())
    data[second] ^= 1
    path.write_bytes(bytes(data))
    found = {(f.kind, f.text) for f in examine.examine(prepared).findings}
    assert found == {
        (
            findings.RECORDS,
            f"{path.name}, record 1: its length is damaged; the rest is out of reach",
        ),
        (
            findings.COUNTS,
            f"train: {path.name} holds 2 examples, dataset_info.json says 3",
        ),
    }


def test_a_file_cut_between_two_records(prepared):
    path = shard(prepared, "train")
    first = next(read_records(path)).data
    path.write_bytes(path.read_bytes()[: 12 + len(first) + 4])
    found = [f.text for f in examine.examine(prepared).findings if f.kind == findings.COUNTS]
    assert found == [f"train: {path.name} holds 1 example, dataset_info.json says 3"]


def test_a_truncated_file(prepared):
    data = shard(prepared, "train").read_bytes()
    shard(prepared, "train").write_bytes(data[:-10])
    result = examine.examine(prepared)
    assert texts(result, findings.RECORDS) == [
        f"{shard(prepared, 'train').name}, record 2: the file is truncated: it ends at byte "
        f"{len(data) - 10:,}"
    ]


def test_a_missing_file_and_records_that_are_gone(prepared):
    shard(prepared, "val").unlink()
    found = {(f.kind, f.text) for f in examine.examine(prepared).findings}
    assert found == {
        (findings.RECORDS, f"{shard(prepared, 'val').name}: the file is missing"),
        (
            findings.COUNTS,
            f"val: {shard(prepared, 'val').name} holds 0 examples, dataset_info.json says 2",
        ),
    }


def test_a_record_of_something_else(prepared):
    with tf.io.TFRecordWriter(str(shard(prepared, "val"))) as writer:
        writer.write(b"no example")
        writer.write(b"nor this")
    found = texts(examine.examine(prepared), findings.RECORDS)
    assert len(found) == 2
    assert found[0].startswith(f"{shard(prepared, 'val').name}, record 0: holds no example of this")


def test_unlabelled_splits_are_no_fault(prepared):
    void = encoding.encode_label(np.full((4, 6), 255, np.uint8))
    rewrite(prepared, "val", lambda e: {"label": void})
    result = examine.examine(replace(prepared, unlabelled_splits=("val",)))
    assert result.findings == []
    assert "none, as intended" in report.text_report(result, 1)


def test_what_preparation_left_out_is_told(tmp_path, data_dir):
    write_pairs(tmp_path / "source" / "train", "abc", [0, 1, 2])
    write_pairs(tmp_path / "source" / "val", "d", [1])
    (tmp_path / "source" / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "source" / "train" / "labels" / "b.png").write_bytes(b"")
    datasets.prepare("image_folder/small", tmp_path / "source", data_dir, skip_errors=True)
    result = examine.examine(datasets.load("image_folder/small", data_dir))
    told = "small train: preparation left out 1 example that could not be used"
    assert result.notes[0] == told


def test_labels_of_0_alone_and_of_255_alone(prepared):
    """No label holds both, as where each mask is all object or all background."""
    masks = iter([np.zeros((4, 6), np.uint8), np.full((4, 6), 255, np.uint8)])
    rewrite(prepared, "val", lambda e: {"label": encoding.encode_label(next(masks))})
    (text,) = texts(examine.examine(prepared), findings.BALANCE)
    assert text.startswith("val: all labels hold only 0 and 255: masks of 0 and 255 were taken for")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features.json", '"image_id"', '"mage_id"'),
        ("features.json", '"label"', '"lable"'),
        ("metadata.json", '"class_names": ["', '"class_names": [7, "'),
    ],
)
def test_information_without_what_is_needed(prepared, data_dir, file, old, new):
    path = shard(prepared, "train").with_name(file)
    content = path.read_text()
    assert content.count(old) == 1
    path.write_text(content.replace(old, new))
    with pytest.raises(UserError, match=f"^{path.parent} has a damaged dataset_info.json"):
        datasets.load("image_folder/small", data_dir)


def test_damaged_information_is_one_sentence(prepared, data_dir):
    path = shard(prepared, "train").parent / "dataset_info.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=f"^{path.parent} has a damaged dataset_info.json"):
        datasets.load("image_folder/small", data_dir)


def run(*arguments, **options):
    """In a process that is executed: privileges are lost there, and not in a fork."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.doctor", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        **options,
    )


def without_privileges():
    """Lets permissions count for root, too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP


@pytest.mark.slow
def test_a_data_directory_that_cannot_be_written(prepared, data_dir, tmp_path):
    folders = [path for path in (data_dir, *data_dir.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        before = sorted(data_dir.rglob("*"))
        done = run("image_folder/small", "--data-dir", data_dir, preexec_fn=without_privileges)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(
            "Nothing is wrong.\n"
            f"contact sheet: none, as {shard(prepared, 'val').parent} cannot be written; --sheet "
            "FILE makes one\n"
        )
        assert sorted(data_dir.rglob("*")) == before
        sheet = tmp_path / "sheet.png"
        done = run(
            *("image_folder/small", "--data-dir", data_dir, "--sheet", sheet),
            preexec_fn=without_privileges,
        )
        assert done.returncode == 0 and sheet.is_file()
        done = run(
            *("image_folder/small", "--data-dir", data_dir, "--html", data_dir / "x.html"),
            preexec_fn=without_privileges,
        )
        assert done.returncode == 1
        assert done.stderr == f"error: cannot write to {data_dir}: {data_dir}: Permission denied\n"
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["dataset_info.json", "records"])
def test_what_may_not_be_read_is_not_called_damaged(prepared, data_dir, file):
    path = shard(prepared, "train")
    path = path if file == "records" else path.with_name(file)
    path.chmod(0)
    done = run("image_folder/small", "--data-dir", data_dir, preexec_fn=without_privileges)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {path} cannot be read: Permission denied"


@pytest.mark.parametrize("option, argument", [("--html", "page"), ("--sheet", "sheet")])
def test_files_of_another_origin_stay(prepared, data_dir, tmp_path, option, argument):
    file = tmp_path / "file"
    doctor.doctor("image_folder/small", data_dir, **{argument: file})
    doctor.doctor("image_folder/small", data_dir, **{argument: file})  # over its own
    file.write_text("<html>python -m pipelines.doctor</html>")
    with pytest.raises(UsageError) as caught:
        doctor.doctor("image_folder/small", data_dir, **{argument: file})
    assert str(caught.value) == (
        f"{option} {file} would be written over, and is of another origin: name another file"
    )
    assert file.read_text() == "<html>python -m pipelines.doctor</html>"


def test_page_and_contact_sheet_are_two_files(prepared, data_dir, tmp_path):
    file = tmp_path / "a.png"
    with pytest.raises(UsageError) as caught:
        doctor.doctor(
            "image_folder/small", data_dir, page=file, sheet=tmp_path / "b" / ".." / "a.png"
        )
    assert str(caught.value) == f"--html and --sheet are both {file}: give two files"
    beside = shard(prepared, "val").with_name("doctor.png")
    with pytest.raises(UsageError) as caught:
        doctor.doctor("image_folder/small", data_dir, page=beside)
    assert str(caught.value) == f"--html and --sheet are both {beside}: give two files"
    assert not file.exists() and not beside.exists()


@pytest.mark.parametrize("option, argument", [("--html", "page"), ("--sheet", "sheet")])
def test_what_is_no_file_is_told_before_a_record_is_read(
    prepared, data_dir, tmp_path, option, argument, monkeypatch
):
    monkeypatch.setattr(datasets, "load", None)
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "fifo", "a FIFO")):
        with pytest.raises(UsageError) as caught:
            doctor.doctor("image_folder/small", data_dir, **{argument: path})
        assert str(caught.value) == f"{option} {path} is {kind}: name a file"


@pytest.mark.slow
def test_its_contact_sheet_is_no_image_of_the_folder_that_was_prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        save(Path(f"{number}.jpg"), noise(4, 6, number))
        save(Path(f"{number}.png"), np.full((4, 6), number, np.uint8))
    Path("classes.txt").write_text("\n".join(CLASSES))
    splits = datasets.prepare("image_folder/small", ".", "data").splits
    assert doctor.doctor("image_folder/small", Path("data")) == 0
    assert [path.name for path in Path().rglob("*doctor.png")] == ["doctor.png"]
    again = datasets.prepare("image_folder/small", ".", "data", overwrite=True)
    assert again.splits == splits == {"train": 2, "val": 1}


@pytest.mark.parametrize("name", ["stage1", "stage1/2014"])
def test_the_contact_sheet_of_a_mixture_is_in_the_data_directory(name, data_dir, monkeypatch):
    monkeypatch.setattr(datasets, "check_prepared", lambda *_: None)
    beside = data_dir / f"{name.replace('/', '-')}-doctor.png"
    with pytest.raises(UsageError) as caught:
        doctor.doctor(name, data_dir, page=beside)
    assert str(caught.value) == f"--html and --sheet are both {beside}: give two files"


def test_a_set_of_classified_images_is_none_to_examine(data_dir):
    with pytest.raises(UsageError) as caught:
        doctor.doctor("imagenet2012", data_dir)
    assert str(caught.value) == (
        "'imagenet2012' has no label maps, which are what this command examines"
    )


@pytest.mark.slow
def test_the_command(prepared, data_dir, tmp_path):
    page = tmp_path / "page.html"
    done = forks.run(
        "pipelines.doctor", "image_folder/small", "--data-dir", data_dir, "--html", page
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing is wrong.\ncontact sheet: " in done.stdout
    sheet = Image.open(shard(prepared, "val").with_name("doctor.png"))
    # The legend shows every class in its colour.
    colours = {colour for _, colour in sheet.convert("RGB").getcolors(2**24)}
    assert {tuple(prepared.palette[i]) for i in (0, 1, 2)} <= colours
    text = page.read_text()
    assert "Nothing is wrong." in text and "data:image/png;base64," in text
    assert "http" not in text  # needs no other file
    shard(prepared, "val").write_bytes(b"")
    done = forks.run("pipelines.doctor", "image_folder/small", "--data-dir", data_dir)
    assert done.returncode == 1
    assert "WRONG: examples missing or left over (1)" in done.stdout
    assert "delete " in done.stdout and "prepare the data set anew" in done.stdout
    done = forks.run(
        "pipelines.doctor", "image_folder/small", "--data-dir", data_dir, "--split", "test"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("has no split 'test'; it has: train, val")
    done = forks.run("pipelines.doctor", "camvid", "--data-dir", data_dir)
    assert done.returncode == 1 and "is not prepared in" in done.stderr
