"""How an image becomes a label map: test-time augmentation, and a dense CRF after it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.inference import dense_crf as crf
from gcn_keras.inference import multi_scale
from gcn_keras.inference.label_maps import label_map
from gcn_keras.inference.multi_scale import as_typed
from gcn_keras.inference.segmenters import Segment, Segmenter, check_gives_logits, logits_of
from pipelines.base.errors import ArgumentError, argument


@dataclass(frozen=True)
class InferenceOptions(multi_scale.MultiScale):
    """Views of the image, and a dense CRF; the default is one view of the whole image."""

    dense_crf: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="crf")] = False
    """Refinement by a dense CRF. Needs pip install "gcn_keras[crf]"."""
    crf_parameters: Annotated[crf.Parameters, tyro.conf.arg(name="crf")] = crf.DEEPLAB
    """Parameters of the dense CRF."""

    @property
    def is_default(self) -> bool:
        """Whether one view of the whole image is all."""
        return not self.dense_crf and self == InferenceOptions(crf_parameters=self.crf_parameters)

    def check_for(self, model: str) -> None:
        """Refuses what is invalid or impossible, before anything slow is imported.

        Args:
            model: path or address of the model that the options are for.

        Raises:
            ArgumentError: naming the field, the value and what it can be; fields of
                `crf_parameters` as crf.sigma and the like.
            UserError: the CRF's package is missing; this form of a model gives no logits.
        """
        self.check()
        self.crf_parameters.check("crf.")
        if self.dense_crf:
            crf.require()
        elif self.crf_parameters != crf.DEEPLAB:
            default = dataclasses.asdict(crf.DEEPLAB).items()
            given = dataclasses.asdict(self.crf_parameters).items()
            name, value = next(pair for pair in given if pair not in default)
            raise ArgumentError(
                f"crf.{name}", f"{as_typed(value)} is about the dense CRF: add {argument('crf')}"
            )
        if not self.is_default:
            check_gives_logits(model)

    def command_line(self) -> str:
        """The options of `evaluate` and `predict` that give these; "" for the default."""
        words = []
        if self.scales != multi_scale.ONE_VIEW.scales:
            words.append(f"--scales {as_typed(*self.scales)}")
        if self.flip:
            words.append("--flip")
        if self.tile:
            words.append(f"--tile {as_typed(*self.tile)}")
        if self.overlap:
            words.append(f"--overlap {self.overlap}")
        if self.dense_crf:
            words.append("--crf")
            parameters = dataclasses.asdict(self.crf_parameters).items()
            words += [
                f"--crf.{name.replace('_', '-')} {as_typed(value)}" for name, value in parameters
            ]
        return " ".join(words)


PLAIN = InferenceOptions()


def segment_function(segmenter: Segmenter, options: InferenceOptions, model: str) -> Segment:
    """A function from images to labels.

    Args:
        segmenter: the model.
        options: with the default, the function is `segmenter.segment`; with others, images go
            through the model one by one.
        model: its path or address, for the message.

    Raises:
        UserError: the options need logits, and this form of a model gives none.
    """
    if options.is_default:
        return segmenter.segment
    logits = logits_of(segmenter, model)

    def segment(images: np.ndarray) -> np.ndarray:
        return np.stack([labels(logits, image, options) for image in images])

    return segment


def labels(logits: Callable, image: np.ndarray, options: InferenceOptions) -> np.ndarray:
    """Labels of one image, uint8 `[H, W]`; arguments as in `multi_scale.probabilities`."""
    scores = multi_scale.probabilities(logits, image, options)
    if options.dense_crf:
        scores = crf.refine(image, scores, options.crf_parameters)
    return label_map(scores)
