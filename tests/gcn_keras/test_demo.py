"""The demo: its address, and the whole page in a headless browser."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from demo_images import LEGEND, Bright, decode, photo
from PIL import Image
from places import REPOSITORY

from gcn_keras import demo
from pipelines.base.errors import UsageError, UserError

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


def test_an_address_of_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with demo.listen("::1", 0) as listener:
        socket.create_connection(("::1", listener.getsockname()[1])).close()


NAME = "--allow-host takes a name without a scheme or a port, got "


@pytest.mark.parametrize(
    "options, message",
    [
        # It is not every address.
        (dict(host=""), "--host must be an address of this machine, got ''"),
        (dict(port=-1), "--port must be in 0…65535, got -1"),
        (dict(port=65536), "--port must be in 0…65535, got 65536"),
        (dict(allow_host=("a", "box.example:7860")), f"{NAME}'box.example:7860'"),
        (dict(allow_host=("http://box.example",)), f"{NAME}'http://box.example'"),
        (dict(allow_host=("[2001:db8::1]:7860",)), f"{NAME}'[2001:db8::1]:7860'"),
    ],
)
def test_addresses_that_cannot_be(options, message):
    with pytest.raises(UsageError) as caught:
        demo.demo("model.keras", **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("host, shown", [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_is_printed_as_browsers_take_it(monkeypatch, tmp_path, host, shown):
    listener = SimpleNamespace(getsockname=lambda: (host, 7861))
    served = []
    for name, stands_for_it in (
        ("listen", lambda *address: contextlib.nullcontext(listener)),
        ("upload_folder", lambda: contextlib.nullcontext(tmp_path)),
        ("require_gradio", lambda: None),
        ("open_segmenter", lambda model: Bright()),
        ("build_page", lambda answers, model, opening, folder, hosts: hosts),
        ("serve", lambda *given: served.append(given)),
    ):
        monkeypatch.setattr(demo, name, stands_for_it)
    model, names = tmp_path / "model.keras", ("box.example", "2001:db8::1", "[2001:db8::2]")
    model.touch()
    demo.demo(str(model), port=7861, host=host, allow_host=names)
    notice = f"http://{shown}:7861 shows {model}; Ctrl-C ends it"
    assert served == [((host, *names), listener, notice)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the real command, on a model whose class 1 is what is bright."""
    pytest.importorskip("gradio")
    import keras

    folder = tmp_path_factory.mktemp("demo")
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    to_logits = np.zeros((1, 1, 3, 3), np.float32)
    to_logits[..., 1] = 1 / 3
    model.set_weights([to_logits, np.array([0, -128, -1000], np.float32)])
    model.save(folder / "model.keras")
    LEGEND.write(folder / "labels.json")
    (folder / "examples").mkdir()
    for name, side in (("a.png", 64), ("b.png", 32)):
        Image.fromarray(np.full((side, side, 3), 40, np.uint8)).save(folder / "examples" / name)
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
    yield line.split()[0]
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def wide_page(server, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server)
    page.wait_for_selector("#stage .classes img", timeout=60_000)
    yield page
    elsewhere = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []


@pytest.fixture
def page(wide_page, tmp_path):
    """The page, after the photo was uploaded."""
    choose_example(wide_page, 0)
    Image.fromarray(photo()).save(tmp_path / "mine.png")
    wide_page.set_input_files("#photo input[type=file]", tmp_path / "mine.png")
    wide_page.wait_for_selector("#stage figcaption:has-text('40 × 20 pixels')")
    wide_page.wait_for_selector("#class-1")
    return wide_page


def choose_example(page, index):
    page.locator("#examples button").nth(index).click()
    side = (64, 32)[index]
    page.wait_for_selector(f"#stage figcaption:has-text('{side} × {side} pixels')")


def layers_shown(page):
    return [index for index in (0, 1) if page.locator(f"#layer-{index}").is_visible()]


def line(page):
    """Where the handle stands, and where the colours begin; both in per cent."""
    handle = page.locator("#stage input[type=range]").input_value()
    clip = page.evaluate("getComputedStyle(document.querySelector('#stage .classes')).clipPath")
    return 100 * float(handle), float(re.fullmatch(r"inset\(0px 0px 0px ([\d.]+)%\)", clip)[1])


