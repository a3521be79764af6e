"""What files and folders stand for."""

import os

import numpy as np
import pytest
from PIL import Image

from gcn_keras.inference.image_files import find_images
from pipelines.base.errors import UsageError


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
            Image.new("RGB", (1, 1), "red").save(tmp_path / name)
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
