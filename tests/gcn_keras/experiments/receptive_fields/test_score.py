"""The class whose score is asked for."""

import pytest

from gcn_keras.experiments.receptive_fields.score import class_index
from gcn_keras.inference.legend import Legend
from pipelines.base.errors import ArgumentError, in_options
from pipelines.base.labels import voc_colour_map


class TestClass:
    LEGEND = Legend(("ground", "sky"), voc_colour_map())

    def test_index_and_name(self):
        assert class_index("1", None, 2) == 1
        assert class_index("sky", self.LEGEND, 2) == 1

    def test_unknown(self):
        with pytest.raises(ArgumentError) as caught:
            class_index("tree", self.LEGEND, 2)
        message = "class must be an index in 0…1 or one of ground, sky, got 'tree'"
        assert str(caught.value) == message and in_options(caught.value.template) == f"--{message}"
        with pytest.raises(ArgumentError) as caught:
            class_index("2", None, 2)
        assert in_options(caught.value.template) == (
            "--class must be an index in 0…1, got '2': there is no labels.json beside the model "
            "to look names up in"
        )
