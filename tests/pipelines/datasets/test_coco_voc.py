"""COCO with VOC's classes, from miniature trees with the layout of the real archives."""

import json
import sys
from pathlib import Path

import builder_case
import numpy as np
import pytest
import tensorflow_datasets as tfds
from coco_trees import HEIGHT, TRAIN, WIDTH, write_coco
from miniatures import encoded, noise, write_pairs
from PIL import Image
from pycocotools import mask as coco_mask

from pipelines import datasets
from pipelines.base import labels
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.datasets.coco_voc import coco_voc_dataset_builder as coco_voc
from pipelines.stream import record_order
from pipelines.stream.evaluation import evaluation_examples
from pipelines.stream.record_order import open_records
from pipelines.stream.segmentation import training_batches


def expected_train():
    table = np.zeros((HEIGHT, WIDTH), np.uint8)
    table[:, 7:] = 255
    table[1:7, 1:9] = 11
    table[2:5, 2:4] = 5
    person = np.zeros((HEIGHT, WIDTH), np.uint8)
    person[0:2, 0:3] = 15
    person[5:8, 6:9] = 15
    person[0:2, 1:3] = 8
    cat = np.zeros((HEIGHT, WIDTH), np.uint8)
    cat[4:6, 4:6] = 8
    return {1: table, 2: person, 6: cat}


@pytest.fixture
def coco(tmp_path) -> Path:
    return write_coco(tmp_path / "coco")


def label_maps(prepared, split):
    return {
        example["image_id"].numpy().decode(): example["label"].numpy()
        for example in evaluation_examples(prepared, split)
    }


def assert_same_maps(found, expected):
    assert sorted(found) == sorted(expected)
    for image_id, label in expected.items():
        assert np.array_equal(found[image_id], label), image_id


def test_coco_2017(coco, data_dir):
    prepared = datasets.prepare("coco_voc", coco, data_dir)
    assert prepared.class_names == labels.VOC_CLASSES and prepared.num_classes == 21
    assert prepared.palette[15].tolist() == [192, 128, 128]
    assert prepared.splits == {"train": 3, "val": 2}
    expected = {f"{number:012d}": label for number, label in expected_train().items()}
    assert_same_maps(label_maps(prepared, "train"), expected)
    val = np.zeros((HEIGHT, WIDTH), np.uint8)
    val[0], val[1] = range(1, 11), range(11, 21)  # each of the 20, in VOC's order
    sofa = np.zeros((HEIGHT, WIDTH), np.uint8)
    sofa[:4, :4] = 18
    assert_same_maps(label_maps(prepared, "val"), {"000000000007": val, "000000000008": sofa})
    for record in open_records(list(prepared.files["val"])).map(prepared.parse):
        path = coco / "val2017" / f"{record['image_id'].numpy().decode()}.jpg"
        assert record["image"].numpy() == path.read_bytes()


def test_coco_2014_and_the_smallest_area(tmp_path, data_dir):
    source = write_coco(tmp_path / "coco", 2014)
    prepared = datasets.prepare("coco_voc/2014_min5", source, data_dir)
    assert (data_dir / "coco_voc" / "2014_min5" / "1.0.0" / "dataset_info.json").is_file()
    # Both cats have 4 pixels: void, and image 6 has nothing else. Those of val's 7 have 1.
    table, person = (expected_train()[number] for number in (1, 2))
    person[0:2, 1:3] = 255
    assert_same_maps(
        label_maps(prepared, "train"),
        {"COCO_train2014_000000000001": table, "COCO_train2014_000000000002": person},
    )
    assert list(label_maps(prepared, "val")) == ["COCO_val2014_000000000008"]


def test_no_image_left(coco, data_dir):
    with pytest.raises(UserError) as caught:
        datasets.prepare("coco_voc/2017_min49", coco, data_dir)
    assert str(caught.value) == (
        f"{coco}/annotations/instances_train2017.json lists no image with an object of VOC's "
        "classes of at least 49 pixels"
    )


@pytest.mark.parametrize("config", ["2015", "2017_min", "2017_min-1", "2017_minx", "", "../x"])
def test_configs(config, data_dir):
    with pytest.raises(UsageError) as caught:
        datasets.prepare(f"coco_voc/{config}", None, data_dir)
    assert str(caught.value) == (
        f"'coco_voc/{config}' cannot name a data set: 2014, 2017 or 2017_min1000 after the slash"
    )


