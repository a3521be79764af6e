"""Which images are held out: by hash, in groups, in folds."""

import pytest
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source
from pipelines.datasets.image_folder.splitting import hold_out


def split(ids, **options):
    return hold_out(ids, str, FolderOptions(**options))


def test_a_tenth_by_hash():
    # The two lowest SHA-256 of "0" … "19": 1958… and 2c62….
    ids = [str(number) for number in range(20)]
    assert split(ids)["val"] == ["8", "9"]
    assert split(ids[::-1]) == split(ids)
    assert split(ids)["train"] == sorted(set(ids) - {"8", "9"})


def test_at_least_one_and_never_all():
    assert [len(part) for part in split(["a", "b", "c"]).values()] == [2, 1]
    assert [len(part) for part in split(["a", "b"], val_share=0.99).values()] == [1, 1]
    assert len(split([str(i) for i in range(10)], val_share=0.5)["val"]) == 5


def test_frames_of_a_video_stay_together():
    ids = [f"{video}/{frame}" for video in "abcdefghij" for frame in range(5)]
    parts = split(ids, group="^[^/]+", val_share=0.2)
    videos = {name: {one[0] for one in part} for name, part in parts.items()}
    assert len(parts["val"]) == 10 and len(videos["val"]) == 2
    assert not videos["train"] & videos["val"]
    # A group of the expression, where it has one, is what counts.
    assert split(ids, group="^(.)/", val_share=0.2) == parts


@pytest.mark.parametrize(
    ("frames", "held_out"),
    [
        ({"d": 1, "f": 9, "c": 10}, 1),  # of 2 that are wanted: 10 would be further away
        ({"d": 1, "f": 2, "c": 17}, 1),  # and 3 as far
        ({"d": 1, "f": 1, "c": 18}, 2),
        ({"d": 3, "f": 1, "c": 16}, 3),
    ],
)
def test_a_group_is_taken_where_that_leads_nearer_to_the_share(frames, held_out):
    """In the order of their SHA-256: 18ac…, 252f…, 2e7d…."""
    ids = [f"{video}{frame}" for video, count in frames.items() for frame in range(count)]
    assert len(split(ids, group=".", val_share=0.1)["val"]) == held_out


def test_every_image_is_val_in_one_fold():
    ids = [str(number) for number in range(13)]
    held_out = [split(ids, folds=3, fold=fold)["val"] for fold in (1, 2, 3)]
    assert sorted(sum(held_out, [])) == sorted(ids)
    assert sorted(map(len, held_out)) == [4, 4, 5]
    assert split(ids, folds=3, fold=2)["train"] == sorted(set(ids) - set(held_out[1]))


def test_folds_of_groups_are_balanced():
    ids = [
        f"{video}{frame}"
        for video, frames in [("a", 6), ("b", 3), ("c", 2), ("d", 1)]
        for frame in range(frames)
    ]
    sizes = [len(split(ids, group=".", folds=2, fold=fold)["val"]) for fold in (1, 2)]
    assert sizes == [6, 6]


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        (["a"], {}, "there is only 1 image: at least 2 are needed, one for val"),
        (
            ["a", "b"],
            {"folds": 3, "fold": 1},
            "there are only 2 images: at least 3 are needed, one for each fold",
        ),
        (
            ["a1", "a2"],
            {"group": "a"},
            "there is only 1 group of images by group a: at least 2 are needed, one for val",
        ),
        (
            ["a1", "b1"],
            {"group": ".", "folds": 3, "fold": 1},
            "there are only 2 groups of images by group .: at least 3 are needed, one for each "
            "fold",
        ),
        (["a1", "b1"], {"group": "a"}, "group 'a' does not match the image id 'b1'"),
    ],
)
def test_too_few(ids, options, message):
    with pytest.raises(UserError) as caught:
        split(ids, **options)
    assert str(caught.value) == message


def test_a_group_that_takes_no_part():
    with pytest.raises(UserError) as caught:
        split(["left-1", "x-1"], group="^(left|right)?")
    assert in_options(caught.value.template) == (
        "--group '^(left|right)?' does not match the image id 'x-1'"
    )


def test_names_that_are_no_utf_8():
    """They are refused where they would be recorded."""
    parts = split(["stra\udcdfe", "b", "c"])
    assert sorted(parts["train"] + parts["val"]) == ["b", "c", "stra\udcdfe"]


def test_the_number_of_groups_is_said(tmp_path):
    """So that who groups by a part, here all videos together, sees it."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for number in range(12):
            name = f"{'video' if number < 8 else 'clip'}_{number // 4}_{number % 4}.png"
            Image.new("L", (8, 8), number % 2).save(tmp_path / part / name)
    (tmp_path / "classes.txt").write_text("background\ndisc\n")
    for group, words in (
        (r"^(video|clip)_\d", "8 of 12 images are held out, 1 of 2 groups"),
        (r"^(?:video|clip)_\d", "4 of 12 images are held out, 1 of 3 groups"),
    ):
        found = open_source(tmp_path, FolderOptions(group=group)).words
        assert found.partition("; ")[2] == f"no split val: {words}"
