"""What the builders of all data sets have in common."""

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL.PngImagePlugin import PngImageFile
from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2

from pipelines.base.errors import UserError, argument
from pipelines.base.labels import IGNORE, label_fault
from pipelines.base.plurals import count_of
from pipelines.base.progress import note
from pipelines.building import examples, features


class CanonicalWriter(ExampleWriter):
    """Writes the same examples as the same bytes in every process.

    TFDS serialises the features of an example in an order that differs from process to process.
    The order of the records, by the hashes of their keys, does not.
    """

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """As in `ExampleWriter`; works on Beam's workers, too."""
        return super().write(path, ((key, _canonical(record)) for key, record in examples))


def _canonical(record: bytes) -> bytes:
    example = tf_example_pb2.Example.FromString(record)
    return example.SerializeToString(deterministic=True)


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder):
    """A TFDS builder of `example_features`; a subclass sets VERSION and what is known of its set.

    Attributes:
        METADATA: what is recorded beside the examples; `class_names` may follow later.
        HOMEPAGE: of the set.
        TAKES_BINARY: whether its options know black and white masks.
        index_masks: whether label files hold the classes' own values, so that masks of 0 and 255
            could be taken for them; `generators` records it.
        first_label: the value of class 0 in the masks, for messages; `make_example` has to shift
            them.
        beam: whether to prepare with Apache Beam; set by `prepare`.
        skipped: as in `examples.examples`; set by `prepare`.
        accept_findings: whether to keep labels that `fault_of` finds fault with; set by
            `prepare`.
    """

    RELEASE_NOTES = {"1.0.0": "First version."}
    METADATA: Mapping[str, Any] = {}
    HOMEPAGE: str | None = None
    TAKES_BINARY = False
    index_masks = True
    first_label = 0
    beam = False
    skipped: dict[str, int] | None = None
    accept_findings = False

    def _info(self):
        return self.dataset_info_from_configs(
            features=features.example_features(),
            metadata=tfds.core.MetadataDict(self.METADATA),
            homepage=self.HOMEPAGE,
        )

    def _example_writer(self):
        return CanonicalWriter(file_format=self.info.file_format)

    def generators(
        self,
        splits: Collection[str],
        list_items: Callable[[str], Any],
        make_example: Callable[[Any], tuple[str, dict]],
        published: Mapping[str, int] | None = None,
        title: str | None = None,
    ) -> dict[str, Any]:
        """What `_split_generators` returns.

        Args:
            splits: their names.
            list_items, make_example: as in `examples.examples`, but that a split is listed by name.
            published: how many examples each split has. All are listed then, before hours are
                spent on the first one, and another number is said on standard error.
            title: of the progress bars, where it is not the set's name.
        """
        for split, count in (published or {}).items():
            if (found := len(list_items(split))) != count:
                images = count_of(found, "image")
                note(f"{self.name}: {split} has {images}, not {count:,} as published")
        self.info.metadata["index_masks"] = self.index_masks
        made = [
            (partial(list_items, split), make_example, f"{title or self.name} {split}")
            for split in splits
        ]
        return {
            split: self._generate_examples(split, first, made[number:])
            for number, (split, first) in enumerate(zip(splits, made, strict=True), 1)
        }

    def _generate_examples(self, split, first, rest):
        list_items, make_example, description = first
        if self.beam:
            return examples.examples(list_items, make_example, description, beam=True)
        make = partial(_with_pixels, make_example)
        return self._counted(
            split,
            examples.examples(list_items, make, description, skipped=self.skipped, rest=rest),
        )

    def _counted(self, split, made):
        """Records the pixels of the labels' values, and refuses a split of which none is usable.

        Raises:
            UserError: as `fault_of` says; before anything of the set gets its name.
        """
        pixels = np.zeros(256, np.int64)
        times: Counter[str] = Counter()
        for (key, example), counts in made:
            pixels += counts
            yield _with_unique_key(key, example, times)
        names = self.info.metadata["class_names"]
        recorded = [*pixels[: len(names)].tolist(), int(pixels[IGNORE])]
        self.info.metadata.setdefault("label_pixels", {})[split] = recorded
        fault = self.fault_of(split, pixels)
        if fault and not self.accept_findings:
            raise UserError(
                f"{fault}, or give {argument('accept_findings')} to keep these labels as they are"
            )

    def fault_of(self, split: str, pixels: np.ndarray) -> str | None:
        """Why the labels of a whole split are refused, and what to do; None if they are not.

        Args:
            split: its name.
            pixels: int `[256]`, the pixels of each value in all of them.

        Returns:
            A sentence with marked names of arguments, as of a `UserError`.
        """
        names, first = self.info.metadata["class_names"], self.first_label
        fault = label_fault(split, pixels, names, first, self.index_masks)
        # Nothing is learnt from a split to measure on: it may be void throughout.
        is_void = not pixels[: len(names)].any()
        if not fault or (is_void and not split.startswith("train")):
            return None
        return f"{fault}; {self.advice(pixels)}"

    def advice(self, pixels: np.ndarray) -> str:
        """What to do where `fault_of` finds fault with a split of these pixels."""
        names, first = self.info.metadata["class_names"], self.first_label
        binary = self.TAKES_BINARY and len(names) == 2 and not first
        values = f"write {names[0]!r} as {first}, {names[1]!r} as {first + 1} and so on"
        return f"give {argument('binary')} if white is class 1, {values}" if binary else values


def _with_unique_key(key, example, times) -> tuple[str, dict]:
    """A key that is there already, which TFDS would refuse, gets a number: "a-2"."""
    unique = key
    while times[unique]:
        times[key] += 1
        unique = f"{key}-{times[key]}"
    times[unique] += 1
    return unique, {**example, "image_id": unique}


def _with_pixels(make_example, item) -> tuple[tuple[str, dict], np.ndarray]:
    """An example, and the pixels of each value in its label, int `[256]`."""
    key, example = make_example(item)
    return (key, example), np.array(PngImageFile(io.BytesIO(example["label"])).histogram())
