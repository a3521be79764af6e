"""What the builders of all data sets have in common."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import tensorflow_datasets as tfds

from pipelines.base.progress import note
from pipelines.building import encoding, examples


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder):
    """A TFDS builder of `encoding.features`; a subclass sets VERSION and what is known of its set.

    Attributes:
        METADATA: what is recorded beside the examples; `class_names` may follow later.
        HOMEPAGE: of the set.
        beam: whether to prepare with Apache Beam; set by `prepare`.
        skipped: as of `examples.examples`; set by `prepare`.
    """

    RELEASE_NOTES = {"1.0.0": "First version."}
    METADATA: Mapping[str, Any] = {}
    HOMEPAGE: str | None = None
    beam = False
    skipped: dict[str, int] | None = None

    def _info(self):
        return self.dataset_info_from_configs(
            features=encoding.features(),
            metadata=tfds.core.MetadataDict(self.METADATA),
            homepage=self.HOMEPAGE,
        )

    def generators(
        self,
        splits: Iterable[str],
        list_items: Callable[[str], Any],
        make_example: Callable[[Any], tuple[str, dict]],
        published: Mapping[str, int] | None = None,
        title: str | None = None,
    ) -> dict[str, Any]:
        """What `_split_generators` returns.

        Args:
            splits: their names.
            list_items, make_example: as of `examples.examples`, but that a split is listed by name.
            published: how many examples each split has. All are listed then, before hours are
                spent on the first one, and another number is said on standard error.
            title: of the progress bars, where it is not the set's name.
        """
        for split, count in (published or {}).items():
            if (found := len(list_items(split))) != count:
                note(f"{self.name}: {split} has {found:,} images, not {count:,} as published")
        return {
            split: self._generate_examples(
                partial(list_items, split), make_example, f"{title or self.name} {split}"
            )
            for split in splits
        }

    def _generate_examples(self, list_items, make_example, description):
        return examples.examples(list_items, make_example, description, self.beam, self.skipped)