@pytest.mark.slow
class TestInABrowser:
    def test_opens_with_an_example(self, server, browser):
        page = browser.new_page()
        page.goto(server)
        page.wait_for_selector("#stage figcaption:has-text('64 × 64 pixels')")
        assert page.locator("#examples button").count() == 2
        assert page.locator("#legend .name").count() == 3

    def test_an_upload_is_segmented(self, page):
        shown = np.asarray(decode(page.locator("#stage img.photo").get_attribute("src")))
        assert np.array_equal(shown, photo())
        assert page.locator("#legend .present .name").all_inner_texts() == [
            "ground",
            "a <b>sky</b>",
        ]
        assert page.locator("#legend .present .share").all_inner_texts() == ["75.0 %", "25.0 %"]

    def test_the_label_map_is_saved(self, page, tmp_path):
        with page.expect_download() as download:
            page.locator("#stage .save").click()
        assert download.value.suggested_filename == "mine_labels.png"
        download.value.save_as(tmp_path / "saved.png")
        saved = Image.open(tmp_path / "saved.png")
        assert saved.mode == "P"
        assert np.array_equal(np.asarray(saved), photo()[:, :, 0] > 128)

    def test_the_line_is_dragged_and_moved_by_keys(self, page):
        assert line(page) == (50, 50)
        handle = page.locator("#stage input[type=range]")
        box, image = handle.bounding_box(), page.locator("#stage .image").bounding_box()
        assert box["height"] == image["height"]  # and can be taken anywhere along it
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(image["x"] + image["width"] / 5, middle[1], steps=3)
        page.mouse.up()
        assert line(page) == pytest.approx((20, 20), abs=0.5)
        before = line(page)[0]
        page.keyboard.press("ArrowRight")
        assert line(page) == pytest.approx((before + 1, before + 1), abs=0.01)
        choose_example(page, 1)
        assert line(page) == (50, 50)

    def test_boxes_hide_classes(self, page):
        assert layers_shown(page) == [0, 1]
        page.locator("#class-0").click()
        assert layers_shown(page) == [1] and not page.locator("#legend .all").is_checked()
        page.locator("#legend .name", has_text="ground").click()
        assert layers_shown(page) == [0, 1] and page.locator("#legend .all").is_checked()
        page.locator("#legend .all").click()
        assert layers_shown(page) == []
        page.locator("#class-1").click()
        assert layers_shown(page) == [1]
        choose_example(page, 1)  # all of it is ground
        page.wait_for_selector("#class-1", state="detached")
        assert layers_shown(page) == [0] and page.locator("#legend .all").is_checked()

    def test_a_slider_for_each_class_fades_it_alone(self, page):
        def opacity(index):
            return page.locator(f"#layer-{index}").evaluate("e => getComputedStyle(e).opacity")

        assert (opacity(0), opacity(1)) == ("1", "1")
        page.locator("#legend [aria-label='Opacity of ground']").fill("0.25")
        assert (opacity(0), opacity(1)) == ("0.25", "1")
        assert layers_shown(page) == [0, 1] and page.locator("#legend .all").is_checked()
        choose_example(page, 1)  # all of it is ground
        page.wait_for_selector("#class-1", state="detached")
        assert opacity(0) == "1"
        assert page.locator("#legend input[type=range]").input_value() == "1"

    def test_the_slider_sets_the_opacity(self, page):
        opacity = "getComputedStyle(document.querySelector('#stage .classes')).opacity"
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
        assert said == "notes.jpg is not an image in a format that can be read"
        choose_example(page, 0)  # and the page goes on

    @pytest.mark.parametrize(
        "name, size, says",
        [
            ("large.png", 21 * 2**20, "exceed the maximum allowed size of 20.0 M"),
            ("notes.txt", 9, "Invalid file type: notes.txt"),
        ],
    )
    def test_what_is_not_sent_gets_a_sentence(self, page, tmp_path, name, size, says):
        (tmp_path / name).write_bytes(bytes(size))
        page.set_input_files("#photo input[type=file]", tmp_path / name)
        toast = page.locator(".toast-body", has_text=says)
        toast.wait_for()
        toast.locator(".toast-close").click()
        with page.expect_file_chooser():  # the field is free for another one
            page.locator("#photo").click()

    def test_a_phone_shows_the_image_at_once_and_nothing_is_cut_off(self, server, browser):
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(server)
        page.wait_for_selector("#stage .classes img")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        image = page.locator("#stage .image").bounding_box()
        assert image["y"] + image["height"] <= 844 and image["width"] >= 270
        for part in ("#photo", "#examples", "#stage", "#opacity", "#legend"):
            box = page.locator(part).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390, part
