"""What `evaluate` and `predict` do with an image: how it is looked at, and a dense CRF after it.

Sections 4.2 and 4.3 of the paper: Tables 7 and 9 end with multi-scale looks and a dense CRF.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.inference import dense_crf as crf
from gcn_keras.inference import multi_scale
from gcn_keras.inference.segmenters import Segmenter, check_gives_logits, logits_of
from pipelines.base.errors import UsageError


@dataclass(frozen=True)
class Procedure(multi_scale.Looks):
    """How an image becomes a label map; the default is one look at the whole."""

    dense_crf: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="crf")] = False
    """Refine by a dense CRF. Needs pip install 'gcn_keras[crf]'."""
    crf_parameters: Annotated[crf.Parameters, tyro.conf.arg(name="crf")] = crf.DEEPLAB
    """Of the dense CRF."""

    @property
    def is_default(self) -> bool:
        """Whether one look at the whole image is all."""
        return not options_of(self)


ONCE = Procedure()


def check(procedure: Procedure, model) -> None:
    """Refuses what cannot be meant or done, before anything slow is imported.

    Args:
        procedure: the options.
        model: path or address of the model they are for.

    Raises:
        UsageError: naming the option, the value and what it can be.
        UserError: the CRF's package is missing; this form of a model gives no logits.
    """
    multi_scale.check(procedure)
    crf.check(procedure.crf_parameters)
    if procedure.dense_crf:
        crf.require()
    elif procedure.crf_parameters != crf.DEEPLAB:
        given = dataclasses.asdict(procedure.crf_parameters).items()
        default = dataclasses.asdict(crf.DEEPLAB)
        name, value = next((name, value) for name, value in given if value != default[name])
        raise UsageError(f"{crf.option(name)} {value:g} is about the dense CRF: add --crf")
    if not procedure.is_default:
        check_gives_logits(model)


def options_of(procedure: Procedure) -> str:
    """The options that give a procedure; "" for the default."""
    options = multi_scale.options_of(procedure)
    if procedure.dense_crf:
        options.append(f"--crf {crf.options_of(procedure.crf_parameters)}")
    return " ".join(options)


def segment_function(segmenter: Segmenter, procedure: Procedure, model) -> Callable:
    """A function from images, uint8 `[B, H, W, 3]`, to labels, uint8 `[B, H, W]`.

    Args:
        segmenter: the model.
        procedure: with the default, `segmenter.segment` itself; with another, images go through
            the model one by one.
        model: its address, for the message.

    Raises:
        UserError: the procedure needs logits, and this form of a model gives none.
    """
    if procedure.is_default:
        return segmenter.segment
    logits = logits_of(segmenter, model)

    def segment(images: np.ndarray) -> np.ndarray:
        return np.stack([labels(logits, image, procedure) for image in images])

    return segment


def labels(logits: Callable, image: np.ndarray, procedure: Procedure) -> np.ndarray:
    """Labels of one image, uint8 `[H, W]`; `logits` and `image` as of `looks.probabilities`."""
    scores = multi_scale.probabilities(logits, image, procedure)
    if procedure.dense_crf:
        scores = crf.refine(image, scores, procedure.crf_parameters)
    return np.argmax(scores, axis=-1).astype(np.uint8)
