"""Sets of images with one class each: how they are found, and the stream of their crops."""

import collections
import io
import json
import re
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from classified_images import BRIGHT, CLASSES, DARK, TRAIN, Imagenet2012, jpeg, write_images

from pipelines.base import decoding
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.datasets import classification as classification_sets
from pipelines.prepare import prepare
from pipelines.stream import classification, crops


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("classified"))


@pytest.fixture(scope="module")
def dataset(data_dir):
    return classification_sets.load("imagenet2012", data_dir)


def take(stream, count):
    return [tuple(part.numpy() for part in batch) for batch in stream.take(count)]


def same(first, second) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


class TestSets:
    def test_what_is_loaded(self, dataset):
        assert dataset.num_classes == CLASSES
        assert dataset.splits == {"train": TRAIN, "validation": 7}
        assert dataset.validation_split() == "validation"
        assert {split: sum(lengths) for split, lengths in dataset.lengths.items()} == dataset.splits
        record = next(iter(tf.data.TFRecordDataset(dataset.files["train"])))
        parsed = dataset.parse(record)
        number = int(parsed["image_id"].numpy().decode().removeprefix("train-")[: -len(".JPEG")])
        assert parsed["label"].numpy() == (BRIGHT if number % 2 else DARK)
        assert parsed["image"].numpy() == jpeg(number, parsed["label"].numpy())

    def test_the_newest_version_is_taken(self, tmp_path):
        for version in ("5.1.0", "5.0.0", "10.0.0", "incomplete.AB_11.0.0"):
            (tmp_path / "imagenet2012" / version).mkdir(parents=True)
            (tmp_path / "imagenet2012" / version / "dataset_info.json").touch()
        folder = classification_sets.check_prepared("imagenet2012", tmp_path)
        assert folder == tmp_path / "imagenet2012" / "10.0.0"

    def test_imagenet_is_missing(self, tmp_path):
        with pytest.raises(UserError) as caught:
            classification_sets.load("imagenet2012", tmp_path)
        assert str(caught.value) == (
            f"'imagenet2012' is not prepared in {tmp_path} (looked in {tmp_path}/imagenet2012); "
            "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from "
            "https://image-net.org/download-images into a folder DIR and run: python -m "
            f"pipelines.prepare imagenet2012 --from DIR --data-dir {tmp_path}"
        )

    def test_another_set_is_missing(self, tmp_path):
        with pytest.raises(UserError) as caught:
            classification_sets.check_prepared("imagenette/160px", tmp_path)
        assert str(caught.value) == (
            f"'imagenette/160px' is not prepared in {tmp_path} (looked in {tmp_path}/imagenette/"
            "160px); prepare it with: python -c "
            "'import tensorflow_datasets as tfds; tfds.builder('\"'\"'imagenette/160px'\"'\"', "
            f"data_dir='\"'\"'{tmp_path}'\"'\"', file_format='\"'\"'tfrecord'\"'\"')"
            ".download_and_prepare()'"
        )

    @pytest.mark.parametrize("name", ["", "ImageNet", "../x", "a/b/c", "tfds:cifar10", "a/.."])
    def test_names_that_cannot_be_meant(self, name):
        with pytest.raises(UsageError) as caught, as_options():
            classification_sets.check_name(name)
        assert str(caught.value) == (
            "--dataset must be the name of a set that TFDS has, such as imagenet2012 or "
            f"imagenette/160px, got {name!r}"
        )

    def test_a_damaged_set(self, tmp_path):
        folder = write_images(tmp_path) / "imagenet2012" / "5.1.0"
        (folder / "features.json").write_text("{")
        with pytest.raises(UserError) as caught:
            classification_sets.load("imagenet2012", tmp_path)
        assert str(caught.value).startswith(
            f"{folder} has a damaged dataset_info.json or features.json ("
        )

    def test_another_file_format(self, tmp_path):
        folder = write_images(tmp_path) / "imagenet2012" / "5.1.0"
        info = json.loads((folder / "dataset_info.json").read_text())
        (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "riegeli"}))
        with pytest.raises(UserError) as caught:
            classification_sets.load("imagenet2012", tmp_path)
        assert str(caught.value) == (
            f"{folder} holds riegeli files, and TFRecords are read: prepare it with "
            "file_format='tfrecord'"
        )

    def test_a_set_of_something_else(self, tmp_path):
        class Masks(Imagenet2012):
            name = "masks"

            def _info(self):
                features = {"image": tfds.features.Image(), "mask": tfds.features.Image()}
                return self.dataset_info_from_configs(
                    description="", features=tfds.features.FeaturesDict(features)
                )

            def _generate_examples(self, split, count):
                yield 0, dict.fromkeys(("image", "mask"), np.zeros((4, 4, 3), np.uint8))

        write_images(tmp_path, Masks)
        with pytest.raises(UserError) as caught:
            classification_sets.load("masks", tmp_path)
        assert str(caught.value) == (
            "'masks' is no set of images with one class each: it needs the features image and "
            "label, and has image, mask"
        )

    def test_a_image_without_a_class(self, tmp_path):
        class Unlabelled(Imagenet2012):
            name = "unlabelled"
            label = -1

        write_images(tmp_path, Unlabelled)
        dataset = classification_sets.load("unlabelled", tmp_path)
        batches = classification.evaluation_batches(dataset, "validation", (32, 32), 4)
        with pytest.raises(tf.errors.InvalidArgumentError, match="an image has no class"):
            next(iter(batches))


