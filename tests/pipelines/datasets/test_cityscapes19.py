import pickle
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import builder_case
import numpy as np
import pytest
from miniatures import noise, save, write_cityscapes
from PIL import Image

from pipelines import datasets
from pipelines.base import labels
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.building.folders import Pair
from pipelines.datasets.cityscapes19 import cityscapes19_dataset_builder as cityscapes19
from pipelines.stream.evaluation import evaluation_examples

# Of the official label ids 0…33; 255 is id -1, a license plate.
TRAIN_IDS = [255] * 7 + [
    0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255,
    16, 17, 18,
]  # fmt: skip
ARCHIVES = {
    "leftImg8bit_trainvaltest.zip": "leftImg8bit/(train|val|test)/",
    "gtFine_trainvaltest.zip": "gtFine/",
    "leftImg8bit_trainextra.zip": "leftImg8bit/train_extra/",
    "gtCoarse.zip": "gtCoarse/",
}


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_cityscapes(tmp_path / "tree")


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory) -> Path:
    """Not to be changed."""
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="module")
def prepared(shared_tree, tmp_path_factory) -> datasets.PreparedDataset:
    return datasets.prepare("cityscapes19", shared_tree, tmp_path_factory.mktemp("data"))


def examples(prepared, split) -> dict:
    return {
        example["image_id"].numpy().decode(): example
        for example in evaluation_examples(prepared, split)
    }


def pack(tree: Path, folder: Path, archives=tuple(ARCHIVES)) -> Path:
    """Makes the official archives of a tree."""
    folder.mkdir()
    for name in archives:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for path in sorted(path for path in tree.rglob("*") if path.is_file()):
                inside = path.relative_to(tree).as_posix()
                if re.match(ARCHIVES[name], inside) or "/" not in inside:
                    archive.write(path, inside)
    return folder


def test_every_label_id_is_mapped():
    assert len(TRAIN_IDS) == len(labels.CITYSCAPES_LABELS) == 34
    ids = np.array([[*range(34), 255]], np.uint8)
    mapped = cityscapes19.train_ids(ids)
    assert mapped.dtype == np.uint8 and mapped.tolist() == [[*TRAIN_IDS, 255]]


def test_classes_and_colours():
    assert labels.CITYSCAPES_CLASSES == (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
        "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
        "motorcycle", "bicycle",
    )  # fmt: skip
    assert len(labels.CITYSCAPES_PALETTE) == 19
    colours = labels.palette("cityscapes19")
    assert colours[0].tolist() == [128, 64, 128]  # road
    assert colours[13].tolist() == [0, 0, 142]  # car
    assert colours[18].tolist() == [119, 11, 32]  # bicycle
    assert colours[255].tolist() == [224, 224, 192]
    assert len(np.unique(colours[[*range(19), 255]], axis=0)) == 20


def test_splits(prepared):
    assert prepared.splits == {"train": 3, "val": 2, "test": 1, "coarse": 2, "train_coarse": 3}
    assert prepared.class_names == labels.CITYSCAPES_CLASSES
    assert prepared.palette[13].tolist() == [0, 0, 142]
    assert prepared.unlabelled_splits == ("test",)
    assert prepared.overlapping_splits == (("train", "train_coarse"),)
    assert sorted(examples(prepared, "val")) == [
        "frankfurt_000000_000019",
        "frankfurt_000001_000019",
    ]


def test_fine_labels_are_lossless(prepared):
    found = examples(prepared, "train")
    for number in range(3):
        row = [TRAIN_IDS[(column + number) % 34] for column in range(64)]
        label = found[f"aachen_{number:06}_000019"]["label"].numpy()
        assert label.dtype == np.uint8 and np.array_equal(label, [row] * 32)


@pytest.mark.parametrize("split, city", [("coarse", "bad-honnef"), ("train_coarse", "aachen")])
def test_coarse_labels(prepared, split, city):
    label = examples(prepared, split)[f"{city}_000001_000019"]["label"].numpy()
    assert (label[:16] == 0).all() and (label[16:] == 255).all()


