"""VOC 2012 with the SBD, from miniature trees with the layout of the real archives."""

import itertools
import re
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import builder_case
import numpy as np
import pytest
import scipy.io
from file_server import FileServer
from miniatures import (
    encoded,
    noise,
    pack_tar,
    save,
    sbd_label,
    voc_label,
    write_mat,
    write_sbd,
    write_voc,
)
from PIL import Image

from pipelines import datasets
from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.building.folders import Pair
from pipelines.datasets.voc2012_sbd import mat_files
from pipelines.datasets.voc2012_sbd import voc2012_sbd_dataset_builder as voc2012_sbd
from pipelines.stream.evaluation import evaluation_examples
from pipelines.stream.record_order import open_records

SPLITS = {"train": 2, "trainaug": 4, "val": 3, "trainval": 5, "test": 1}


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_sbd(write_voc(tmp_path / "tree"))


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory) -> Path:
    """Not to be changed."""
    return write_sbd(write_voc(tmp_path_factory.mktemp("voc")))


@pytest.fixture(scope="module")
def prepared(shared_tree, tmp_path_factory) -> datasets.PreparedDataset:
    return datasets.prepare("voc2012_sbd", shared_tree, tmp_path_factory.mktemp("data"))


def label_maps(prepared, split) -> dict[str, np.ndarray]:
    return {
        example["image_id"].numpy().decode(): example["label"].numpy()
        for example in evaluation_examples(prepared, split)
    }


def pack(tmp_path, test: bool = True) -> Path:
    """Makes the three archives; those of VOC have JPEGImages/ in common, as the real ones."""
    folder = tmp_path / "archives"
    pack_tar(write_voc(tmp_path / "voc", test=False), folder / "VOCtrainval_11-May-2012.tar")
    pack_tar(write_sbd(tmp_path / "sbd"), folder / "benchmark.tgz", "w:gz")
    if test:
        root = write_voc(tmp_path / "test") / "VOCdevkit" / "VOC2012"
        for path in [path for path in root.rglob("*.*") if path.is_file()]:
            if path.stem != "2008_000006" and path.name != "test.txt":
                path.unlink()
        pack_tar(tmp_path / "test", folder / "VOC2012test.tar")
    return folder


@pytest.mark.slow
def test_splits(prepared):
    assert prepared.splits == SPLITS
    assert prepared.class_names == labels.VOC_CLASSES and prepared.num_classes == 21
    assert prepared.palette[15].tolist() == [192, 128, 128]  # person
    assert prepared.unlabelled_splits == ("test",)
    found = {split: sorted(label_maps(prepared, split)) for split in SPLITS}
    assert found == {
        "train": ["2007_000032", "2007_000039"],
        "trainaug": ["2007_000032", "2007_000039", "2008_000008", "2009_000001"],
        "val": ["2007_000033", "2007_000042", "2007_000061"],
        "trainval": ["2007_000032", "2007_000033", "2007_000039", "2007_000042", "2007_000061"],
        "test": ["2008_000006"],
    }
    shared = [
        pair
        for pair in itertools.combinations(SPLITS, 2)
        if set(found[pair[0]]) & set(found[pair[1]])
    ]
    assert sorted(prepared.overlapping_splits) == sorted(shared)


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_palette_masks_are_indices(prepared, split):
    for image_id, label in label_maps(prepared, split).items():
        assert label.dtype == np.uint8 and np.array_equal(label, voc_label(image_id)), image_id


def test_vocs_masks_win_over_the_sbds(prepared):
    found = label_maps(prepared, "trainaug")
    for image_id, label in found.items():
        expected = voc_label if image_id.startswith("2007") else sbd_label
        assert np.array_equal(label, expected(image_id)), image_id
    assert found["2008_000008"][0, :2].tolist() == [8, 20]


def test_the_test_split_has_no_labels(prepared):
    (label,) = label_maps(prepared, "test").values()
    assert np.array_equal(label, np.full((6, 9), 255))


def test_images_are_vocs_where_it_has_them(prepared, shared_tree):
    records = open_records(list(prepared.files["trainaug"])).map(prepared.parse)
    found = {r["image_id"].numpy().decode(): r["image"].numpy() for r in records}
    sbd = shared_tree / "benchmark_RELEASE/dataset/img"
    voc = shared_tree / "VOCdevkit/VOC2012/JPEGImages"
    for image_id, data in found.items():
        folder = sbd if image_id == "2009_000001" else voc
        assert data == (folder / f"{image_id}.jpg").read_bytes(), image_id


