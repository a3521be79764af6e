from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from miniatures import encoded, noise

from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.datasets import preparation
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.tfds_set import tfds_set_dataset_builder as tfds_set
from pipelines.datasets.tfds_set.options import TfdsOptions
from pipelines.stream import evaluation, segmentation

COUNTS = {"train": 4, "test": 2}
# A trimap of Oxford's pets: 1 pet, 2 background, 3 border; here 0 and 255 occur, too.
TRIMAP = np.array([[1, 2, 3], [0, 255, 1]], np.uint8)


def write_set(name: str, data_dir, examples: dict[str, list[dict]]) -> None:
    """Prepares a set of TFDS, with its own features, from the given examples."""
    builder = tfds.builder(name, data_dir=str(data_dir))
    generators = {split: enumerate(found) for split, found in examples.items()}
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with mock.patch.object(type(builder), "_split_generators", lambda *_: generators):
        builder.download_and_prepare(download_config=config)


def mocked(name: str) -> dict[str, list[dict]]:
    """What TFDS' mock data gives for a set: random pixels in its own features."""
    with tfds.testing.mock_data(num_examples=4):
        found = {split: list(tfds.load(name, split=split)) for split in COUNTS}
    examples = tf.nest.map_structure(lambda x: x.numpy(), found)
    for example in examples["train"] + examples["test"]:
        if "head_bbox" in example:  # four random numbers are no box
            example["head_bbox"] = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
        if "segmentation_mask" in example:  # its random size is not the image's
            shape = (*example["image"].shape[:2], 1)
            example["segmentation_mask"] = np.resize(example["segmentation_mask"], shape)
    return examples


def pets(masks: list[np.ndarray]) -> list[dict]:
    return [
        {
            "image": noise(*mask.shape, seed),
            "label": 0,
            "species": 0,
            "file_name": f"pet_{seed}.jpg",
            "segmentation_mask": mask[..., None],
            "head_bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
        }
        for seed, mask in enumerate(masks)
    ]


@pytest.fixture
def source(data_dir):
    """oxford_iiit_pet as TFDS prepares it below DATA_DIR, with two hand-made examples."""
    write_set(
        "oxford_iiit_pet", data_dir / "tfds", {"train": pets([TRIMAP] * 2), "test": pets([TRIMAP])}
    )
    return data_dir


@pytest.mark.slow
def test_labels_start_at_the_first_label(source):
    prepared = datasets.prepare(
        "tfds:oxford_iiit_pet", None, source, None, TfdsOptions(None, None, 1)
    )
    assert prepared.name == "tfds:oxford_iiit_pet"
    assert prepared.class_names == ("class 0", "class 1", "class 2")
    assert prepared.splits == {"train": 2, "test": 1}
    example = next(iter(evaluation.evaluation_examples(prepared, "test")))
    np.testing.assert_array_equal(example["label"], [[0, 1, 2], [255, 255, 0]])
    assert example["image_id"].numpy() == b"pet_0"
    assert evaluation.class_pixel_counts(prepared, "train").tolist() == [4, 2, 2]
    images, labels = next(
        iter(segmentation.training_batches(prepared, "train", crop=(4, 4), batch_size=2))
    )
    assert images.shape == (2, 4, 4, 3) and set(np.unique(labels)) == {0, 1, 2, 255}


@pytest.mark.slow
def test_it_is_opened_without_options_and_without_its_source(source):
    options = TfdsOptions("image", "segmentation_mask", 1)
    datasets.prepare("tfds:oxford_iiit_pet", None, source, None, options)
    (source / "tfds").rename(source / "elsewhere")
    assert datasets.load("tfds:oxford_iiit_pet", source).num_classes == 3


