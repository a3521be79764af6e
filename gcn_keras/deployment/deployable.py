"""A trained model on its way to what is served: each step is made once and handed on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gcn_keras.deployment.options import WARM_UP_SIZE, Precision
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import KerasSegmenter, check_same_classes
from pipelines.base.plurals import count_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pipelines.datasets import PreparedDataset


def tried_size(network: keras.Model) -> tuple[int, int]:
    """Height and width of an image to try a model with: those of `WARM_UP_SIZE`, but where the
    model has a fixed one."""
    _, *fixed, _ = network.input_shape
    height, width = (own or side for own, side in zip(fixed, WARM_UP_SIZE, strict=True))
    return height, width


@dataclass(frozen=True, eq=False)
class Deployable:
    """A trained model, and what the writers of its forms need.

    Attributes:
        network: the Keras model from images, whose sides are multiples of `STRIDE`, to logits.
        legend: names and colours of its classes.
        path: the file that it comes from; None for a model in memory.
        precision: number type in which the deployed model keeps its weights and computes.

    Raises:
        ValueError: the legend has another number of classes than the model.
    """

    network: keras.Model
    legend: Legend
    path: Path | None = None
    precision: Precision = "float32"

    def __post_init__(self):
        if len(self.legend.class_names) != self.network.output.shape[-1]:
            raise ValueError(
                f"the legend names {count_of(len(self.legend.class_names), 'class')} and the model "
                f"knows {self.network.output.shape[-1]}"
            )

    @property
    def file(self) -> Path:
        """`path`; a ValueError where there is none."""
        if self.path is None:
            raise ValueError("the model comes from no file: save it and load it from there")
        return self.path

    @classmethod
    def load(
        cls,
        path: Path,
        dataset: PreparedDataset | None = None,
        precision: Precision = "float32",
    ) -> Deployable:
        """Loads a `.keras` file with its legend; one that has none gets that of the data set that
        it is used on, or numbers for names.

        Raises:
            UserError: there is no such model, or it has other classes than the data set.
        """
        segmenter = KerasSegmenter(path)
        legend = segmenter.legend
        if dataset is not None:
            check_same_classes(segmenter, path, dataset)
            legend = legend or Legend.of(dataset)
        legend = legend or Legend.unnamed(segmenter.num_classes)
        return cls(segmenter.model, legend, path, precision)

    @functools.cached_property
    def folded(self) -> keras.Model:
        """The network with its batch norms folded, in `precision`."""
        from gcn_keras.deployment.batch_norm_folding import fold_batch_norm

        return fold_batch_norm(self.network, self.precision)

    @functools.cached_property
    def graph(self) -> tf.types.experimental.ConcreteFunction:
        """`graphs.logits_graph` of the folded network, long convolutions line by line, and biases
        as constants: each variable costs kilobytes in a SavedModel, and time while it is loaded."""
        from gcn_keras.deployment.graphs import logits_graph, vectors_as_constants
        from gcn_keras.models.line_convolutions import by_lines

        with by_lines(self.folded), vectors_as_constants(self.folded):
            return logits_graph(self.folded)