def test_counts_that_are_not_the_published_ones_are_said(tree, data_dir, capsys):
    datasets.prepare("voc2012_sbd", tree, data_dir)
    said = [line for line in capsys.readouterr().err.splitlines() if "published" in line]
    assert len(said) == 5
    assert said[1] == "voc2012_sbd: trainaug has 4 images, not 10,582 as published"


def test_from_archives(tmp_path, data_dir, prepared):
    unpacked = datasets.prepare("voc2012_sbd", pack(tmp_path), data_dir)
    assert unpacked.splits == SPLITS
    for split in SPLITS:
        for one, other in zip(unpacked.files[split], prepared.files[split], strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()


def test_without_the_test_archive(tmp_path, data_dir, capsys):
    prepared = datasets.prepare("voc2012_sbd", pack(tmp_path, test=False), data_dir)
    assert list(prepared.splits) == ["train", "trainaug", "val", "trainval"]
    assert (
        "voc2012_sbd: no split 'test' without VOC2012test.tar (from "
        "http://host.robots.ox.ac.uk:8080/)\n"
    ) in capsys.readouterr().err


def test_downloaded(tmp_path, data_dir, monkeypatch):
    archives = pack(tmp_path)
    files = {path.name: path.read_bytes() for path in archives.iterdir()}
    with FileServer(**files) as server:
        for name in ("TRAINVAL", "SBD"):
            archive = getattr(voc2012_sbd, name)
            here = replace(archive, url=server.url(archive.file), size=None, sha256=None)
            monkeypatch.setattr(voc2012_sbd, name, here)
        server.statuses = [404]
        with pytest.raises(UserError) as caught:
            datasets.prepare("voc2012_sbd", None, data_dir)
        assert str(caught.value).startswith(
            f"cannot download {server.url('VOCtrainval_11-May-2012.tar')}: the server says 404 "
        )
        assert "from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, and" in str(caught.value)
        assert not datasets.is_prepared("voc2012_sbd", data_dir)
        prepared = datasets.prepare("voc2012_sbd", None, data_dir)
    assert prepared.splits == {name: SPLITS[name] for name in SPLITS if name != "test"}
    # What has to be fetched by hand goes beside what was downloaded.
    shutil.copy(archives / "VOC2012test.tar", data_dir / "downloads")
    shutil.rmtree(data_dir / "voc2012_sbd")
    assert datasets.prepare("voc2012_sbd", None, data_dir).splits == SPLITS


def test_the_addresses():
    assert voc2012_sbd.TRAINVAL.url.endswith("/VOC/voc2012/VOCtrainval_11-May-2012.tar")
    assert voc2012_sbd.SBD.url.endswith("/semantic_contours/benchmark.tgz")
    assert voc2012_sbd.TEST.url is None and not voc2012_sbd.TEST.needed


def test_missing_archives_are_named(tmp_path, data_dir):
    source = write_voc(tmp_path / "source")
    with pytest.raises(UserError) as caught:
        datasets.prepare("voc2012_sbd", source, data_dir)
    message = str(caught.value)
    assert message.startswith(
        f"{source} has neither these archives nor what is in them: benchmark.tgz (from "
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/); "
        "expected is\nVOCdevkit/VOC2012/JPEGImages/2007_000032.jpg\n"
    )
    assert "\nbenchmark_RELEASE/dataset/cls/2008_000008.mat\n" in message
    shutil.rmtree(source / "VOCdevkit")
    (source / "notes.txt").write_text("")
    with pytest.raises(UserError, match="VOCtrainval_11-May-2012.tar .*, benchmark.tgz "):
        datasets.prepare("voc2012_sbd", source, data_dir)
    assert not datasets.is_prepared("voc2012_sbd", data_dir)


def folders(tree) -> dict[str, Path]:
    archives = (voc2012_sbd.TRAINVAL, voc2012_sbd.TEST, voc2012_sbd.SBD)
    return {archive.file: tree for archive in archives}


