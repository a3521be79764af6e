"""What is measured: the options of `evaluate`, which the experiments check, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.evaluation.boundaries import CONTOUR_SHARE, WIDTH
from gcn_keras.evaluation.submission import check_file
from gcn_keras.inference.options import PLAIN, InferenceOptions
from pipelines.base.errors import ArgumentError, argument, check_flags, flags_of


@dataclass(frozen=True)
class EvaluationOptions:
    """On which images a model is measured, and by what."""

    split: str | None = None
    """Split to measure on; by default val or validation."""
    limit: int | None = None
    """Number of images, the first ones; by default all."""
    boundaries: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also accuracy near boundaries of labels and elsewhere, and Boundary IoU."""
    boundary_width: int = WIDTH
    """Width of the band along boundaries, in pixels."""
    contour_share: float = CONTOUR_SHARE
    """Width of Boundary IoU's contours, as a share of an image's diagonal."""
    trimap: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Also accuracy and mean IoU in bands along boundaries, of these widths; without any,
    1, 2, 3, 5, 7, 10, 15, 20, 30 and 40."""
    submission: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Archive of the label maps as the test server wants them: .tgz for data sets with VOC's
    classes, .tgz or .zip for Cityscapes. The split needs no labels."""
    inference: Annotated[InferenceOptions, tyro.conf.arg(name="")] = PLAIN
    """Test-time augmentation and a dense CRF."""

    def check_for(self, model: str) -> None:
        """Refuses what is invalid or impossible, before anything slow is imported.

        Args:
            model: path or address of the model that is to be measured.

        Raises:
            ArgumentError: naming the field, the value and what it can be.
            UserError: the CRF's package or the submission's folder is missing; this form of a
                model does not give what the options need.
        """
        check_flags(**flags_of(self))
        width, share, limit = self.boundary_width, self.contour_share, self.limit
        narrowest = min(self.trimap or (1,))
        missing = f"is about {argument('boundaries')}, which is missing"
        for name, valid, reason in (
            ("limit", limit is None or limit >= 1, f"must be at least 1, got {limit}"),
            ("boundary_width", width >= 1, f"must be at least 1 pixel, got {width}"),
            ("contour_share", 0 < share <= 1, f"must be above 0 and at most 1, got {share}"),
            ("trimap", narrowest >= 1, f"widths must be at least 1 pixel, got {narrowest}"),
            ("boundary_width", self.boundaries or width == WIDTH, missing),
            ("contour_share", self.boundaries or share == CONTOUR_SHARE, missing),
        ):
            if not valid:
                raise ArgumentError(name, reason)
        if self.submission:
            check_file(self.submission, self.limit)
        self.inference.check_for(model)


DEFAULT = EvaluationOptions()


def parse_options(words: Sequence[str]) -> EvaluationOptions:
    """The options in a command line of `evaluate`, without its model, data set and JSON file.

    Raises:
        SystemExit: from tyro, status 2, for an unknown option or a value of another type.
    """
    return tyro.cli(EvaluationOptions, args=list(words), prog="python -m gcn_keras.evaluate")
