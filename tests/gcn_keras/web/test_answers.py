"""What the demo's page is answered, by hand."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from demo_images import LEGEND, Bright, decode, photo
from PIL import Image

from gcn_keras.inference.legend import Legend
from gcn_keras.web.answers import (
    EXAMPLE_SEEDS,
    REQUEST,
    Answers,
    examples_beside,
    load_examples,
    scenes_of,
)
from pipelines.base.errors import UserError
from pipelines.base.labels import palette
from pipelines.datasets.shapes.scenes import CLASS_NAMES, render_scene


def test_answer_holds_the_photo_its_colours_and_the_legend():
    stage, legend = Answers(Bright(), []).answer(photo())
    shown, ground, sky, saved = (
        decode(uri) for uri in re.findall(r'(?:src|href)="([^"]+)"', stage)
    )
    assert np.array_equal(np.asarray(shown), photo())
    assert np.asarray(ground.convert("RGBA"))[5, 15].tolist() == [*LEGEND.palette[0], 255]
    assert np.asarray(sky.convert("RGBA"))[5, 5].tolist() == [*LEGEND.palette[1], 255]
    assert np.array_equal(np.asarray(saved), Bright().segment(photo()[None])[0])
    # 19 of 20 rows, a quarter of each.
    assert re.findall(r"class='share'>([^<]+)<", legend)[1:] == ["71.2 %", "23.8 %"]
    assert "a &lt;b&gt;sky&lt;/b&gt;" in legend and "Not in this image" in legend


def test_large_images_are_shrunk_to_what_the_caption_says():
    seen = []

    def segment(images):
        seen.append(images.shape)
        return Bright().segment(images)

    answers = Answers(SimpleNamespace(segment=segment, legend=LEGEND, num_classes=3), [])
    captions = [
        re.search("</b>(.*)</figcaption>", answers.answer(np.zeros((*size, 3), np.uint8))[0])[1]
        for size in ((100, 2560), (50, 1280), (640, 20), (3000, 4))
    ]
    assert seen == [(1, 50, 1280, 3), (1, 50, 1280, 3), (1, 640, 20, 3), (1, 1280, 2, 3)]
    assert captions == [
        " · 1280 × 50 pixels, shrunk from 2560 × 100 · first image of this size",
        " · 1280 × 50 pixels",
        " · 20 × 640 pixels · first image of this size",
        " · 2 × 1280 pixels, shrunk from 4 × 3000 · first image of this size",
    ]


def test_uploads_are_deleted_and_bad_ones_named(tmp_path):
    answers = Answers(Bright(), [])
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    stage, legend = answers.answer_upload(text, "notes.txt")
    assert "notes.txt is not an image" in stage and str(tmp_path) not in stage
    assert legend == "" and not text.exists()
    for index in (-1, 0, "0", None):
        assert "There is no example" in Answers(Bright(), []).answer_example(index)[0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_uploads_of_any_kind_are_answered(tmp_path, mode):
    path = tmp_path / "a"
    Image.new(mode, (40, 20)).save(path, "TIFF")
    stage, legend = Answers(Bright(), []).answer_upload(path, "my photo.tif")
    assert "40 × 20 pixels" in stage and legend
    assert 'download="my photo_labels.png"' in stage


def test_the_page_opens_with_the_first_example():
    answers = Answers(Bright(), [photo(), photo()[:, ::-1]])
    stage, legend = answers.opening()
    assert np.array_equal(np.asarray(decode(re.search(r'src="([^"]+)"', stage)[1])), photo())
    assert "first image" not in stage and "23.8 %" in legend
    assert 'download="example_1_labels.png"' in stage
    assert 'download="example_2_labels.png"' in answers.answer_example(1)[0]


def test_without_examples_the_page_asks_for_a_photo():
    stage, legend = Answers(Bright(), []).opening()
    assert f'<p class="message request" role="alert">{REQUEST}</p>' in stage
    assert "tree" in legend and "Classes of this model" in legend
    unnamed = SimpleNamespace(segment=Bright().segment, legend=None, num_classes=None)
    assert Answers(unnamed, []).opening() == (stage, "")


def test_a_model_that_cannot_answer_opens_no_page():
    def fail(images):
        raise UserError("the server is away")

    for examples in ([], [photo()]):
        broken = SimpleNamespace(segment=fail, legend=LEGEND, num_classes=3)
        with pytest.raises(UserError, match="the server is away"):
            Answers(broken, examples).opening()


def test_a_model_of_small_images_opens_the_page():
    def segment(images):
        if max(images.shape[1:3]) > 64:
            raise UserError("it takes images of at most 64x64")
        return Bright().segment(images)

    answers = Answers(SimpleNamespace(segment=segment, legend=LEGEND, num_classes=3), [])
    assert REQUEST in answers.opening()[0]
    answers.examples.append(np.zeros((65, 20, 3), np.uint8))
    assert "at most 64x64" in answers.answer_example(0)[0]


def test_examples_lie_beside_a_model(tmp_path):
    folder = tmp_path / "mine" / "examples"
    folder.mkdir(parents=True)
    (tmp_path / "mine" / "1").mkdir()
    for model in ("mine", "mine/1", "mine/mine.keras", "mine/mine.tflite"):
        assert examples_beside(str(tmp_path / model)) == [folder]
    for model in (tmp_path / "other.keras", "http://localhost:8501/v1/models/mine"):
        assert examples_beside(str(model)) == []


def test_examples_are_shrunk_and_at_most_nine(tmp_path):
    Image.new("RGB", (2560, 100)).save(tmp_path / "wide.png")
    examples = load_examples([tmp_path / "wide.png"] * 12)
    assert [image.shape for image in examples] == [(50, 1280, 3)] * 9
    assert load_examples([]) == []


def test_a_damaged_example_is_named_and_left_out(tmp_path, capsys):
    """And another one takes its place among the nine."""
    good, cut = tmp_path / "good.png", tmp_path / "cut.png"
    Image.new("RGB", (20, 10)).save(good)
    cut.write_bytes(good.read_bytes()[:60])
    examples = load_examples([cut, *[good] * 10])
    assert [image.shape for image in examples] == [(10, 20, 3)] * 9
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"warning: {cut} is a truncated or damaged image")
    assert said[0].endswith("; the page goes on without it")
    assert load_examples([tmp_path / "none.png"]) == []


def test_scenes_are_for_models_of_the_embedded_set_alone():
    scenes = scenes_of(Legend(CLASS_NAMES, palette()))
    assert len(scenes) == len(EXAMPLE_SEEDS)
    labels = [render_scene(np.random.default_rng(seed))[1] for seed in EXAMPLE_SEEDS]
    assert set(np.unique(labels)) == {*range(7), 255}  # they show every class
    assert scenes_of(LEGEND) == scenes_of(None) == scenes_of(Legend.unnamed(7)) == []