def test_the_test_split_is_void(prepared):
    (example,) = examples(prepared, "test").values()
    assert example["label"].shape == (32, 64) and (example["label"].numpy() == 255).all()


def test_images_lose_little(prepared, shared_tree):
    for image_id, example in examples(prepared, "train").items():
        path = shared_tree / f"leftImg8bit/train/aachen/{image_id}_leftImg8bit.png"
        error = np.asarray(Image.open(path)).astype(float) - example["image"].numpy()
        assert 0 < np.mean(error**2) < 255**2 / 10**4.2  # 42 dB


def test_the_same_from_archives(prepared, shared_tree, tmp_path):
    archives = pack(shared_tree, tmp_path / "archives")
    unpacked = datasets.prepare("cityscapes19", archives, tmp_path / "data")
    assert unpacked.splits == prepared.splits
    for split in prepared.splits:
        for one, other in zip(unpacked.files[split], prepared.files[split], strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()


@pytest.mark.slow
def test_the_same_on_beam(prepared, shared_tree, tmp_path):
    pytest.importorskip("apache_beam")
    on_beam = datasets.prepare("cityscapes19", shared_tree, tmp_path, "runner=DirectRunner")
    assert on_beam.splits == prepared.splits
    for split in prepared.splits:
        wanted = examples(prepared, split)
        for image_id, example in examples(on_beam, split).items():
            for part in ("image", "label"):
                assert np.array_equal(example[part], wanted[image_id][part])


def test_what_beam_sends_to_its_workers_can_be_pickled(shared_tree):
    folders = {"leftImg8bit_trainextra.zip": shared_tree, "gtCoarse.zip": shared_tree}
    items = pickle.loads(pickle.dumps(cityscapes19.list_items("coarse", folders)))
    assert [item.image.name[:17] for item in items] == ["bad-honnef_000000", "bad-honnef_000001"]
    make_example = pickle.loads(pickle.dumps(cityscapes19.make_example))
    assert make_example(items[0])[0] == "bad-honnef_000000_000019"


@pytest.mark.parametrize(
    "without, splits",
    [
        (["gtCoarse.zip"], ["coarse", "train_coarse"]),
        (["leftImg8bit_trainextra.zip"], ["coarse"]),
        (["leftImg8bit_trainextra.zip", "gtCoarse.zip"], ["coarse", "train_coarse"]),
    ],
)
def test_optional_archives(shared_tree, without, splits, capsys):
    folders = {name: shared_tree for name in ARCHIVES if name not in without}
    found = cityscapes19.available_splits(folders)
    assert found == [name for name in cityscapes19.SPLITS if name not in splits]
    said = capsys.readouterr().err.splitlines()
    assert [line.split("'")[1] for line in said] == splits
    assert said[0] == f"cityscapes19: no split 'coarse' without {' and '.join(without)}"


def test_without_the_coarse_archives(tree, data_dir, capsys):
    shutil.rmtree(tree / "gtCoarse")
    shutil.rmtree(tree / "leftImg8bit" / "train_extra")
    prepared = datasets.prepare("cityscapes19", tree, data_dir)
    assert prepared.splits == {"train": 3, "val": 2, "test": 1}
    assert prepared.overlapping_splits == ()
    said = capsys.readouterr().err
    assert "no split 'train_coarse' without gtCoarse.zip\n" in said
    assert "cityscapes19: train has 3 images, not 2,975 as published\n" in said


def test_missing_archives_are_named(tmp_path, data_dir):
    message = "'cityscapes19' needs the folder .*--from DIR"
    with pytest.raises(UsageError, match=message), as_options(source="from"):
        datasets.prepare("cityscapes19", None, data_dir)
    tree = write_cityscapes(tmp_path / "tree")
    archives = pack(tree, tmp_path / "archives", ["gtFine_trainvaltest.zip"])
    with pytest.raises(UserError) as caught:
        datasets.prepare("cityscapes19", archives, data_dir)
    message = str(caught.value)
    assert "leftImg8bit_trainvaltest.zip" in message
    assert "https://www.cityscapes-dataset.com/downloads/" in message
    assert "gtFine/{train,val,test}/CITY/CITY_000000_000019_gtFine_labelIds.png" in message
    for here_or_optional in ("gtFine_trainvaltest.zip", "trainextra.zip", "gtCoarse.zip"):
        assert here_or_optional not in message
    assert not datasets.is_prepared("cityscapes19", data_dir)


def test_missing_label_files(tree, data_dir):
    folder = tree / "gtCoarse" / "train_extra" / "bad-honnef"
    images = tree / "leftImg8bit" / "train_extra" / "bad-honnef"
    save(images / "bad-honnef_000002_000019_leftImg8bit.png", noise(32, 64))
    (folder / "bad-honnef_000001_000019_gtCoarse_labelIds.png").rename(folder / "other.png")
    with pytest.raises(UserError) as caught:
        datasets.prepare("cityscapes19", tree, data_dir)
    start = tree / "leftImg8bit/train_extra/bad-honnef/bad-honnef_00000"
    faults = [
        f"{start}{number}_000019_leftImg8bit.png has no label: {folder}/bad-honnef_00000{number}"
        "_000019_gtCoarse_labelIds.png is missing"
        for number in (1, 2)
    ]
    assert str(caught.value) == "\n  ".join(["2 faults were found:", *faults])
    assert not any(path.is_file() for path in data_dir.rglob("*"))
    prepared = datasets.prepare("cityscapes19", tree, data_dir, skip_errors=True)
    assert prepared.splits["coarse"] == 1 and prepared.skipped == {"cityscapes19 coarse": 2}


def test_a_split_without_images(tree, data_dir):
    shutil.rmtree(tree / "leftImg8bit" / "val" / "frankfurt")
    with pytest.raises(UserError) as caught:
        datasets.prepare("cityscapes19", tree, data_dir)
    assert str(caught.value) == (
        f"{tree}/leftImg8bit/val has no CITY/*_leftImg8bit.png; unpack "
        "leftImg8bit_trainvaltest.zip again"
    )


def test_stage1_has_the_fine_and_the_coarse_images(data_dir, tree, tmp_path):
    """Section 4.3: 2,975 + 19,998 = 22,973 of them."""
    prepared = datasets.prepare("cityscapes19", tree, data_dir)
    stage1 = datasets.load("cityscapes_stage1", data_dir)
    assert stage1.splits == {"train": 3 + 2, "val": 2}
    assert stage1.files["train"] == prepared.files["train"] + prepared.files["coarse"]
    fine, coarse = prepared.label_pixels["train"], prepared.label_pixels["coarse"]
    assert stage1.label_pixels["train"] == tuple(map(sum, zip(fine, coarse, strict=True)))
    shutil.rmtree(tree / "gtCoarse")
    datasets.prepare("cityscapes19", tree, tmp_path / "fine alone")
    with pytest.raises(UsageError, match="^'cityscapes19' has no split 'coarse'; it has: train,"):
        datasets.load("cityscapes_stage1", tmp_path / "fine alone")


@pytest.mark.parametrize("absent", ["test", "test/berlin"])
def test_without_the_images_of_test(tree, data_dir, capsys, absent):
    shutil.rmtree(tree / "leftImg8bit" / absent)
    prepared = datasets.prepare("cityscapes19", tree, data_dir)
    assert prepared.splits == {"train": 3, "val": 2, "coarse": 2, "train_coarse": 3}
    assert (
        f"cityscapes19: no split 'test', since {tree}/leftImg8bit/test has no CITY/*_leftImg8bit."
    ) in capsys.readouterr().err


def test_coarse_labels_of_one_folder_alone(tree, data_dir, capsys):
    shutil.rmtree(tree / "gtCoarse" / "train")
    prepared = datasets.prepare("cityscapes19", tree, data_dir)
    assert prepared.splits == {"train": 3, "val": 2, "test": 1, "coarse": 2}
    said = capsys.readouterr().err
    assert f"cityscapes19: no split 'train_coarse' without {tree}/gtCoarse/train\n" in said


def test_images_of_one_name_in_two_cities(tree, data_dir):
    for folder in ("leftImg8bit", "gtFine", "gtCoarse"):
        shutil.copytree(tree / folder / "val" / "frankfurt", tree / folder / "val" / "bonn")
    found = examples(datasets.prepare("cityscapes19", tree, data_dir), "val")
    assert sorted(found) == [
        f"frankfurt_00000{number}_000019{ending}" for number in (0, 1) for ending in ("", "-2")
    ]


def test_files_of_other_names_are_passed_over(tree, data_dir, capsys):
    folder = tree / "leftImg8bit" / "train" / "aachen"
    for name in ("a.heic", "b_leftImg8bit.jpg", ".DS_Store", "desktop.ini"):
        (folder / name).write_text("")
    assert datasets.prepare("cityscapes19", tree, data_dir).splits["train"] == 3
    said = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert said == [f"2 files passed over: {folder}/a.heic, {folder}/b_leftImg8bit.jpg"]


def test_an_image_may_have_been_deleted(tree):
    (tree / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png").unlink()
    (tree / "leftImg8bit/train/aachen/._aachen_000001_000019_leftImg8bit.png").write_text("")
    items = cityscapes19.list_items("train", dict.fromkeys(ARCHIVES, tree))
    assert [item.image.name[:13] for item in items] == ["aachen_000000", "aachen_000002"]


@pytest.fixture
def item(tmp_path) -> Pair:
    image = save(tmp_path / "a_0_1_leftImg8bit.png", noise(4, 6))
    label = save(tmp_path / "a_0_1_gtFine_labelIds.png", np.full((4, 6), 26, np.uint8))
    return Pair(image, label)


def decoded_label(item) -> np.ndarray:
    key, example = cityscapes19.make_example(item)
    assert key == example["image_id"] == "a_0_1"
    with tempfile.TemporaryFile() as file:
        file.write(example["label"])
        return np.array(Image.open(file))


def test_an_image_that_shows_nothing_has_no_label(item):
    assert np.array_equal(decoded_label(item), np.full((4, 6), 13))
    save(item.image, np.zeros((4, 6), np.uint8))  # one channel, black
    assert np.array_equal(decoded_label(item), np.full((4, 6), 255))


def test_another_size(item):
    save(item.label, np.zeros((6, 4), np.uint8))
    with pytest.raises(UserError) as caught:
        cityscapes19.make_example(item)
    assert str(caught.value) == (
        f"{item.label} is 4x6 pixels, but its image {item.image} is 6x4: was it drawn before the "
        "image was turned upright?"
    )


def test_values_that_are_no_label_id(item):
    label = np.full((4, 6), 255, np.uint8)
    save(item.label, label)
    assert (decoded_label(item) == 255).all()
    label[1, 2] = 34
    save(item.label, label)
    message = f"^{item.label} has the label value 34, but the classes are 0 unlabeled, 1 ego"
    with pytest.raises(UserError, match=message):
        cityscapes19.make_example(item)


def test_colours_where_ids_belong(item):
    save(item.label, noise(4, 6))
    with pytest.raises(UserError, match=f"^{item.label} is a RGB image"):
        cityscapes19.make_example(item)


@pytest.mark.parametrize("part", ["image", "label"])
def test_damaged_files(item, part):
    path = getattr(item, part)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"^{path} cannot be decoded: it is truncated or damaged"):
        cityscapes19.make_example(item)


class BuilderTest(builder_case.BuilderCase):
    """TFDS's own checks, on the miniature tree."""

    DATASET_CLASS = cityscapes19.Builder
    SPLITS = {"train": 3, "val": 2, "test": 1, "coarse": 2, "train_coarse": 3}
    OVERLAPPING_SPLITS = ["train_coarse"]

    @staticmethod
    def write_source(folder):
        return write_cityscapes(folder)
