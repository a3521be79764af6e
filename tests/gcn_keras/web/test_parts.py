"""The parts of the demo's page by hand."""

import re

import numpy as np
from demo_images import LEGEND, decode

from gcn_keras.web.parts import class_shares, legend_html, message_html, shrink, stage_html

LABELS = np.array([[1, 1, 1, 0], [255, 255, 2, 0]], np.uint8)


def test_shares_by_hand():
    assert class_shares(LABELS) == {1: 0.375, 0: 0.25, 2: 0.125}
    assert list(class_shares(LABELS)) == [1, 0, 2]


def test_large_images_are_shrunk():
    assert shrink(np.zeros((30, 60, 3), np.uint8), 20).shape == (10, 20, 3)
    small = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(shrink(small, 20), small)


def stage(name="street"):
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    return stage_html(image, LABELS, LEGEND.palette, "a caption", name)


def test_each_class_is_a_layer_in_its_colour():
    layers = dict(re.findall(r'id="layer-(\d+)" [^>]*src="([^"]+)"', stage()))
    assert list(layers) == ["1", "0", "2"]  # void has none, and shows the photo
    for index, uri in layers.items():
        pixels = np.asarray(decode(uri).convert("RGBA"))
        assert np.array_equal(pixels[:, :, 3], np.where(LABELS == int(index), 255, 0))
        assert (pixels[LABELS == int(index), :3] == LEGEND.palette[int(index)]).all()


def test_the_label_map_is_saved_as_indices():
    [(name, uri)] = re.findall(r'download="([^"]+)" href="([^"]+)"', stage("a\"<b>'"))
    assert name == "a&quot;&lt;b&gt;&#x27;_labels.png"
    saved = decode(uri)
    assert saved.mode == "P" and np.array_equal(np.asarray(saved), LABELS)
    assert np.array_equal(np.reshape(saved.getpalette(), (256, 3)), LEGEND.palette)


def test_a_box_for_each_class_in_the_image_hides_its_layer():
    shown = legend_html({1: 0.75, 2: 0.0005}, LEGEND)
    assert re.findall(r"id='class-(\d+)'>", shown) == ["1", "2"]
    for index in (1, 2):
        assert f"body:has(#class-{index}:not(:checked)) #layer-{index} {{ display: none }}" in shown
    assert re.findall(r"--colour: ([^']+)'", shown) == [
        f"rgb({red}, {green}, {blue})" for red, green, blue in LEGEND.palette[[1, 2, 0]]
    ]
    assert re.findall(r"class='name'>([^<]+)<", shown) == [
        "a &lt;b&gt;sky&lt;/b&gt;", "tree", "ground"
    ]  # fmt: skip
    assert re.findall(r"class='share'>([^<]+)<", shown)[1:] == ["75.0 %", "&lt; 0.1 %"]
    assert re.findall(r'aria-label="Opacity of ([^"]+)"', shown) == [
        "a &lt;b&gt;sky&lt;/b&gt;", "tree"
    ]  # fmt: skip
    assert "Not in this image" in shown


def test_before_there_is_an_image_the_legend_names_all_classes():
    shown = legend_html({}, LEGEND)
    assert len(re.findall("class='name'", shown)) == 3 and "Classes of this model" in shown
    assert "checkbox" not in shown and "Not in this image" not in shown


def test_messages_are_text():
    assert '<p class="message error" role="alert">&lt;b&gt;&#36;&#123;' in message_html("<b>${")
