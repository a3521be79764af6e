"""Label maps packed as the test servers of PASCAL VOC and Cityscapes want them."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gcn_keras.evaluation.metrics import NoSuchClass
from pipelines.base import labels
from pipelines.base.encoding import encode_label
from pipelines.base.errors import ArgumentError, UsageError, argument
from pipelines.base.files import check_target, replacing

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

TAR_ENDINGS, ZIP_ENDING = (".tgz", ".tar.gz"), ".zip"


@dataclass(frozen=True, eq=False)
class Layout:
    """What a server wants.

    Attributes:
        server: its name.
        class_names: of the data sets that it measures.
        path: of a label map in the archive, with {} for the image id.
        values: uint8 `[C]`, what stands for each class in the label maps.
        palette: uint8 `[256, 3]`, the colours that the label maps carry; None for none.
        endings: of archives that it takes.
    """

    server: str
    class_names: tuple[str, ...]
    path: str
    values: np.ndarray = field(repr=False)
    palette: np.ndarray | None
    endings: tuple[str, ...]

    def encode(self, prediction: np.ndarray) -> bytes:
        """A label map, uint8 `[H, W]`, as the server's PNG; NoSuchClass for another value."""
        if prediction.max() >= len(self.values):
            raise NoSuchClass(
                f"predictions must be below {len(self.values)}, found {prediction.max()}"
            )
        values = self.values[prediction]
        if self.palette is None:
            return encode_label(values)
        image, content = Image.fromarray(values), io.BytesIO()
        image.putpalette(self.palette.tobytes())
        image.save(content, format="PNG")
        return content.getvalue()


LAYOUTS = (
    # The development kit, "Submission of Results". Competition 6: trained on any data but VOC's
    # test set; the paper's models are trained on COCO and SBD, too.
    Layout(
        server="PASCAL VOC 2012",
        class_names=labels.VOC_CLASSES,
        path="results/VOC2012/Segmentation/comp6_test_cls/{}.png",
        values=np.arange(len(labels.VOC_CLASSES), dtype=np.uint8),
        palette=labels.voc_colour_map(),
        endings=TAR_ENDINGS,
    ),
    # cityscapesscripts, evalPixelLevelSemanticLabeling.py: one CITY_SEQUENCE_FRAME*.png an image,
    # wherever it lies, of label ids and not train ids.
    Layout(
        server="Cityscapes",
        class_names=labels.CITYSCAPES_CLASSES,
        path="{}_pred_labelIds.png",
        values=np.array(labels.CITYSCAPES_LABEL_IDS, np.uint8),
        palette=None,
        endings=(*TAR_ENDINGS, ZIP_ENDING),
    ),
)


def check_file(file: Path, limit: int | None = None) -> None:
    """Refuses an archive that can be no submission of `limit` images, None for all.

    Raises:
        ArgumentError: another ending, or not all images.
        UserError: its folder does not exist.
    """
    if not file.name.endswith((*TAR_ENDINGS, ZIP_ENDING)):
        raise ArgumentError("submission", f"FILE must end in .tgz, .tar.gz or .zip, got {file}")
    if limit is not None:
        raise ArgumentError(
            "submission", f"needs every image of the split: omit {argument('limit')} {limit}"
        )
    check_target(file, argument("submission"))


def layout_of(dataset: PreparedDataset, file: Path) -> Layout:
    """The layout of an archive for a data set, by its classes.

    Raises:
        UsageError: no server measures these classes, or it takes no archive with this ending.
    """
    for layout in LAYOUTS:
        if tuple(dataset.class_names) == layout.class_names:
            if not file.name.endswith(layout.endings):
                raise UsageError(
                    f"the server of {layout.server} takes {' or '.join(layout.endings)}: "
                    f"{argument('submission')} {file} ends otherwise"
                )
            return layout
    servers = " and ".join(layout.server for layout in LAYOUTS)
    raise ArgumentError(
        "submission", f"is for the classes of {servers}, and {dataset.name!r} has others"
    )


@contextlib.contextmanager
def write_submission(
    file: Path, layout: Layout
) -> Iterator[Callable[[list[str], np.ndarray], None]]:
    """Writes an archive of label maps, under its name only once the block has ended well.

    The same label maps make the same bytes.

    Yields:
        A function that adds image ids, a list of B, and label maps, uint8 `[B, H, W]`; a
        ValueError from it: an index that is no class.

    Raises:
        UserError: the file cannot be written.
    """
    pack = _zip if file.name.endswith(ZIP_ENDING) else _tar
    with replacing(file) as temporary, pack(temporary) as add:

        def keep(image_ids: list[str], predictions: np.ndarray) -> None:
            for image_id, prediction in zip(image_ids, predictions, strict=True):
                add(layout.path.format(image_id), layout.encode(prediction))

        yield keep


@contextlib.contextmanager
def _tar(file: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Adds files of 1970, rights 644 and no owner to a .tgz without a name and time of its own."""
    with (
        open(file, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):

        def add(name, content):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        yield add


@contextlib.contextmanager
def _zip(file: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Adds files of 1980, the first year that zip knows, with rights 644; PNGs shrink no more."""
    with zipfile.ZipFile(file, "w") as archive:

        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)

        yield add