class TestImageNet:
    """TFDS' own builder, on archives of ImageNet's layout."""

    @pytest.fixture
    def archives(self, tmp_path):
        folder = tmp_path / "archives"
        folder.mkdir()

        def add(archive, name, content):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as train:
            for synset in ("n01440764", "n01443537"):
                inner = io.BytesIO()
                with tarfile.open(fileobj=inner, mode="w") as images:
                    add(images, f"{synset}_1.JPEG", jpeg(1, BRIGHT))
                add(train, f"{synset}.tar", inner.getvalue())
        with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as validation:
            add(validation, "ILSVRC2012_val_00000001.JPEG", jpeg(0, DARK))
        return folder

    @pytest.mark.slow
    def test_is_prepared_once(self, archives, tmp_path, capsys):
        data_dir = tmp_path / "data"
        for _ in range(2):
            prepare("imagenet2012", archives, data_dir)
            assert capsys.readouterr().out == (
                "imagenet2012: 1,000 classes\n  train                2 examples\n"
                f"  validation           1 example\nin {data_dir}/imagenet2012/5.1.0\n"
                "next: python -m gcn_keras.fit --recipe imagenet-pretrain --dataset imagenet2012 "
                f"--data-dir {data_dir}\n"
                "  (--show-batch FILE.png draws what it trains on, and ends)\n"
            )
        dataset = classification_sets.load("imagenet2012", data_dir)
        assert dataset.class_names[:2] == ("n01440764", "n01443537")
        records = tf.data.TFRecordDataset(list(dataset.files["train"]))
        found = {x["image_id"].numpy(): x["label"].numpy() for x in map(dataset.parse, records)}
        assert found == {b"n01440764_1.JPEG": 0, b"n01443537_1.JPEG": 1}

    def test_what_is_missing(self, archives, tmp_path):
        (archives / "ILSVRC2012_img_val.tar").unlink()
        with pytest.raises(UserError) as caught:
            prepare("imagenet2012", archives, tmp_path / "data")
        assert str(caught.value) == (
            f"{archives} lacks ILSVRC2012_img_val.tar, which https://image-net.org/download-images "
            "gives to whoever registers"
        )
        with pytest.raises(UsageError) as caught:
            prepare("imagenet2012", data_dir=tmp_path / "data")
        assert str(caught.value) == "'imagenet2012' needs the folder of its archives: --from DIR"

    @pytest.mark.slow
    def test_a_damaged_archive(self, archives, tmp_path):
        (archives / "ILSVRC2012_img_train.tar").write_bytes(b"no archive" * 100)
        with pytest.raises(UserError) as caught:
            prepare("imagenet2012", archives, tmp_path / "data")
        message = str(caught.value)
        assert message.startswith(f"cannot prepare 'imagenet2012' in {tmp_path}/data: ")

    def test_options_that_it_has_not(self, archives):
        with pytest.raises(UsageError) as caught:
            prepare("imagenet2012", archives, skip_errors=True)
        assert str(caught.value) == (
            "'imagenet2012' is written by TFDS: it takes --from and --data-dir alone"
        )