def test_pycocotools_is_asked_for_first(coco, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError) as caught:
        datasets.prepare("coco_voc", coco, data_dir)
    assert str(caught.value) == (
        'coco_voc needs pycocotools, which is not installed: pip install "gcn_keras[data]"'
    )
    assert not data_dir.exists()


def test_archives_of_a_year():
    train, val, annotations = coco_voc.archives(2014)
    assert train.file == "train2014.zip" and train.holds == "train2014"
    assert val.url == "http://images.cocodataset.org/zips/val2014.zip" and val.size == 6645013297
    assert annotations.url == (
        "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"
    )
    assert annotations.sha256.startswith("031296bb")
    assert coco_voc.parse_config("2017") == (2017, 0)
    assert coco_voc.parse_config("2014_min1000") == (2014, 1000)


def first_item(coco):
    annotations = coco / "annotations" / "instances_train2017.json"
    return coco_voc.list_items(annotations, coco / "train2017")[0]


def rewrite(coco, change):
    path = coco / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["categories"].pop(4), "has no category bottle; is it COCO's?"),
        (lambda c: c.pop("images"), "is not a COCO file of instances (no 'images')"),
        (lambda c: c["annotations"][0].pop("area"), "(no 'area')"),
        (lambda c: c["annotations"][0].update(area="large"), "could not convert string to float"),
        (lambda c: c["images"][0].update(height="tall"), "invalid literal for int()"),
        (lambda c: c["images"][0].update(height=float("inf")), "cannot convert float infinity"),
    ],
)
def test_annotations_that_are_not_cocos(coco, change, message):
    rewrite(coco, change)
    with pytest.raises(UserError) as caught:
        first_item(coco)
    assert str(caught.value).startswith(f"{coco}/annotations/instances_train2017.json ")
    assert message in str(caught.value)


def test_a_file_that_lists_fewer_images_than_it_annotates(coco, capsys):
    path = coco / "annotations" / "instances_train2017.json"
    before = coco_voc.list_items(path, coco / "train2017")
    rewrite(coco, lambda c: c["images"].pop(0))
    rewrite(coco, lambda c: c["images"].append(c["images"][0]))  # and one of them twice
    assert coco_voc.list_items(path, coco / "train2017") == before[1:]
    said = capsys.readouterr().err
    assert said == f"{path}: 1 of the images that it annotates is not in its list: passed over\n"


def test_compressed_run_lengths(coco):
    """Made by pycocotools: the same pixels as the runs that are numbers."""
    item = first_item(coco)
    runs = [3, 2, 60, 1, 1, 13]
    packed = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": runs}, HEIGHT, WIDTH)
    text = packed["counts"].decode()
    label = np.zeros(80, np.uint8)
    label[[3, 4, 65, *range(67, 80)]] = 5
    for counts in (runs, text):
        segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
        region = item.regions[-1]._replace(segmentation=segmentation, value=5)
        assert np.array_equal(
            coco_voc.paint(item._replace(regions=(region,))), label.reshape(WIDTH, HEIGHT).T
        )
    for wrong in (text[:-1], text + "1", "\x7f", "o" * 30, "\ud800"):
        segmentation = {"size": [HEIGHT, WIDTH], "counts": wrong}
        regions = (item.regions[-1]._replace(segmentation=segmentation),)
        with pytest.raises(UserError, match="has a damaged segmentation in annotation 1, of "):
            coco_voc.paint(item._replace(regions=regions))


def test_annotations_that_are_missing_or_cut_short(coco):
    path = coco / "annotations" / "instances_train2017.json"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="^.*instances_train2017.json is truncated or damaged"):
        first_item(coco)
    path.write_bytes(b"\xff\xfe" + bytes(9))
    with pytest.raises(UserError, match="^.*instances_train2017.json is truncated or damaged"):
        first_item(coco)
    path.write_text("[]")
    with pytest.raises(UserError, match="is not a COCO file of instances .list indices must"):
        first_item(coco)
    path.unlink()
    with pytest.raises(UserError, match="^there is no .*instances_train2017.json: unpack"):
        first_item(coco)


