"""Images, and files of images, that the client sends."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from served_channels import address, picture, plain, refusal, saved, sent

from gcn_keras.inference import serving_client
from gcn_keras.inference.encoded_images import encode
from gcn_keras.inference.segmenters import open_segmenter
from gcn_keras.inference.serving_client import Client


class TestImages:
    @pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 5, 7, 3), (1, 40, 33, 3)])
    def test_batch(self, server, kind, shape):
        images = np.stack([picture(*shape[1:3], seed) for seed in range(shape[0])])
        client = Client(address(server, kind))
        labels = client.segment(images)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [shape[0]]
        assert (client.legend, client.num_classes) == (None, None)

    def test_one_image(self, server, kind):
        image = picture(4, 6)
        labels = Client(address(server, kind)).segment(image)
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))

    def test_several_sizes_and_files_in_one_request(self, server, kind, tmp_path):
        path = saved(plain(9, 5, 1), tmp_path / "a.jpg")
        images = [picture(3, 8), path, picture(1, 2), str(path)]
        first, *labels = Client(address(server, kind)).segment(images)
        np.testing.assert_array_equal(first, images[0].argmax(axis=-1))
        np.testing.assert_array_equal(labels[0], np.ones((9, 5)))
        np.testing.assert_array_equal(labels[1], images[2].argmax(axis=-1))
        np.testing.assert_array_equal(labels[2], np.ones((9, 5)))
        assert [len(request) for request in sent(server)] == [4]
        assert Client(address(server, kind)).segment([]) == []

    def test_many_images_are_several_requests(self, server, kind, monkeypatch):
        images = np.stack([picture(2, 3, seed) for seed in range(18)])
        client = Client(address(server, kind))
        np.testing.assert_array_equal(client.segment(images), images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [8, 8, 2]
        sizes = [len(encode(image).data) for image in images[:3]]
        monkeypatch.setattr(serving_client, "REQUEST_BYTES", sizes[0] + sizes[1])
        server.behave()
        client.segment(images[:3])
        assert [len(request) for request in sent(server)] == [2, 1]
        # One that exceeds the limit alone is sent alone.
        monkeypatch.setattr(serving_client, "REQUEST_BYTES", 1)
        server.behave()
        client.segment(images[:2])
        assert [len(request) for request in sent(server)] == [1, 1]

    def test_a_request_has_no_more_pixels_than_a_model_serves(self, server, kind, monkeypatch):
        """Each image of 2×40 counts as one of 32×64."""
        images = np.stack([picture(2, 40, seed) for seed in range(5)])
        monkeypatch.setattr(serving_client, "REQUEST_PIXELS", 2 * 32 * 64)
        client = Client(address(server, kind))
        np.testing.assert_array_equal(client.segment(images), images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [2, 2, 1]

    def test_an_answer_above_grpcs_own_limit(self, server, kind):
        """4 MiB is what gRPC takes where nothing else is said."""
        text = PngInfo()
        text.add_text("note", "a" * 5_000_000)
        file = io.BytesIO()
        Image.fromarray(np.full((2, 3), 7, np.uint8)).save(file, "PNG", pnginfo=text)
        server.change_outputs = lambda _: {"labels_bytes": np.array([file.getvalue()], object)}
        assert (Client(address(server, kind)).segment(picture(2, 3)) == 7).all()

    def test_everybody_says_the_same(self, server, models):
        images = np.stack([picture(6, 4, seed) for seed in range(2)])
        expected = open_segmenter(models / "channels").segment(images)
        for kind in ("http", "grpc"):
            labels = open_segmenter(address(server, kind)).segment(images)
            np.testing.assert_array_equal(labels, expected)

    @pytest.mark.parametrize(
        "images, received",
        [
            (np.zeros((2, 2, 3), np.float32), "float32 [2, 2, 3]"),
            (np.zeros((2, 2), np.uint8), "uint8 [2, 2]"),
            (np.zeros((2, 2, 4), np.uint8), "uint8 [2, 2, 4]"),
            (np.zeros((1, 1, 2, 2, 3), np.uint8), "uint8 [1, 1, 2, 2, 3]"),
            (np.zeros((0, 2, 3), np.uint8), "uint8 [0, 2, 3]"),
            (np.zeros((0, 2, 2, 3), np.uint8), "uint8 [0, 2, 2, 3]"),
            ([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 0, 3), np.uint8)], "uint8 [2, 0, 3]"),
        ],
    )
    def test_refuses_what_is_no_image(self, server, images, received):
        with pytest.raises(ValueError) as caught:
            Client(address(server, "http")).segment(images)
        assert str(caught.value) == (
            "images must be uint8 [H, W, 3] with at least one pixel, or a batch of them, "
            f"received {received}"
        )
        assert server.requests == []

    @pytest.mark.parametrize("function", ["segment", "logits"])
    @pytest.mark.parametrize("dtype", ["float32", "uint16", "bool"])
    def test_a_saved_model_takes_no_other_images(self, models, function, dtype):
        with pytest.raises(ValueError, match=rf"uint8 \[B, H, W, 3\], received {dtype} \(1, 2, 2"):
            getattr(open_segmenter(models / "channels"), function)(np.zeros((1, 2, 2, 3), dtype))


class TestFiles:
    @pytest.mark.parametrize(
        "name, image",
        [
            ("a.jpg", Image.fromarray(plain(9, 5, 2))),
            ("a.png", Image.fromarray(plain(9, 5, 2))),
            ("gray.jpg", Image.fromarray(plain(9, 5, 2)).convert("L")),
            ("gray.png", Image.fromarray(plain(9, 5, 2)).convert("L")),
            ("palette.png", Image.fromarray(plain(9, 5, 2)).convert("P")),
            ("bilevel.png", Image.fromarray(plain(9, 5, 2)).convert("1")),
        ],
    )
    def test_sent_as_they_are(self, server, kind, tmp_path, name, image):
        image.save(tmp_path / name)
        labels = Client(address(server, kind)).segment(tmp_path / name)
        assert labels.shape == (9, 5)
        assert sent(server) == [[(tmp_path / name).read_bytes()]]

    def test_turned_by_exif(self, server, kind, tmp_path):
        # Blue left, green right; orientation 6 turns clockwise: blue comes on top.
        pixels = np.concatenate([plain(16, 16, 2), plain(16, 16, 1)], axis=1)
        exif = Image.Exif()
        exif[0x0112] = 6
        path = saved(pixels, tmp_path / "a.jpg", exif=exif)
        labels = Client(address(server, kind)).segment(path)
        assert labels.shape == (32, 16)
        assert (labels[:16] == 2).all() and (labels[16:] == 1).all()
        [[data]] = sent(server)
        assert data.startswith(b"\x89PNG")
        exif[0x0112] = 1
        saved(pixels, path, exif=exif)
        assert encode(path).data == path.read_bytes()

    def test_transparency_lies_over_white(self, server, tmp_path):
        # Stored red, seen white: of equal channels, argmax names the first.
        transparent = np.array([[(255, 0, 0, 0), (0, 0, 255, 255)]], np.uint8)
        path = saved(transparent, tmp_path / "a.png")
        assert Client(address(server, "http")).segment(path).tolist() == [[0, 2]]
        with Image.open(io.BytesIO(sent(server)[0][0])) as image:
            assert np.array(image).tolist() == [[[255, 255, 255], [0, 0, 255]]]

    @pytest.mark.parametrize("ending", ["bmp", "gif", "tif", "webp"])
    def test_other_formats_go_as_png(self, server, tmp_path, ending):
        path = saved(plain(3, 5, 1), tmp_path / f"a.{ending}")
        assert (Client(address(server, "grpc")).segment(path) == 1).all()
        assert sent(server)[0][0].startswith(b"\x89PNG")

    def test_16_bit_is_scaled_here(self, tmp_path):
        path = saved(np.array([[129, 25700]], np.uint16), tmp_path / "a.png")
        with Image.open(io.BytesIO(encode(path).data)) as image:
            assert np.array(image).tolist() == [[[1] * 3, [100] * 3]]

    def test_bad_ones_are_not_sent(self, server, kind, tmp_path, monkeypatch):
        good = saved(picture(32, 32), tmp_path / "good.jpg")
        truncated = tmp_path / "truncated.jpg"
        truncated.write_bytes(good.read_bytes()[:-200])
        (tmp_path / "empty.png").touch()
        (tmp_path / "text.png").write_text("not an image\n")
        client = Client(address(server, kind))
        for name, message in (
            ("truncated.jpg", "is a truncated or damaged image"),
            ("empty.png", "is empty (0 bytes), not an image"),
            ("text.png", "is not an image in a format that can be read"),
            ("none.png", "does not exist"),
        ):
            assert refusal(client, tmp_path / name).startswith(f"{tmp_path / name} {message}")
        assert refusal(client, [good, truncated]).startswith(f"{truncated} is a truncated")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        assert "is too large to be opened" in refusal(client, good)
        assert server.requests == []
