import io
import os
import socket
import stat
import struct

import numpy as np
import pytest
from miniatures import damaged_tiffs, noise, png_of_16_bits, tiff
from PIL import Image

from gcn_keras.inference.images import find_images, jpeg, load_image, overlay, save_label_map
from pipelines.base.errors import UsageError, UserError
from pipelines.base.files import replacing

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def picture(rows) -> Image.Image:
    """Grayscale from numbers, RGB from triples, RGBA from quadruples."""
    return Image.fromarray(np.array(rows, np.uint8))


def palette() -> np.ndarray:
    """256 distinct colours, of which index 1 is (100, 50, 0)."""
    colours = np.arange(256, dtype=np.uint8)[:, None] * np.array([100, 50, 0], np.uint8)
    colours[:, 2] = np.arange(256) - 1
    return colours


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
        assert self.message(tmp_path / "a.png").endswith("does not exist.")

    def test_below_a_file(self, tmp_path):
        path = saved(picture([[RED]]), tmp_path / "a.png")
        assert self.message(path / "b.png").endswith("does not exist.")

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
            f"{path} needs more memory than there is: it is damaged, or to be scaled down."
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
            "178956970 pixels, could be decompression bomb DOS attack. Cut it into parts."
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
            f"{path} has 16 bits a channel; 8 are needed: convert it to 8 bit."
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
                    "is a pipe, a socket or a device, not an image."
                )

    def test_a_name_that_is_too_long(self, tmp_path):
        path = tmp_path / f"{'a' * 252}.png"
        assert self.message(path) == f"{path} cannot be read: File name too long."

    def test_floating_point(self, tmp_path):
        path = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "a.tif")
        assert "holds floating-point values" in self.message(path)

    def test_32_bit(self, tmp_path):
        path = saved(Image.fromarray(np.array([[-1, 70000]], np.int32)), tmp_path / "a.tif")
        assert "holds integers from -1 to 70000" in self.message(path)
        path = saved(Image.fromarray(np.array([[0, 200]], np.int32)), tmp_path / "a.tif")
        assert self.message(path) == (
            f"{path} holds integers of 32 bits up to 200, which may be of 8 or of 16 bit: convert "
            "it to 8 bit."
        )
        path = saved(Image.fromarray(np.array([[0, 257]], np.int32)), tmp_path / "a.tif")
        assert load_image(path)[0, :, 0].tolist() == [0, 1]


class TestFindImages:
    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("b.PNG", "a.jpg", "notes.txt", "._a.jpg", "sub/c.webp", ".thumbs/d.png"):
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "in"

    def test_folder(self, folder):
        names = [path.relative_to(folder).as_posix() for path in find_images([folder])]
        assert names == ["a.jpg", "b.PNG", "sub/c.webp"]

    def test_files_come_as_named_and_once(self, folder):
        named = [folder / "notes.txt", str(folder / "b.PNG"), folder / "b.PNG"]
        assert find_images(named) == named[:1] + named[2:]
        assert len(find_images([folder / "b.PNG", folder])) == 3

    def test_what_is_passed_over_is_told_of(self, folder, capsys):
        for name in ("a.heic", "b.avif", "c.JFIF", "desktop.ini", "Thumbs.db", ".DS_Store"):
            (folder / name).touch()
        os.mkfifo(folder / "pipe.png")
        (folder / "linked").symlink_to(folder / "sub")
        (folder / "broken.png").symlink_to(folder / "nowhere")
        names = [path.relative_to(folder).as_posix() for path in find_images([folder])]
        assert names == ["a.jpg", "b.PNG", "broken.png", "sub/c.webp"]
        others = [str(folder / name) for name in ("a.heic", "b.avif", "c.JFIF", "linked")]
        assert capsys.readouterr().err == (
            f"6 files passed over: {', '.join(others)}, {folder / 'notes.txt'}, …\n"
        )

    def test_nothing_to_tell_of(self, folder, capsys):
        (folder / "notes.txt").unlink()
        find_images([folder])
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("out", ["in/out", "link/out", "in/sub/../out", "in", "elsewhere"])
    def test_results_are_no_images(self, folder, capsys, out):
        """Those in `out`, however it is called, and pairs of them in any folder."""
        (folder / "notes.txt").unlink()
        (folder.parent / "link").symlink_to(folder)
        out = folder.parent / out
        before = find_images([folder], out)
        assert capsys.readouterr().err == ""
        (out / "clip_labels").mkdir(parents=True)
        results = ("a_labels.png", "a_overlay.jpg", "clip_overlay.mp4", "clip_labels/000000.png")
        for name in results:
            (out / name).touch()
        assert find_images([folder], out) == before
        assert find_images([folder], folder / "another") == before
        as_a_shell_lists = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        assert find_images(as_a_shell_lists, out) == before
        with pytest.raises(UsageError, match="no image but results of an earlier run"):
            find_images([out / "a_labels.png", out / "a_overlay.jpg"], out)

    def test_drawings_of_receptive_fields_are_no_images(self, tmp_path):
        """In the folder that they are written to; elsewhere it is just a name."""
        for name in ("a.png", "a_receptive_field.png", "mean_receptive_field.png"):
            saved(picture([[RED]]), tmp_path / name)
        assert find_images([tmp_path], tmp_path) == [tmp_path / "a.png"]
        assert len(find_images([tmp_path], tmp_path / "out")) == 3

    def test_what_only_looks_like_a_result(self, folder):
        for name in ("x_labels.png", "y_overlay.jpg", "y_labels.jpg"):
            (folder / name).touch()
        assert len(find_images([folder], folder / "out")) == 6

    def test_refuses_what_is_not_there(self, folder):
        with pytest.raises(UsageError, match="nowhere does not exist") as caught:
            find_images([folder, folder / "nowhere"])
        assert caught.value.exit_status == 2

    def test_refuses_a_folder_without_images(self, folder):
        with pytest.raises(UsageError, match=r"\.thumbs/empty has no image: .*\.jpg"):
            (folder / ".thumbs/empty").mkdir()
            find_images([folder / ".thumbs/empty"])


LABELS = np.zeros((1, 1), np.uint8)


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
        assert str(caught.value) == f"{path} cannot be written: No space left on device."
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


def test_replacing_cleans_up_after_an_interrupt(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


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
        assert str(caught.value) == f"{name} must be an array, not a list."

    @pytest.mark.parametrize("opacity", [1.5, "0.5", None])
    def test_refuses_an_impossible_opacity(self, opacity):
        with pytest.raises(ValueError) as caught:
            overlay(self.IMAGE, self.LABELS, palette(), opacity)
        assert str(caught.value) == f"opacity must be between 0 and 1, not {opacity!r}."