@pytest.mark.parametrize(
    "segmentation, message",
    [
        ([[0, 0, 5, 0, 5]], "a polygon is no list of x, y, x, y, …"),
        ([[0, 0, 5, 0, 5, "y"]], "([0, 0, 5, 0, 5, 'y'] are no numbers)"),
        ([[0, 0, 1e9, 0, 5, 5]], "a polygon leaves the 10x8 image"),
        ([[0, 0, float("nan"), 0, 5, 5]], "a polygon leaves the 10x8 image"),
        (None, "not iterable"),
        (7, "not iterable"),
        ({"size": [8, 10]}, "counts"),
        ({"size": [10, 8], "counts": [80]}, "size [10, 8], not [8, 10]"),
        ({"size": [8, 10], "counts": [81]}, "counts make 81 pixels, not 80"),
        ({"size": [8, 10], "counts": [90, -10]}, "counts are no list of run lengths"),
        ({"size": [8, 10], "counts": "abc"}, "counts are no list of run lengths"),
    ],
)
def test_damaged_segmentations(coco, segmentation, message):
    item = first_item(coco)
    region = item.regions[-1]._replace(segmentation=segmentation)
    with pytest.raises(UserError) as caught:
        coco_voc.make_example(item._replace(regions=(region,)))
    assert str(caught.value).startswith(
        f"{coco}/annotations/instances_train2017.json has a damaged segmentation in annotation 1, "
        "of 000000000001.jpg ("
    )
    assert message in str(caught.value)


def test_polygons_that_enclose_nothing(coco):
    item = first_item(coco)
    for segmentation in ([], [[]], [[1, 1, 5, 5]], [[1, 1, 5, 5], [2, 2]]):
        regions = (item.regions[-1]._replace(segmentation=segmentation),)
        assert not coco_voc.paint(item._replace(regions=regions)).any()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "is empty"),
        (b"<html>", "is neither a JPEG nor a PNG file"),
        (encoded(noise(8, 10), "JPEG")[:200], "cannot be decoded: it is truncated or damaged"),
        (encoded(noise(8, 11), "JPEG"), "is 11x8 pixels, but"),
        (None, "there is no"),
        ("\0", "cannot be the name of a file: embedded null byte"),
    ],
)
def test_images_that_cannot_be_used(coco, data, message):
    item = first_item(coco)
    if data is None:
        item.path.unlink()
    elif data == "\0":
        item = item._replace(path=item.path.with_name("\0.jpg"))
    else:
        item.path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        coco_voc.make_example(item)
    assert message in str(caught.value) and repr(str(item.path))[1:-1] in str(caught.value)


def test_gray_images_are_taken_and_cmyk_is_not(coco):
    item = first_item(coco)
    item.path.write_bytes(encoded(noise(HEIGHT, WIDTH)[..., 0], "JPEG"))
    assert coco_voc.make_example(item)[1]["image"] == item.path.read_bytes()
    Image.new("CMYK", (WIDTH, HEIGHT)).save(item.path)
    with pytest.raises(UserError, match=f"^{item.path} is a CMYK image"):
        coco_voc.make_example(item)


class BuilderTest(builder_case.BuilderCase):
    """TFDS's own checks, on the miniature tree."""

    DATASET_CLASS = coco_voc.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [tfds.core.BuilderConfig(name="2017")]
    SPLITS = {"train": 3, "val": 2}

    @staticmethod
    def write_source(folder):
        return write_coco(folder)


@pytest.fixture
def stage1(tmp_path, data_dir, monkeypatch) -> datasets.PreparedDataset:
    """The mixture of 12 images each, with an image_folder in place of VOC and SBD."""
    coco = write_coco(tmp_path / "coco", train={n: TRAIN[6] for n in range(12)})
    label = np.full((HEIGHT, WIDTH), 20, np.uint8)
    write_pairs(tmp_path / "voc" / "train", [f"voc{n}" for n in range(12)], [label] * 12)
    write_pairs(tmp_path / "voc" / "val", ["voc12"], [label])
    (tmp_path / "voc" / "classes.txt").write_text("\n".join(labels.VOC_CLASSES))
    mixture = {
        "train": (("coco_voc", "train"), ("image_folder", "train")),
        "val": (("image_folder", "val"),),
    }
    monkeypatch.setitem(datasets.MIXTURES, "stage1", mixture)
    datasets.prepare("coco_voc", coco, data_dir)
    datasets.prepare("image_folder", tmp_path / "voc", data_dir, accept_findings=True)
    return datasets.load("stage1", data_dir)