def test_missing_images_are_named(tree, data_dir):
    sbd, voc = tree / "benchmark_RELEASE/dataset", tree / "VOCdevkit/VOC2012"
    for image_id in ("2008_000008", "2009_000001"):
        (sbd / "img" / f"{image_id}.jpg").unlink()
    with pytest.raises(UserError) as caught:
        datasets.prepare("voc2012_sbd", tree, data_dir)
    places = f"{voc}/JPEGImages/2009_000001.jpg or {sbd}/img/2009_000001.jpg"
    assert str(caught.value) == f"there is no {places}, which a list names"
    assert not any(path.is_file() for path in data_dir.rglob("*"))
    (sbd / "train.txt").write_text("\n".join(f"2010_{number:06}" for number in range(25)))
    with pytest.raises(UserError) as caught:
        datasets.prepare("voc2012_sbd", tree, data_dir)
    lines = str(caught.value).splitlines()
    assert lines[0] == "26 faults were found; 20 of them:" and len(lines) == 21
    assert lines[20].startswith(f"  there is no {voc}/JPEGImages/2010_000018.jpg or ")
    prepared = datasets.prepare("voc2012_sbd", tree, data_dir, skip_errors=True)
    assert prepared.splits == {**SPLITS, "trainaug": 2}
    assert prepared.skipped == {"voc2012_sbd trainaug": 26}


def test_missing_labels_are_named(tree):
    masks = tree / "VOCdevkit/VOC2012/SegmentationClass"
    (masks / "2007_000061.png").rename(masks / "2007_000061.PNG")
    (tree / "benchmark_RELEASE/dataset/cls/2009_000001.mat").unlink()
    *_, fault = voc2012_sbd.list_items("val", folders(tree))
    assert str(fault) == (
        f"there is no {masks}/2007_000061.png, which a list names, but 2007_000061.PNG is there"
    )
    *_, fault = voc2012_sbd.list_items("trainaug", folders(tree))
    assert re.fullmatch(
        "there is no .*SegmentationClass/2009_000001.png or .*dataset/cls/2009_000001.mat, which a "
        "list names",
        str(fault),
    )


def test_without_the_images_of_test(tree, data_dir, capsys):
    (tree / "VOCdevkit/VOC2012/JPEGImages/2008_000006.jpg").unlink()
    prepared = datasets.prepare("voc2012_sbd", tree, data_dir)
    assert prepared.splits == {name: SPLITS[name] for name in SPLITS if name != "test"}
    assert "no split 'test' without VOC2012test.tar (from " in capsys.readouterr().err


def test_lists_that_are_missing_or_empty(tree):
    path = tree / "benchmark_RELEASE/dataset/val.txt"
    path.write_text("\n")
    with pytest.raises(UserError, match=f"^{path} is empty: unpack its archive again$"):
        voc2012_sbd.list_items("trainaug", folders(tree))
    path.unlink()
    with pytest.raises(UserError, match=f"^there is no {path}: unpack its archive again$"):
        voc2012_sbd.list_items("trainaug", folders(tree))


@pytest.fixture
def item(tmp_path) -> Pair:
    """An image with a label of the SBD."""
    label = np.arange(24, dtype=np.uint8).reshape(4, 6) % 21
    image = save(tmp_path / "2008_000008.jpg", noise(4, 6))
    return Pair(image, write_mat(tmp_path / "2008_000008.mat", label))


def test_mat_files(item):
    label = voc2012_sbd.read_mat(item.label, item.label.read_bytes(), labels.VOC_CLASSES)
    assert label.dtype == np.uint8
    assert np.array_equal(label, np.arange(24).reshape(4, 6) % 21)
    key, example = voc2012_sbd.make_example(item)
    assert key == example["image_id"] == "2008_000008"
    assert example["image"] == item.image.read_bytes()


@pytest.mark.parametrize("length", [1, 100, 127, 150, 200, -1])
def test_truncated_mat_files(item, length):
    item.label.write_bytes(item.label.read_bytes()[:length])
    message = f"^{item.label} is truncated or damaged, or no label file of the SBD: "
    with pytest.raises(UserError, match=message):
        voc2012_sbd.make_example(item)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"GTinst": 1}, "GTcls.Segmentation cannot be read (KeyError: 'GTcls')"),
        ({"GTcls": {"Boundaries": 1}}, "GTcls.Segmentation cannot be read (ValueError: no field"),
        ({"GTcls": np.zeros((2, 2))}, "GTcls.Segmentation cannot be read (IndexError: "),
        ({"GTcls": {"Segmentation": np.zeros((4, 6))}}, "is no uint8 [H, W], but float64 (4, 6)"),
        ({"GTcls": {"Segmentation": np.zeros((4, 6, 3), np.uint8)}}, "but uint8 (4, 6, 3)"),
        ({"GTcls": {"Segmentation": np.zeros((6, 4), np.uint8)}}, "is 4x6 pixels, but its image"),
        (
            {"GTcls": {"Segmentation": np.full((4, 6), 21, np.uint8)}},
            "has the label value 21, but the classes are 0 background, 1 aeroplane",
        ),
    ],
)
def test_mat_files_of_something_else(item, content, message):
    scipy.io.savemat(item.label, content)
    with pytest.raises(UserError) as caught:
        voc2012_sbd.make_example(item)
    assert str(caught.value).startswith(str(item.label)) and message in str(caught.value)


