"""Label maps and overlays as files."""

import io
import os
import stat

import numpy as np
import pytest
from PIL import Image

from gcn_keras.inference.images import load_image
from gcn_keras.inference.overlays import jpeg, overlay, save_label_map
from pipelines.base.errors import UserError

LABELS = np.zeros((1, 1), np.uint8)


def palette() -> np.ndarray:
    """256 distinct colours, of which index 1 is (100, 50, 0)."""
    colours = np.arange(256, dtype=np.uint8)[:, None] * np.array([100, 50, 0], np.uint8)
    colours[:, 2] = np.arange(256) - 1
    return colours


class TestSaveLabelMap:
    def test_indices_and_palette(self, tmp_path):
        labels = np.array([[0, 1, 2], [18, 254, 255]], np.uint8)
        save_label_map(labels, tmp_path / "a.png", palette())
        with Image.open(tmp_path / "a.png") as image:
            assert image.format == "PNG" and image.mode == "P"
            np.testing.assert_array_equal(np.array(image), labels)
            np.testing.assert_array_equal(np.reshape(image.getpalette(), (256, 3)), palette())
        np.testing.assert_array_equal(load_image(tmp_path / "a.png"), palette()[labels])

    def test_is_as_readable_as_any_file(self, tmp_path):
        save_label_map(LABELS, tmp_path / "a.png", palette())
        (tmp_path / "plain").touch()
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert len(modes) == 1

    def test_failure_leaves_the_former_file_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_text("former")

        def half_written(image, file, **options):
            with open(file, "w") as stream:
                stream.write("half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", half_written)
        with pytest.raises(UserError) as caught:
            save_label_map(LABELS, path, palette())
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
        assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
        assert path.read_text() == "former"

    def test_no_folder(self, tmp_path):
        path = tmp_path / "nowhere" / "a.png"
        with pytest.raises(UserError, match="a.png cannot be written: No such file or directory"):
            save_label_map(LABELS, path, palette())

    @pytest.mark.parametrize(
        "array", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros(4, np.uint8)]
    )
    def test_refuses_other_arrays(self, tmp_path, array):
        with pytest.raises(ValueError, match=r"labels must be uint8 of shape \[any, any\], not"):
            save_label_map(array, tmp_path / "a.png", palette())
        assert not os.listdir(tmp_path)


class TestJpeg:
    def test_is_the_image_to_the_eye(self):
        """Colours are as fine as the brightness, as those of classes end at an edge."""
        image = np.full((16, 16, 3), (40, 90, 200), np.uint8)
        image[:, 8:] = 220, 30, 60
        with Image.open(io.BytesIO(jpeg(image))) as read:
            assert (read.format, read.mode, read.size) == ("JPEG", "RGB", (16, 16))
            np.testing.assert_allclose(np.array(read), image, atol=2)

    def test_the_longest_side(self):
        with Image.open(io.BytesIO(jpeg(np.zeros((1, 65_500, 3), np.uint8)))) as read:
            assert read.size == (65_500, 1)
        with pytest.raises(
            UserError, match="at most 65,500 pixels a side, and this one is 2x65501"
        ):
            jpeg(np.zeros((65_501, 2, 3), np.uint8))

    @pytest.mark.parametrize("image", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3))])
    def test_refuses_other_arrays(self, image):
        with pytest.raises(ValueError, match=r"image must be uint8 of shape \[any, any, 3\], not"):
            jpeg(image)


class TestOverlay:
    IMAGE = np.array([[(200, 100, 7), (10, 20, 30)]], np.uint8)
    LABELS = np.array([[1, 255]], np.uint8)

    # palette()[1] is (100, 50, 0).
    @pytest.mark.parametrize(
        ("opacity", "mixed"),
        [(0, (200, 100, 7)), (0.25, (175, 88, 5)), (0.5, (150, 75, 4)), (1, (100, 50, 0))],
    )
    def test_mixes(self, opacity, mixed):
        result = overlay(self.IMAGE, self.LABELS, palette(), opacity)
        assert result.dtype == np.uint8
        assert result.tolist() == [[list(mixed), [10, 20, 30]]]

    def test_leaves_its_arguments(self):
        image = self.IMAGE.copy()
        overlay(image, self.LABELS, palette(), 1)
        np.testing.assert_array_equal(image, self.IMAGE)

    def test_refuses_labels_of_another_size(self):
        with pytest.raises(ValueError, match=r"labels must be uint8 of shape \[1, 2\], not .*3"):
            overlay(self.IMAGE, np.zeros((1, 3), np.uint8), palette())

    @pytest.mark.parametrize("name", ["image", "labels", "palette"])
    def test_refuses_what_is_no_array(self, name):
        arrays = {"image": self.IMAGE, "labels": self.LABELS, "palette": palette(), name: [[1, 2]]}
        with pytest.raises(ValueError) as caught:
            overlay(**arrays)
        assert str(caught.value) == f"{name} must be an array, not a list"

    @pytest.mark.parametrize("opacity", [1.5, "0.5", None])
    def test_refuses_an_impossible_opacity(self, opacity):
        with pytest.raises(ValueError) as caught:
            overlay(self.IMAGE, self.LABELS, palette(), opacity)
        assert str(caught.value) == f"opacity must be between 0 and 1, not {opacity!r}"