@pytest.mark.slow
@pytest.mark.parametrize("buffer_size", [None, 1])  # of the shuffle; 1 leaves the interleaving
def test_stage1_mixes_both_sets(stage1, buffer_size, monkeypatch):
    assert stage1.splits == {"train": 24, "val": 1}
    assert stage1.class_names == labels.VOC_CLASSES
    ids = {
        example["image"].numpy().tobytes(): example["image_id"].numpy().decode()
        for example in evaluation_examples(stage1, "train")
    }
    assert len(ids) == 24
    if buffer_size:
        monkeypatch.setattr(record_order, "shuffle_buffer_size", lambda *_: buffer_size)
    stream = training_batches(
        stage1, "train", crop=(HEIGHT, WIDTH), batch_size=1, flip=False, seed=3
    )
    seen = [ids[images.numpy().tobytes()] for images, _ in stream.take(2 * 24)]
    for epoch in (seen[:24], seen[24:]):
        assert sorted(epoch) == sorted(ids.values())  # each record once
        first_half = [image_id.startswith("voc") for image_id in epoch[:12]]
        assert 3 <= sum(first_half) <= 9


def test_stage1_has_the_pixels_of_both(stage1, data_dir):
    coco, voc = (
        datasets.load(name, data_dir).label_pixels for name in ("coco_voc", "image_folder")
    )
    assert stage1.label_pixels == {
        "train": tuple(map(sum, zip(coco["train"], voc["train"], strict=True))),
        "val": (0,) * 20 + (HEIGHT * WIDTH, 0),
    }


def test_stage1_has_index_masks_as_one_of_its_parts_has(stage1, data_dir):
    assert [datasets.load(n, data_dir).index_masks for n in ("coco_voc", "image_folder")] == [
        False,
        True,
    ]
    assert stage1.index_masks


def test_stage1_and_its_parts(data_dir):
    assert datasets.MIXTURES["stage1"] == {
        "train": (("coco_voc", "train"), ("voc2012_sbd", "trainaug")),
        "val": (("voc2012_sbd", "val"),),
    }
    with pytest.raises(UserError, match="^'coco_voc' is not prepared .*/coco_voc/2017/1.0.0"):
        datasets.load("stage1", data_dir)
    with pytest.raises(UserError, match="^'coco_voc/2014_min9' is not prepared .*/2014_min9/1.0.0"):
        datasets.load("stage1/2014_min9", data_dir)
    with pytest.raises(UsageError) as caught, as_options():
        datasets.prepare("stage1/2014", None, data_dir)
    assert str(caught.value) == (
        "'stage1/2014' is a stream over coco_voc/2014 and voc2012_sbd: prepare those, then train "
        "on --dataset stage1/2014"
    )


def test_beam_writes_the_same_records(coco, data_dir):
    pytest.importorskip("apache_beam")
    plain = datasets.prepare("coco_voc", coco, data_dir / "plain")
    beam = datasets.prepare("coco_voc", coco, data_dir / "beam", "runner=DirectRunner")
    assert beam.splits == plain.splits
    for split in plain.splits:
        first, second = (
            sorted(tuple(record[key].numpy() for key in sorted(record)) for record in records)
            for records in (
                open_records(list(prepared.files[split])).map(prepared.parse)
                for prepared in (plain, beam)
            )
        )
        assert first == second and len(first) == plain.splits[split]


def test_a_fault_found_by_beam_reads_the_same(coco, data_dir):
    pytest.importorskip("apache_beam")
    (coco / "train2017" / "000000000002.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        datasets.prepare("coco_voc", coco, data_dir, "runner=DirectRunner")
    assert str(caught.value) == f"{coco}/train2017/000000000002.jpg is empty"
    assert not datasets.is_prepared("coco_voc", data_dir)