def test_an_empty_mat_file(item):
    item.label.write_bytes(b"")
    with pytest.raises(UserError, match=f"^{item.label} is empty$"):
        voc2012_sbd.make_example(item)


@pytest.mark.parametrize("do_compression", [True, False])
def test_damaged_mat_files_are_labels_or_errors(item, do_compression):
    """Changed bytes end in nothing but the named error; scipy alone takes the process down."""
    label = np.zeros((4, 6), np.uint8)
    data = write_mat(item.label, label, do_compression).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(data), 500):
        damaged = bytearray(data)
        damaged[position] = rng.integers(256)
        try:
            label = voc2012_sbd.read_mat(item.label, bytes(damaged), labels.VOC_CLASSES)
        except UserError as error:
            assert str(error).startswith(str(item.label))
            refused += 1
        else:
            assert label.dtype == np.uint8 and label.ndim == 2
    assert 100 < refused < 500


@pytest.mark.slow
def test_a_mat_file_that_unpacks_without_end(item):
    """64 KiB of the file are 64 MiB of zeros; not more than that is ever unpacked."""
    zeros = zlib.compress(bytes(mat_files.LARGEST + 1))
    head = item.label.read_bytes()[:128]
    item.label.write_bytes(head + struct.pack("<II", 15, len(zeros)) + zeros)
    with pytest.raises(UserError, match="ValueError: a variable that is truncated or too large"):
        voc2012_sbd.make_example(item)


@pytest.mark.parametrize(
    "name", ["logical_sparse", "teststructnest_7.4_GLNX86", "testcellnest_6.5.1_GLNX86"]
)
def test_the_structure_of_files_that_matlab_wrote(name):
    """The SBD's boundaries are cells of sparse logical matrices."""
    folder = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
    if not folder.is_dir():
        pytest.skip("scipy came without its test data")
    mat_files.check_structure((folder / f"{name}.mat").read_bytes())


def test_masks_of_vocs_colours(item, tmp_path):
    path = save(tmp_path / "2008_000008.png", labels.voc_colour_map()[[[1, 2], [3, 4]]])
    with pytest.raises(UserError, match=f"^{path} is a RGB image; an index mask has one"):
        voc2012_sbd.make_example(item._replace(label=path))
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(path)
    with pytest.raises(UserError, match=f"^{path} is 7x4 pixels, but its image .* is 6x4$"):
        voc2012_sbd.make_example(item._replace(label=path))


def test_damaged_images(item):
    item.image.write_bytes(encoded(noise(4, 6), "JPEG")[:-40])
    with pytest.raises(UserError, match=f"^{item.image} cannot be decoded: it is truncated or"):
        voc2012_sbd.make_example(item)
    with pytest.raises(UserError, match=f"^{item.image} cannot be decoded: it is truncated or"):
        voc2012_sbd.make_example(item._replace(label=None))


def test_an_interrupted_preparation(tree, data_dir, monkeypatch):
    def make_example(item):
        if item.label and item.label.suffix == ".mat":  # in the second split
            raise KeyboardInterrupt
        return original(item)

    original = voc2012_sbd.make_example
    monkeypatch.setattr(voc2012_sbd, "make_example", make_example)
    with pytest.raises(KeyboardInterrupt):
        datasets.prepare("voc2012_sbd", tree, data_dir)
    assert not datasets.is_prepared("voc2012_sbd", data_dir)
    with pytest.raises(UserError, match="'voc2012_sbd' is not prepared"):
        datasets.load("voc2012_sbd", data_dir)
    monkeypatch.undo()
    assert datasets.prepare("voc2012_sbd", tree, data_dir).splits == SPLITS


class BuilderTest(builder_case.BuilderCase):
    """TFDS's own checks, on the miniature tree."""

    DATASET_CLASS = voc2012_sbd.Builder
    SPLITS = SPLITS
    OVERLAPPING_SPLITS = ["trainaug", "trainval"]

    @staticmethod
    def write_source(folder):
        return write_sbd(write_voc(folder))