class TestWindows:
    @pytest.mark.parametrize(
        "size, crop, expected",
        [
            # A shorter side of 256 shows its middle 224.
            ((256, 512), (224, 224), (16, 144, 224, 224)),
            ((512, 256), (224, 224), (144, 16, 224, 224)),
            # 7/8 of 80 pixels.
            ((100, 80), (32, 32), (15, 5, 70, 70)),
            # The widest window of 1:2 is 50×100, of which 43.75×87.5 are shown.
            ((100, 100), (32, 64), (28, 6, 44, 88)),
            ((1, 1), (32, 32), (0, 0, 1, 1)),
        ],
    )
    def test_the_central_one(self, size, crop, expected):
        window = classification.central_window(tf.constant(size), crop)
        assert tuple(int(x) for x in window) == (*expected, *crop, 0, 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("crop", [(32, 32), (32, 64)])
    def test_random_ones(self, crop):
        """Inside the image, of a share of its area, of about the crop's shape; all over it."""
        height, width = 300, 400
        shares, ratios, tops = [], [], []
        for number in range(400):
            window = classification.random_window(
                tf.constant([height, width]), (1, number), crop, (0.1, 0.4)
            )
            top, left, shown_height, shown_width, *place = (int(x) for x in window)
            assert 0 <= top and 0 <= left and place == [*crop, 0, 0]
            assert top + shown_height <= height and left + shown_width <= width
            shares.append(shown_height * shown_width / (height * width))
            ratios.append(shown_width / shown_height / (crop[1] / crop[0]))
            tops.append(top / (height - shown_height))
        assert 0.099 < min(shares) < 0.12 and 0.37 < max(shares) < 0.401
        assert 0.74 < min(ratios) < 0.78 and 1.27 < max(ratios) < 1.35
        assert min(tops) < 0.02 and max(tops) > 0.98

    def test_the_same_seed_gives_the_same(self):
        def draw(seed):
            window = classification.random_window(
                tf.constant([300, 400]), seed, (32, 32), (0.08, 1.0)
            )
            return tuple(int(x) for x in window)

        assert draw((3, 4)) == draw((3, 4)) != draw((3, 5))


class TestCrops:
    def test_the_central_one_is_the_resized_middle(self):
        encoded = tf.constant(jpeg(0, DARK))  # 40×52
        pixels = decoding.decode_image(encoded)
        middle = pixels[2:37, 8:43].numpy()  # 7/8 of 40: 35
        expected = crops.to_uint8(crops.resize_image(middle, 32, 32))
        found = classification.central_crop(encoded, (32, 32))
        assert np.array_equal(found, expected)

    def test_png(self):
        pixels = np.random.default_rng(0).integers(0, 256, (35, 70, 3)).astype(np.uint8)
        found = classification.central_crop(tf.io.encode_png(pixels), (28, 28))
        # 7/8 of 35 is 30.625: 31 pixels, resized to 28.
        middle = pixels[2:33, 19:50]
        assert np.array_equal(found, crops.to_uint8(crops.resize_image(middle, 28, 28)))

    def test_a_random_one_shows_its_window(self):
        encoded, seed = tf.constant(jpeg(3, BRIGHT)), tf.constant([5, 6], tf.int64)
        options = dict(crop=(24, 24), area=(0.2, 0.6))
        plain = classification.random_resized_crop(encoded, seed, flip=False, **options)
        pixels = decoding.decode_image(encoded)
        window_seed = tf.random.split(seed, 2)[0]
        window = classification.random_window(
            tf.shape(pixels)[:2], window_seed, (24, 24), (0.2, 0.6)
        )
        shown = crops.resize_image(crops.cut(pixels, window), 24, 24)
        assert np.array_equal(plain, crops.to_uint8(shown))

    @pytest.mark.slow
    def test_half_of_them_are_mirrored(self):
        encoded = tf.constant(jpeg(3, BRIGHT))
        options = dict(crop=(24, 24), area=(0.2, 0.6))
        mirrored = 0
        for number in range(60):
            seed = tf.constant([5, number], tf.int64)
            plain, found = (
                classification.random_resized_crop(encoded, seed, flip=flip, **options).numpy()
                for flip in (False, True)
            )
            is_mirrored = np.array_equal(found, plain[:, ::-1])
            assert is_mirrored or np.array_equal(found, plain)
            mirrored += is_mirrored
        assert 20 <= mirrored <= 40

    def test_mirroring_and_colours_have_draws_of_their_own(self):
        pixels = decoding.decode_image(tf.constant(jpeg(3, BRIGHT)))
        encoded = tf.io.encode_png(pixels)  # of a JPEG's part, pixels at its edge may differ
        options = dict(crop=(24, 24), area=(0.2, 0.6), jitter=0.5)
        for number in range(8):
            seed = tf.constant([5, number], tf.int64)
            of_window, of_rest = tf.unstack(tf.random.split(seed, 2))
            draws = tf.random.stateless_uniform([4], of_rest)
            window = classification.random_window(
                tf.shape(pixels)[:2], of_window, (24, 24), (0.2, 0.6)
            )
            shown = crops.resize_image(crops.cut(pixels, window), 24, 24)
            wanted = crops.to_uint8(crops.jitter_colours(shown, draws[:3], 0.5)).numpy()
            if draws[3] < 0.5:
                wanted = wanted[:, ::-1]
            found = classification.random_resized_crop(encoded, seed, **options)
            assert np.array_equal(found, wanted)

    def test_jitter_changes_colours(self):
        encoded, seed = tf.constant(jpeg(3, BRIGHT)), tf.constant([5, 6], tf.int64)
        options = dict(crop=(24, 24), area=(0.2, 0.6), flip=False)
        plain, jittered = (
            classification.random_resized_crop(encoded, seed, jitter=jitter, **options).numpy()
            for jitter in (0.0, 0.5)
        )
        assert np.abs(plain.astype(int) - jittered).mean() > 3


class TestStream:
    OPTIONS = dict(crop=(32, 24), batch_size=4, seed=3)

    def test_every_image_once_in_an_epoch_with_its_class(self, dataset):
        epochs = take(classification.training_batches(dataset, "train", **self.OPTIONS), 10)
        orders = []
        for epoch in (epochs[:5], epochs[5:]):
            names = [name.decode() for _, _, ids in epoch for name in ids]
            assert sorted(names) == sorted(f"train-{i}.JPEG" for i in range(TRAIN))
            orders.append(names)
        assert orders[0] != orders[1]
        for images, labels, ids in epochs:
            assert images.shape == (4, 32, 24, 3) and images.dtype == np.uint8
            assert labels.dtype == np.int64
            for image, label, name in zip(images, labels, ids, strict=True):
                odd = int(name.decode()[6:-5]) % 2
                assert label == (BRIGHT if odd else DARK) and (image.mean() > 128) == odd

    @pytest.mark.slow
    def test_a_stream_goes_on_anywhere(self, dataset):
        whole = take(classification.training_batches(dataset, "train", **self.OPTIONS), 9)
        again = classification.training_batches(dataset, "train", start=6, **self.OPTIONS)
        assert same(take(again, 3), whole[6:])

    @pytest.mark.slow
    def test_parts_of_a_batch(self, dataset):
        whole = take(classification.training_batches(dataset, "train", **self.OPTIONS), 3)
        parts = [
            take(
                classification.training_batches(
                    dataset, "train", batch_part=(index, 2), **self.OPTIONS
                ),
                3,
            )
            for index in (0, 1)
        ]
        joined = [
            tuple(np.concatenate(pair) for pair in zip(*halves, strict=True))
            for halves in zip(*parts, strict=True)
        ]
        assert same(joined, whole)

    @pytest.mark.slow
    def test_damaged_images_are_skipped(self, tmp_path):
        class Damaged(Imagenet2012):
            name = "damaged"

            def _generate_examples(self, split, count):
                for key, example in super()._generate_examples(split, count):
                    if key == "train-3.JPEG":
                        example["image"] = example["image"].getvalue()[:100]
                    yield key, example

        write_images(tmp_path, Damaged)
        dataset = classification_sets.load("damaged", tmp_path)
        stream = classification.training_batches(dataset, "train", **self.OPTIONS)
        with pytest.raises(tf.errors.InvalidArgumentError):
            take(stream, 5)
        stream = classification.training_batches(dataset, "train", skip_errors=True, **self.OPTIONS)
        names = collections.Counter(name for *_, ids in take(stream, 2 * 19) for name in ids)
        assert names[b"train-3.JPEG"] == 0 and set(names.values()) == {8}

    @pytest.mark.slow
    def test_evaluation(self, dataset):
        batches = take(classification.evaluation_batches(dataset, "validation", (32, 32), 3), 9)
        assert [len(labels) for _, labels in batches] == [3, 3, 1]
        labels = np.concatenate([labels for _, labels in batches])
        means = np.concatenate([images.mean(axis=(1, 2, 3)) for images, _ in batches])
        assert collections.Counter(labels.tolist()) == {DARK: 4, BRIGHT: 3}
        assert ((means > 128) == (labels == BRIGHT)).all()
        parts = [
            take(classification.evaluation_batches(dataset, "validation", (32, 32), 3, (i, 2)), 9)
            for i in (0, 1)
        ]
        sizes = [[len(labels) for _, labels in part] for part in parts]
        assert sizes == [[3, 1], [3]]
        every = np.concatenate([images for part in parts for images, _ in part])
        whole = np.concatenate([images for images, _ in batches])
        assert np.array_equal(every[[0, 4, 1, 5, 2, 6, 3]], whole)

    def test_invalid_values(self, dataset):
        for name, value in (("area", (0.5, 0.1)), ("area", (0.0, 1.0)), ("start", -1)):
            with pytest.raises(
                UsageError, match=rf"^{name} must be .*, got {re.escape(str(value))}$"
            ):
                classification.training_batches(dataset, "train", **{**self.OPTIONS, name: value})

    def test_no_such_split(self, dataset):
        for function, options in (
            (classification.training_batches, self.OPTIONS),
            (classification.evaluation_batches, dict(crop=(32, 32), batch_size=3)),
        ):
            with pytest.raises(
                UsageError, match="'imagenet2012' has no split 'dev'; it has: train"
            ):
                function(dataset, "dev", **options)
