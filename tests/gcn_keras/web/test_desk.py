"""What the demo's page is answered, by hand."""

import re

import numpy as np
from demo_images import LEGEND, Bright, decode, photo

from gcn_keras.web.desk import Desk


def test_answer_holds_the_photo_its_colours_and_the_legend():
    stage, legend = Desk(Bright(), []).answer(photo())
    uris = re.findall(r'src="([^"]+)"', stage)
    shown, colours = (decode(uri) for uri in uris)
    assert np.array_equal(np.asarray(shown), photo())
    colours = np.asarray(colours.convert("RGBA"))
    assert (colours[0, :, 3] == 0).all()  # void shows the photo
    assert colours[5, 5].tolist() == [*LEGEND.palette[1], 255]
    assert colours[5, 15].tolist() == [*LEGEND.palette[0], 255]
    # 19 of 20 rows, a quarter of each.
    assert re.findall(r"class='share'>([^<]+)<", legend) == ["71.2 %", "23.8 %"]
    assert "a &lt;b&gt;sky&lt;/b&gt;" in legend and "Not in this image" in legend


def test_uploads_are_deleted_and_bad_ones_named(tmp_path):
    desk = Desk(Bright(), [])
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    stage, legend = desk.answer_upload(text, "notes.txt")
    assert "notes.txt is not an image" in stage and str(tmp_path) not in stage
    assert legend == "" and not text.exists()
    for index in (-1, 0, "0", None):
        assert "There is no example" in Desk(Bright(), []).answer_example(index)[0]