@pytest.mark.slow
def test_image_files_are_recorded_as_they_are(source):
    prepared = datasets.prepare("tfds:oxford_iiit_pet", None, source)
    original = tfds.builder("oxford_iiit_pet", data_dir=str(source / "tfds")).as_dataset(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    wanted = sorted(example["image"].numpy() for example in original)
    found = tf.data.TFRecordDataset(list(prepared.files["train"])).map(prepared.parse)
    assert sorted(example["image"].numpy() for example in found) == wanted


@pytest.mark.slow
def test_from_takes_the_data_directory_of_tfds(source, tmp_path):
    datasets.prepare("tfds:oxford_iiit_pet", source / "tfds", tmp_path / "other")
    assert datasets.is_prepared("tfds:oxford_iiit_pet", tmp_path / "other")


def test_from_downloads_nothing(source, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError

    folder = source / "tfds"
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(tfds_set, "open_source", fail)
    for name, kind, message in (
        (
            "scene_parse150",
            UserError,
            f"{folder} holds no prepared 'scene_parse150': leave --from out to have TFDS "
            "download it",
        ),
        (
            "no_such_set",
            UsageError,
            f"TFDS has no data set 'no_such_set', and {folder} holds none; "
            "https://www.tensorflow.org/datasets lists them",
        ),
    ):
        with pytest.raises(kind) as caught, as_options(source="from"):
            datasets.prepare(f"tfds:{name}", folder, tmp_path / "other")
        assert str(caught.value) == message
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_an_id_is_a_files_path_without_the_ending_of_an_image(data_dir):
    names = {
        "img_0.5x": "img_0.5x",
        "img_0.7x": "img_0.7x",
        "left/a.v2.JPG": "left/a.v2",
        "right/a.v2.png": "right/a.v2",
        ".jpg": ".jpg",
    }
    examples = pets([TRIMAP] * len(names))
    for example, name in zip(examples, names, strict=True):
        example["file_name"] = name
    write_set("oxford_iiit_pet", data_dir / "tfds", {"train": examples, "test": examples[:1]})
    prepared = datasets.prepare("tfds:oxford_iiit_pet", None, data_dir)
    found = evaluation.evaluation_examples(prepared, "train")
    assert sorted(e["image_id"].numpy().decode() for e in found) == sorted(names.values())


@pytest.mark.slow
def test_ids_that_repeat_get_a_number(data_dir):
    examples = pets([np.full((2, 3), number, np.uint8) for number in range(5)])
    names = ("a.jpg", "a.webp", "a-2.jpg", "a.png", "b.jpg")
    for example, name in zip(examples, names, strict=True):
        example["file_name"] = name
    write_set("oxford_iiit_pet", data_dir / "tfds", {"train": examples, "test": examples[:1]})
    prepared = datasets.prepare("tfds:oxford_iiit_pet", None, data_dir)
    found = {
        example["image_id"].numpy().decode(): example["label"].numpy()
        for example in evaluation.evaluation_examples(prepared, "train")
    }
    # The masks are told apart by their number; TFDS gives the examples in an order of its own.
    assert sorted(found) == ["a", "a-2", "a-2-2", "a-3", "b"]
    assert sorted(label[0, 0] for label in found.values()) == [0, 1, 2, 3, 4]


def test_class_names_from_a_file(source, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("pet\nbackground\nborder\n")
    prepared = datasets.prepare(
        "tfds:oxford_iiit_pet", None, source, None, TfdsOptions(None, None, 1, names)
    )
    assert prepared.class_names == ("pet", "background", "border")


def test_a_value_above_the_classes_is_named(source, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("pet\nbackground\n")
    with pytest.raises(UserError) as caught:
        datasets.prepare(
            "tfds:oxford_iiit_pet", None, source, None, TfdsOptions(None, None, 1, names)
        )
    assert str(caught.value) == (
        "2 faults were found:\n"
        "  the mask of pet_0 has the value 3, but the classes are 1 to 2, and 255 is void\n"
        "  the mask of pet_1 has the value 3, but the classes are 1 to 2, and 255 is void"
    )
    assert not datasets.is_prepared("tfds:oxford_iiit_pet", source)


def test_a_mask_of_another_size_than_its_image(data_dir):
    examples = {"train": pets([TRIMAP] * 2), "test": pets([TRIMAP])}
    examples["train"][1]["segmentation_mask"] = TRIMAP[:1, :2, None]
    write_set("oxford_iiit_pet", data_dir / "tfds", examples)
    with pytest.raises(UserError) as caught:
        datasets.prepare("tfds:oxford_iiit_pet", None, data_dir, None, TfdsOptions(first_label=1))
    assert str(caught.value) == "the mask of pet_1 is 2x1 pixels, but the image is 3x2"
    assert not datasets.is_prepared("tfds:oxford_iiit_pet", data_dir)


@pytest.mark.slow
def test_masks_of_0_and_255(data_dir, tmp_path):
    binary = np.array([[0, 255, 255]] * 2, np.uint8)
    examples = {"train": pets([binary] * 2), "test": pets([binary])}
    write_set("oxford_iiit_pet", data_dir / "tfds", examples)
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("tfds:oxford_iiit_pet", None, data_dir)
    assert str(caught.value) == (
        "the masks of tfds:oxford_iiit_pet hold no two classes from --first-label 0 on; their "
        "largest value is 0, and 255 is void: write class 1 as 1, or give --class-names"
    )
    names = tmp_path / "names.txt"
    names.write_text("background\npet\n")
    options = TfdsOptions(class_names=names)
    with pytest.raises(UserError, match="^train: all labels hold only 0 and 255: masks of 0 and"):
        datasets.prepare("tfds:oxford_iiit_pet", None, data_dir, None, options)
    assert not datasets.is_prepared("tfds:oxford_iiit_pet", data_dir)
    prepared = datasets.prepare(
        "tfds:oxford_iiit_pet", None, data_dir, None, options, accept_findings=True
    )
    assert prepared.label_pixels == {"train": (4, 0, 8), "test": (2, 0, 4)}


@pytest.mark.parametrize(
    ("values", "names", "first_label", "message"),
    [
        (  # what became void may not be told from what was
            [0, 1, 1],
            "pet background",
            1,
            "train: the masks hold no value but 1 from 1 on; lower ones became void; write 'pet' "
            "as 1, 'background' as 2 and so on, or give --accept-findings to keep these labels as "
            "they are",
        ),
        (
            [253, 254, 254],
            "pet background border",
            253,
            "--first-label 253 and 3 classes need values up to 255, and 255 is void: give a "
            "smaller one, or name fewer classes",
        ),
    ],
)
def test_a_first_label_that_does_not_fit(data_dir, tmp_path, values, names, first_label, message):
    mask = np.array([values] * 2, np.uint8)
    examples = {"train": pets([mask] * 2), "test": pets([mask])}
    write_set("oxford_iiit_pet", data_dir / "tfds", examples)
    file = tmp_path / "names.txt"
    file.write_text("\n".join(names.split()))
    options = TfdsOptions(first_label=first_label, class_names=file)
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("tfds:oxford_iiit_pet", None, data_dir, None, options)
    assert str(caught.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oxford_iiit_pet", "scene_parse150"])
def test_mock_data_of_tfds(name, data_dir):
    write_set(name, data_dir / "tfds", mocked(name))
    if name == "scene_parse150":  # its annotation has three channels: TFDS encodes mock data so
        message = "^8 faults were found:\n  the mask of train_00000. is a RGB image; an index"
        with pytest.raises(UserError, match=message):
            datasets.prepare(f"tfds:{name}", None, data_dir)
        return
    prepared = datasets.prepare(f"tfds:{name}", None, data_dir)
    assert prepared.splits == {"train": 4, "test": 4}
    batches = segmentation.training_batches(prepared, "train", crop=(32, 32), batch_size=3)
    images, labels = next(iter(batches))
    assert images.shape == (3, 32, 32, 3) and labels.shape == (3, 32, 32)


@pytest.mark.slow
def test_scene_parse150_has_gray_masks_in_three_channels(data_dir):
    """Files are passed through, so that its gray PNGs stay gray whatever the feature says."""
    examples = []
    for seed in range(2):
        image = data_dir / f"{seed}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(encoded(noise(2, 3, seed), "JPEG"))
        mask = data_dir / f"{seed}.png"
        mask.write_bytes(encoded(np.array([[0, 1, 2], [3, 150, 150]], np.uint8), "PNG"))
        examples.append({"image": str(image), "annotation": str(mask)})
    write_set("scene_parse150", data_dir / "tfds", {"train": examples, "test": examples[:1]})
    prepared = datasets.prepare(
        "tfds:scene_parse150", None, data_dir, None, TfdsOptions(None, "annotation", 1)
    )
    assert prepared.num_classes == 150
    example = next(iter(evaluation.evaluation_examples(prepared, "test")))
    np.testing.assert_array_equal(example["label"], [[255, 0, 1], [2, 149, 149]])
    assert example["image_id"].numpy() == b"test_000000"


FEATURES = tfds.features.FeaturesDict(
    {
        "left": tfds.features.Image(shape=(None, None, 3)),
        "right": tfds.features.Image(shape=(None, None, 3)),
        "mask": tfds.features.Image(shape=(None, None, 1)),
        "depth": tfds.features.Tensor(shape=(2, 2), dtype=np.float32),
    }
)


@pytest.mark.parametrize(
    "options, picked",
    [
        (TfdsOptions(image_feature="left", label_feature="mask"), ("left", "mask")),
        (TfdsOptions(image_feature="right", label_feature="left"), ("right", "left")),
    ],
)
def test_features_are_picked(options, picked):
    assert tfds_set.pick_features("x", FEATURES, options) == picked


@pytest.mark.parametrize(
    "options, message",
    [
        (
            TfdsOptions(label_feature="mask"),
            "tfds:x needs --image-feature: its images are left (None, None, 3), right (None, "
            "None, 3), mask (None, None, 1), and more than one is a candidate",
        ),
        (
            TfdsOptions(image_feature="left"),
            "tfds:x needs --label-feature: its images are left (None, None, 3), right (None, "
            "None, 3), mask (None, None, 1), and more than one is a candidate",
        ),
        (
            TfdsOptions(image_feature="left", label_feature="depth"),
            "--label-feature depth: tfds:x has no image of that name; its images are left (None, "
            "None, 3), right (None, None, 3), mask (None, None, 1)",
        ),
        (
            TfdsOptions(image_feature="mask", label_feature="mask"),
            "--image-feature and --label-feature are both mask",
        ),
    ],
)
def test_features_that_are_not_clear(options, message):
    with pytest.raises(UsageError) as caught, as_options(source="from"):
        tfds_set.pick_features("x", FEATURES, options)
    assert str(caught.value) == message


def test_a_file_of_names_that_is_missing_is_told_before_a_download(data_dir, tmp_path):
    for file in (tmp_path / "names.txt", str(tmp_path / "names.txt"), 1):
        options = TfdsOptions(class_names=file)
        with pytest.raises(UsageError) as caught, as_options():
            datasets.prepare("tfds:scene_parse150", None, data_dir, options=options)
        assert str(caught.value) == f"--class-names must be a file, and there is no {file}"


def test_names(data_dir):
    assert datasets.parse_name("tfds:scene_parse150") == ("tfds_set", "scene_parse150")
    assert datasets.parse_name("tfds:a/b_1") == ("tfds_set", "a-b_1")
    for name in ("tfds:", "tfds:../x", "tfds:A b"):
        with pytest.raises(UsageError, match="cannot name a data set: the name of a set that TFDS"):
            datasets.parse_name(name)
    with pytest.raises(UsageError) as caught:
        datasets.parse_name("tfds:Oxford")
    assert str(caught.value) == (
        "'tfds:Oxford' cannot name a data set: the name of a set that TFDS has after 'tfds:'"
    )
    with pytest.raises(UsageError, match="^'tfds:aaa.*….*: 255 characters after 'tfds:'$"):
        datasets.parse_name(f"tfds:{'a' * 300}")
    with pytest.raises(UsageError, match="^there is no data set 'tfds_set/x'.*tfds:NAME"):
        datasets.parse_name("tfds_set/x")
    with pytest.raises(UsageError, match="^TFDS has no data set 'no_such_set'; https://"):
        datasets.prepare("tfds:no_such_set", None, data_dir)
    with pytest.raises(UserError, match="^'tfds:scene_parse150' is not prepared in "):
        datasets.load("tfds:scene_parse150", data_dir)


def test_options_are_for_tfds_sets_alone(source, data_dir):
    message = "--first-label is for tfds:NAME, not 'camvid'"
    with pytest.raises(UsageError, match=message), as_options():
        preparation.check_source("camvid", source, None, TfdsOptions(first_label=1))
    message = "^options are for image_folder, not 'shapes'$"
    with pytest.raises(ValueError, match=message):
        datasets.prepare("shapes", data_dir=data_dir, options=FolderOptions())
    for first_label, message in (
        (255, "^--first-label must be in 0…254, got 255$"),
        ("1", "^--first-label must be an integer, got '1'$"),
    ):
        options = TfdsOptions(first_label=first_label)
        with pytest.raises(UsageError, match=message), as_options():
            preparation.check_source("tfds:oxford_iiit_pet", None, None, options)


def test_a_download_that_fails_says_what_to_do(data_dir, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(UserError) as caught, as_options(source="from"):
        tfds_set.open_source("oxford_iiit_pet", data_dir)
    assert str(caught.value) == (
        "TFDS cannot prepare 'oxford_iiit_pet' (ConnectionError: no route to host): prepare it "
        "with TFDS elsewhere and give its data directory as --from DIR"
    )
