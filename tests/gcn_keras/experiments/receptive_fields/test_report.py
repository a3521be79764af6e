"""The fields of a point together."""

from pathlib import Path

import pytest
from keras import layers
from known_fields import AT, IMAGE, model_of

from gcn_keras.experiments.receptive_fields.report import measure
from pipelines.base.errors import UserError


def test_a_score_that_does_not_depend_on_the_image():
    with pytest.raises(UserError) as caught:
        measure(model_of(layers.Conv2D(2, 1), 0.0), IMAGE, AT, 0, Path("a.png"), stride=1)
    assert str(caught.value) == (
        "the effective receptive field of a.png at 16,12 is 0 everywhere or not finite: "
        "the score of class 0 tells nothing there"
    )
