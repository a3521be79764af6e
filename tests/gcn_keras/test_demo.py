"""The demo: its address, and the whole page in a headless browser."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from demo_images import LEGEND, decode, photo
from PIL import Image
from places import REPOSITORY

from gcn_keras import demo
from gcn_keras.inference.images import overlay
from gcn_keras.web.desk import EXAMPLE_SEEDS
from pipelines.base.errors import UserError

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
        assert page.locator("#examples button").count() == len(EXAMPLE_SEEDS)
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
