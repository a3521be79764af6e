"""The streams that `benchmarks/input_pipeline.py` compares: one function each.

Every one takes a `Job` and gives an endless iterator; what an item holds is `Job.batch` crops,
except for `decode_only`, whose items are whole images, `Job.batch` of them. All make the same
example: random scale, random crop, mirrored half of the time; the mask by nearest neighbour.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

MEAN_PIXEL, IGNORE = (124, 116, 104), 255


@dataclass(frozen=True)
class Job:
    """What is streamed: a prepared set, the files that it came from, and the crops wanted.

    Attributes:
        data_dir: holds the prepared set `image_folder/NAME`.
        name: that NAME.
        folder: holds images/ and labels/, the same images as files.
        crop: side of the square crops, pixels.
        scale: smallest and largest factor.
        batch: crops in a batch.
    """

    data_dir: str
    name: str
    folder: str
    crop: int
    scale: tuple[float, float]
    batch: int

    def files(self) -> tuple[list[str], list[str]]:
        """Images and masks, in the same order."""
        folders = (Path(self.folder, part) for part in ("images", "labels"))
        return tuple(sorted(map(str, folder.iterdir())) for folder in folders)


def decode_only(job: Job):
    """The physical limit: the same JPEGs from memory, decoded fully with all cores."""
    import tensorflow as tf

    images, _ = job.files()
    encoded = [Path(path).read_bytes() for path in images]
    return iter(
        tf.data.Dataset.from_tensor_slices(encoded)
        .repeat()
        .map(lambda image: tf.io.decode_jpeg(image, channels=3), tf.data.AUTOTUNE)
        .map(lambda image: image[0, 0])  # nothing is done with the pixels, nor are they copied
        .batch(job.batch)
        .prefetch(tf.data.AUTOTUNE)
    )


def ours(job: Job):
    """`pipelines.stream.segmentation.training_batches`, from TFRecords."""
    from pipelines import datasets
    from pipelines.stream import segmentation

    dataset = datasets.load(f"image_folder/{job.name}", job.data_dir)
    return iter(
        segmentation.training_batches(
            dataset, "train", crop=(job.crop, job.crop), batch_size=job.batch, scale=job.scale
        )
    )


def _decoded(job: Job):
    """Shuffled pairs of whole images and masks from TFRecords, as most training scripts have."""
    import tensorflow as tf

    from pipelines import datasets

    dataset = datasets.load(f"image_folder/{job.name}", job.data_dir)

    def decode(record):
        example = dataset.parse(record)
        image = tf.io.decode_jpeg(example["image"], channels=3)
        return image, tf.io.decode_png(example["label"], channels=1)

    records = tf.data.TFRecordDataset(list(dataset.files["train"]))
    return records.repeat().shuffle(64).map(decode, tf.data.AUTOTUNE)


def tf_image(job: Job):
    """Decode, then tf.image on the whole image: the way most people write it."""
    import tensorflow as tf

    def augment(image, label):
        factor = tf.random.uniform([], *job.scale)
        size = tf.cast(tf.round(tf.cast(tf.shape(image)[:2], tf.float32) * factor), tf.int32)
        image = tf.image.resize(tf.cast(image, tf.float32), size)
        label = tf.cast(tf.image.resize(label, size, method="nearest"), tf.float32)
        missing = tf.maximum(job.crop - size, 0)
        padding = [[0, missing[0]], [0, missing[1]], [0, 0]]
        image = tf.pad(image - tf.constant(MEAN_PIXEL, tf.float32), padding)
        label = tf.pad(label, padding, constant_values=IGNORE)
        both = tf.image.random_crop(tf.concat([image, label], -1), (job.crop, job.crop, 4))
        both = tf.image.random_flip_left_right(both)
        return both[..., :3], tf.cast(both[..., 3], tf.uint8)

    return iter(
        _decoded(job).map(augment, tf.data.AUTOTUNE).batch(job.batch).prefetch(tf.data.AUTOTUNE)
    )


def keras_cv(job: Job):
    """Decode, batch, then keras-cv's JitteredResize and RandomFlip on {images, masks}."""
    import tensorflow as tf
    from keras_cv import layers

    resize = layers.JitteredResize((job.crop, job.crop), scale_factor=job.scale)
    flip = layers.RandomFlip("horizontal")

    def augment(image, label):
        return flip(resize({"images": image, "segmentation_masks": label}))

    return iter(
        _decoded(job).batch(job.batch).map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    )


class _Files:
    """A PyTorch data set of files, augmented with albumentations."""

    def __init__(self, job: Job):
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)  # the loader's processes are the parallelism
        self.images, self.labels = job.files()
        low, high = job.scale
        self.augment = A.Compose(
            [
                A.RandomScale((low - 1, high - 1), p=1),
                A.PadIfNeeded(job.crop, job.crop, fill=MEAN_PIXEL, fill_mask=IGNORE),
                A.RandomCrop(job.crop, job.crop),
                A.HorizontalFlip(),
            ]
        )

    def __len__(self):
        return len(self.images) * 1000

    def __getitem__(self, index):
        import cv2

        index %= len(self.images)
        image = cv2.imread(self.images[index], cv2.IMREAD_COLOR)[..., ::-1]
        label = cv2.imread(self.labels[index], cv2.IMREAD_UNCHANGED)
        out = self.augment(image=image, mask=label)
        return out["image"].copy(), out["mask"].copy()


def torch_albumentations(job: Job):
    """PyTorch's DataLoader with a process a core over the files, albumentations on OpenCV."""
    from torch.utils.data import DataLoader

    loader = DataLoader(_Files(job), job.batch, shuffle=True, num_workers=os.cpu_count())
    return itertools.chain.from_iterable(itertools.repeat(loader))


STREAMS = {
    "decode only": decode_only,
    "ours": ours,
    "tf.image": tf_image,
    "keras-cv": keras_cv,
    "PyTorch": torch_albumentations,
}
NEEDS = {"PyTorch": ("torch", "albumentations"), "keras-cv": ("keras_cv",)}
