"""The demo's page: its parts by hand, and the whole in a headless browser."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY

from gcn_keras import demo
from gcn_keras.inference.images import overlay
from gcn_keras.inference.legend import Legend
from pipelines.base.errors import UserError
from pipelines.base.labels import palette

LEGEND = Legend(("ground", "a <b>sky</b>", "tree"), palette(3))
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Bright:
    """Stands for a model: class 1 is what is bright, the topmost row is void."""

    legend, num_classes = LEGEND, 3

    def segment(self, images):
        labels = (images.mean(axis=-1) > 128).astype(np.uint8)
        labels[:, 0] = 255
        return labels


def photo() -> np.ndarray:
    """20×40, the left quarter bright."""
    pixels = np.full((20, 40, 3), 40, np.uint8)
    pixels[:, :10] = 220
    return pixels


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_shares_by_hand():
    labels = np.array([[1, 1, 1, 0], [255, 255, 2, 0]], np.uint8)
    assert demo.class_shares(labels) == {1: 0.375, 0: 0.25, 2: 0.125}
    assert list(demo.class_shares(labels)) == [1, 0, 2]


def test_large_images_are_shrunk():
    assert demo.shrink(np.zeros((30, 60, 3), np.uint8), 20).shape == (10, 20, 3)
    small = np.zeros((5, 6, 3), np.uint8)
    assert demo.shrink(small, 20) is small


def test_answer_holds_the_photo_its_colours_and_the_legend():
    stage, legend = demo.Desk(Bright(), []).answer(photo())
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
    desk = demo.Desk(Bright(), [])
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    stage, legend, field = desk.answer_upload(str(text))
    assert "notes.txt is not an image" in stage and str(tmp_path) not in stage
    assert (legend, field) == ("", None) and not text.exists()
    for index in (-1, 0, "0", None):
        assert "There is no example" in demo.Desk(Bright(), []).answer_example(index)[0]


def test_an_address_in_use_is_named():
    with demo.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}: .*--port"):
            demo.listen("127.0.0.1", port)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the real command, on a small network with random weights."""
    pytest.importorskip("gradio")
    from gcn_keras import gcn

    folder = tmp_path_factory.mktemp("demo")
    gcn(num_classes=3, backbone="resnet14_tiny", kernel_size=3).save(folder / "model.keras")
    LEGEND.write(folder / "labels.json")
    command = [sys.executable, "-m", "gcn_keras.demo", str(folder / "model.keras"), "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line
    yield line.split()[0], folder
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def page(server):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server[0])
        page.wait_for_selector("#stage img.colours", timeout=60_000)
        yield page
        elsewhere = [url for url in asked if not url.startswith((server[0], "data:", "blob:"))]
        assert elsewhere == []
        browser.close()


@pytest.mark.slow
class TestInABrowser:
    def test_opens_with_an_example(self, page):
        assert page.locator("#examples button").count() == len(demo.EXAMPLE_SEEDS)
        assert page.locator("#legend .name").count() == 3

    def test_an_upload_is_segmented(self, page, server, tmp_path):
        from gcn_keras.inference.segmenters import open_segmenter

        Image.fromarray(photo()).save(tmp_path / "mine.png")
        before = page.locator("#stage img.photo").get_attribute("src")
        page.set_input_files("#photo input[type=file]", tmp_path / "mine.png")
        page.wait_for_function(
            "before => document.querySelector('#stage img.photo').src !== before", arg=before
        )
        shown = np.asarray(decode(page.locator("#stage img.photo").get_attribute("src")))
        assert np.array_equal(shown, photo())
        colours = decode(page.locator("#stage img.colours").get_attribute("src"))
        segmenter = open_segmenter(server[1] / "model.keras")
        labels = segmenter.segment(photo()[None])[0]
        mixed = overlay(photo(), labels, LEGEND.palette, 1.0)
        assert np.array_equal(np.asarray(colours.convert("RGB")), mixed)
        assert "40 × 20 pixels" in page.inner_text("#stage figcaption")

    def test_the_slider_sets_the_opacity(self, page):
        opacity = "getComputedStyle(document.querySelector('#stage img.colours')).opacity"
        assert page.evaluate(opacity) == "0.5"
        number = page.locator("#opacity input[type=number]")
        number.fill("80")
        number.press("Enter")
        page.wait_for_function(f"{opacity} === '0.8'")

    def test_a_text_file_gets_a_sentence(self, page, tmp_path):
        (tmp_path / "notes.jpg").write_text("no image")
        page.set_input_files("#photo input[type=file]", tmp_path / "notes.jpg")
        page.wait_for_selector("#stage .message.error")
        said = page.inner_text("#stage .message.error")
        assert said == "notes.jpg is not an image in a format that can be read."
        page.locator("#examples button").first.click()  # and the page goes on
        page.wait_for_selector("#stage img.colours")
