"""Images as they are read."""

import os
import socket
import struct

import numpy as np
import pytest
from miniatures import damaged_tiffs, noise, png_of_16_bits, tiff
from PIL import Image

from gcn_keras.inference.images import load_image
from pipelines.base.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def picture(rows) -> Image.Image:
    """Grayscale from numbers, RGB from triples, RGBA from quadruples."""
    return Image.fromarray(np.array(rows, np.uint8))


class TestLoadImage:
    def check(self, path, expected):
        pixels = load_image(path)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable and pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, np.array(expected))

    def test_rgb(self, tmp_path):
        self.check(saved(picture([[RED, (1, 2, 3)]]), tmp_path / "a.png"), [[RED, (1, 2, 3)]])

    def test_grayscale_is_repeated(self, tmp_path):
        path = saved(picture([[0, 7], [200, 255]]), tmp_path / "a.png")
        self.check(path, [[[0] * 3, [7] * 3], [[200] * 3, [255] * 3]])

    def test_bilevel(self, tmp_path):
        path = saved(picture([[0, 255]]).convert("1"), tmp_path / "a.png")
        self.check(path, [[[0] * 3, [255] * 3]])

    # 257 grey steps of 16 bit are one of 8 bit: 128 / 257 rounds to 0, 129 / 257 to 1.
    @pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
    def test_16_bit_grayscale_is_scaled(self, tmp_path, ending):
        values = np.array([[0, 128, 129, 25700, 65535]], np.uint16)
        path = saved(Image.fromarray(values), tmp_path / f"a.{ending}")
        self.check(path, [[[gray] * 3 for gray in (0, 0, 1, 100, 255)]])

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_a_tiff_file_in_which_white_is_zero(self, tmp_path, kind):
        most = np.iinfo(kind).max
        shown = np.array([[[0], [7]], [[255], [100]]], np.uint16) * np.uint16(most // 255)
        stored = (most - shown[::-1]).astype(kind)
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(stored, {262: [0], 274: [4]}))  # 274: upside down
        self.check(path, [[[0] * 3, [7] * 3], [[255] * 3, [100] * 3]])

    def test_a_packed_tiff_file_in_which_white_is_zero(self, tmp_path):
        stored = Image.fromarray(65535 - np.array([[0, 1799, 65535]], np.uint16))
        path = saved(stored, tmp_path / "a.tif", tiffinfo={262: 0}, compression="tiff_lzw")
        self.check(path, [[[0] * 3, [7] * 3, [255] * 3]])

    def test_transparency_lies_over_white(self, tmp_path):
        # 102 / 255 is 0.4: over white, black becomes 0.6 * 255 = 153.
        rows = [[(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 102)]]
        path = saved(picture(rows), tmp_path / "a.png")
        self.check(path, [[(10, 20, 30), WHITE, (153,) * 3]])

    def test_grayscale_with_alpha(self, tmp_path):
        image = picture([[(9, 9, 9, 255), (9, 9, 9, 0)]]).convert("LA")
        self.check(saved(image, tmp_path / "a.png"), [[(9, 9, 9), WHITE]])

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
    def test_opaque_alpha(self, tmp_path, mode):
        image = picture([[(9, 9, 9, 255), (40, 40, 40, 255)]]).convert("LA").convert(mode)
        path = saved(image, tmp_path / "a.tif" if mode == "PA" else tmp_path / "a.png")
        self.check(path, [[(9, 9, 9), (40, 40, 40)]])

    def test_the_longest_name(self, tmp_path):
        self.check(saved(picture([[RED]]), tmp_path / f"{'a' * 251}.png"), [[RED]])

    def test_palette(self, tmp_path):
        image = picture([[0, 1]])
        image.putpalette([*RED, *BLUE])
        self.check(saved(image, tmp_path / "a.png"), [[RED, BLUE]])

    def test_palette_with_transparency(self, tmp_path):
        image = picture([[0, 1]])
        image.putpalette([*RED, *BLUE])
        self.check(saved(image, tmp_path / "a.png", transparency=1), [[RED, WHITE]])

    def test_cmyk(self, tmp_path):
        path = saved(picture([[WHITE, RED]]).convert("CMYK"), tmp_path / "a.tif")
        self.check(path, [[WHITE, RED]])

    def test_exif_orientation_6_turns_clockwise(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = saved(picture([[RED, GREEN], [BLUE, WHITE]]), tmp_path / "a.png", exif=exif)
        self.check(path, [[BLUE, RED], [WHITE, GREEN]])

    def test_first_frame_of_an_animation(self, tmp_path):
        first, second = picture([[RED]]), picture([[BLUE]])
        path = saved(first, tmp_path / "a.gif", save_all=True, append_images=[second])
        self.check(path, [[RED]])


class TestLoadImageRefuses:
    def message(self, path) -> str:
        with pytest.raises(UserError) as caught:
            load_image(path)
        assert caught.value.exit_status == 1
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_missing(self, tmp_path):
        assert self.message(tmp_path / "a.png").endswith("does not exist")

    def test_below_a_file(self, tmp_path):
        path = saved(picture([[RED]]), tmp_path / "a.png")
        assert self.message(path / "b.png").endswith("does not exist")

    def test_folder(self, tmp_path):
        assert "is a folder, not an image" in self.message(tmp_path)

    def test_empty(self, tmp_path):
        path = tmp_path / "a.png"
        path.touch()
        assert "is empty (0 bytes)" in self.message(path)

    def test_no_image(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_text("not an image\n")
        assert "is not an image" in self.message(path)

    @pytest.mark.parametrize("ending", ["jpg", "png", "tif", "bmp"])
    def test_truncated(self, tmp_path, ending):
        path = saved(Image.fromarray(noise(64, 64)), tmp_path / f"a.{ending}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "is a truncated or damaged image" in self.message(path)

    @pytest.mark.slow
    def test_damage_in_a_tiff_files_directory_is_refused_in_a_sentence(self, tmp_path):
        path, refused = tmp_path / "a.tif", 0
        for data in damaged_tiffs(tiff(noise(4, 6))):
            path.write_bytes(data)
            try:
                load_image(path)
            except UserError:
                refused += 1
        assert refused > 100

    def test_more_memory_than_there_is(self, tmp_path, monkeypatch):
        def refuse(image):
            raise MemoryError

        path = saved(picture([[RED]]), tmp_path / "a.png")
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
        assert self.message(path) == (
            f"{path} needs more memory than there is: it is damaged, or to be scaled down"
        )

    def test_decompression_bomb(self, tmp_path, monkeypatch):
        path = saved(picture([[RED] * 9]), tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
        assert "is too large to be opened: Image size (9 pixels) exceeds" in self.message(path)

    def test_a_sound_image_of_more_pixels_than_pillow_opens(self, tmp_path, monkeypatch):
        """14000 × 13000 is more than the limit, and less than twice it."""
        path = tmp_path / "a.png"
        Image.new("1", (14000, 13000)).save(path)
        assert self.message(path) == (
            f"{path} is too large to be opened: Image size (182000000 pixels) exceeds limit of "
            "178956970 pixels, could be decompression bomb DOS attack: cut it into parts"
        )

    def test_no_warning_below_the_limit(self, tmp_path, monkeypatch, recwarn):
        path = saved(picture([[RED] * 9]), tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6)
        assert load_image(path).shape == (1, 9, 3) and not recwarn.list

    @pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
    def test_16_bit_colours(self, tmp_path, colour_type, channels):
        path = tmp_path / "a.png"
        path.write_bytes(png_of_16_bits(colour_type, channels))
        assert self.message(path) == (
            f"{path} has 16 bits a channel; 8 are needed: convert it to 8 bit"
        )

    def test_12_bit_and_16_bit_tiff(self, tmp_path):
        """A gray TIFF of 16 bits, whose header then says 12 bits, or three samples a pixel."""
        gray = saved(Image.fromarray(np.zeros((3, 2), np.uint16)), tmp_path / "a.tif")
        content = gray.read_bytes()
        bits = struct.pack("<HHII", 258, 3, 1, 16)
        assert content.count(bits) == 1
        gray.write_bytes(content.replace(bits, struct.pack("<HHII", 258, 3, 1, 12)))
        assert "has 12 bits a channel; 8 are needed" in self.message(gray)

    @pytest.mark.parametrize("planes", [{}, {284: [2], 273: [8, 12, 16], 279: [4, 4, 4]}])
    def test_16_bit_colours_in_tiff(self, tmp_path, planes):
        """Also a channel after another, of which Pillow takes the bytes for pixels."""
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(np.full((1, 2, 3), 4095, np.uint16), planes))
        assert "has 16 bits a channel; 8 are needed" in self.message(path)

    def test_a_flipped_bit_of_a_png(self, tmp_path):
        """Without the checksums, 13 of these 336 would show another image without a word."""
        path = saved(picture(np.arange(600).reshape(20, 30) // 50), tmp_path / "a.png")
        content = path.read_bytes()
        start = content.index(b"IDAT") + 4
        for bit in range(8 * start, 8 * (len(content) - 12)):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert "is a truncated or damaged image" in self.message(path), bit

    def test_what_is_never_opened(self, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        (tmp_path / "link.png").symlink_to("/dev/zero")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "b.png"))
            for name in ("a.png", "b.png", "link.png"):
                assert self.message(tmp_path / name).endswith(
                    "is a pipe, a socket or a device, not an image"
                )

    def test_a_name_that_is_too_long(self, tmp_path):
        path = tmp_path / f"{'a' * 252}.png"
        assert self.message(path) == f"{path} cannot be read: File name too long"

    def test_floating_point(self, tmp_path):
        path = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "a.tif")
        assert "holds floating-point values" in self.message(path)

    def test_32_bit(self, tmp_path):
        path = saved(Image.fromarray(np.array([[-1, 70000]], np.int32)), tmp_path / "a.tif")
        assert "holds integers from -1 to 70000" in self.message(path)
        path = saved(Image.fromarray(np.array([[0, 200]], np.int32)), tmp_path / "a.tif")
        assert self.message(path) == (
            f"{path} holds integers of 32 bits up to 200, which may be of 8 or of 16 bit: convert "
            "it to 8 bit"
        )
        path = saved(Image.fromarray(np.array([[0, 257]], np.int32)), tmp_path / "a.tif")
        assert load_image(path)[0, :, 0].tolist() == [0, 1]
