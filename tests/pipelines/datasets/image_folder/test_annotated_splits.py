"""The splits of annotated images: by folders, by names of files, and by lists of names."""

import functools
import json
import unicodedata

import pytest
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source

CORNER = {"size": [8, 8], "counts": [0, 8, 56]}


def images(folder, *names):
    """Writes the images of some paths, without ending, below a folder."""
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def coco(path, *names):
    """Writes a file of COCO with a cat in each image; `names` are paths without ending."""
    numbered = list(enumerate(names, 1))
    content = {
        "images": [{"id": number, "file_name": f"{name}.png"} for number, name in numbered],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": CORNER}
            for number, _ in numbered
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def labelme(folder, *names, image="{}"):
    """Writes a file of labelme for each name, a path below a folder."""
    cat = {"label": "cat", "shape_type": "rectangle", "points": [[0, 0], [3, 3]]}
    for name in names:
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        stem = image.format(path.stem)
        path.write_text(json.dumps({"shapes": [cat], "imagePath": f"{stem}.png"}))


def splits_of(folder, **options):
    """The ids of each split, and the faults without the folder's path."""
    found = open_source(folder, FolderOptions(**options)).splits
    faults = [x for items in found.values() for x in items if isinstance(x, UserError)]
    ids = {
        split: [item.image_id for item in items if not isinstance(item, UserError)]
        for split, items in found.items()
    }
    return ids, [str(fault).replace(f"{folder}/", "") for fault in faults]


NAMES = [f"{number:02}" for number in range(12)]
# What is held out of these names by their hashes is another one.
LISTED = {"train": NAMES[:8], "val": NAMES[8:]}


def write_lists(folder, lists, line="{}"):
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in lists.items():
        text = "".join(f"{line.format(name)}\n" for name in names)
        (folder / f"{split}.txt").write_text(text)


@pytest.mark.parametrize("place", [".", "ImageSets", "ImageSets/Segmentation"])
@pytest.mark.parametrize("line", ["{}", "{}.png", "images/{}.png", "/data/set/images/{}.png"])
@pytest.mark.parametrize("form", ["coco", "labelme", "labelme elsewhere"])
@pytest.mark.parametrize("images_in", ["images", "photos", "."])
def test_lists_of_names_split_annotated_images(tmp_path, form, line, place, images_in):
    images(tmp_path / images_in, *NAMES)
    if form == "coco":
        coco(tmp_path / "annotations" / "instances.json", *NAMES)
    elif form == "labelme":
        labelme(tmp_path / images_in, *NAMES)
    else:
        labelme(tmp_path / "json", *NAMES, image=f"../{images_in}/{{}}")
    write_lists(tmp_path / place, LISTED, line)
    ids, faults = splits_of(tmp_path)
    assert not faults
    assert {split: [name[-2:] for name in names] for split, names in ids.items()} == LISTED
    source = open_source(tmp_path, FolderOptions())
    assert source.words.endswith(" of 12 images, as train.txt and val.txt list them")
    assert source.passed_over == []


def test_lists_leave_images_out_and_hold_out_of_train(tmp_path):
    images(tmp_path / "images", *NAMES)
    coco(tmp_path / "instances.json", *NAMES[:10])
    write_lists(tmp_path, {"train": NAMES[:6], "test": NAMES[8:9]})
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == NAMES[:6] and len(ids["val"]) == 1
    assert (ids["test"], faults) == (NAMES[8:9], [])
    assert open_source(tmp_path, FolderOptions()).words == (
        "1 annotation file of 10 images, as train.txt and test.txt list them; images in no list "
        "are left out: 5; no split val: 1 of 6 images is held out, chosen by name"
    )


@pytest.mark.parametrize(
    ("lists", "options", "message"),
    [
        (
            {"train": ["00", "99"], "val": ["01"]},
            {},
            "{0}/train.txt line 2 names no image here: '99'",
        ),
        (
            {"train": ["00", "01"], "val": ["01"]},
            {},
            "{0}/val.txt lists '01', as {0}/train.txt does already",
        ),
        (
            LISTED,
            {"val_share": 0.5},
            "{0} has a val split already: leave --val-share, --folds and --group out, or give a "
            "folder without it",
        ),
    ],
)
def test_lists_that_are_refused(tmp_path, lists, options, message):
    images(tmp_path, *NAMES)
    labelme(tmp_path, *NAMES)
    write_lists(tmp_path, lists)
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions(**options))
    assert in_options(caught.value.template) == message.format(tmp_path)


def test_faults_of_listed_images_are_told_once_and_those_of_others_are_not(tmp_path):
    images(tmp_path, *NAMES)
    labelme(tmp_path, *(name for name in NAMES if name not in ("03", "04")))
    for name in ("01", "07"):
        (tmp_path / f"{name}.json").write_text("{")
    labelme(tmp_path, "lost")
    write_lists(tmp_path, {"train": ["00", "01", "02", "03"], "val": ["05", "06"]})
    ids, faults = splits_of(tmp_path)
    assert ids == {"train": ["00", "02"], "val": ["05", "06"]}
    assert sorted(faults) == [
        "01.json is truncated or damaged (Expecting property name enclosed in double quotes: line "
        "1 column 2 (char 1))",
        "03.png has no label: no annotation file lists it",
        f"there is no lost.png below {tmp_path}, which lost.json names",
    ]


def test_listed_images_of_one_name_are_told(tmp_path):
    images(tmp_path, "images/a", "imgs/a", "imgs/b", "imgs/c")
    labelme(tmp_path, "images/a", "imgs/a", "imgs/b", "imgs/c")
    write_lists(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    ids, faults = splits_of(tmp_path)
    assert ids == {"train": ["a", "b"], "val": ["c"]}
    assert faults == ["images/a.png and imgs/a.png have the same name"]


def test_splits_in_names_come_before_lists(tmp_path):
    images(tmp_path, "train/a", "train/b", "val/c")
    labelme(tmp_path, "train/a", "train/b", "val/c")
    write_lists(tmp_path, {"train": ["a"], "val": ["b", "c"]})
    assert splits_of(tmp_path) == ({"train": ["a", "b"], "val": ["c"]}, [])
    source = open_source(tmp_path, FolderOptions())
    assert [path.name for path in source.passed_over] == ["train.txt", "val.txt"]


def test_text_and_json_that_is_not_used_is_passed_over(tmp_path):
    images(tmp_path, *NAMES)
    labelme(tmp_path, *NAMES)
    for name in ("README.txt", "info.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    source = open_source(tmp_path, FolderOptions())
    assert [path.name for path in source.passed_over] == ["README.txt", "info.json"]


@pytest.mark.parametrize("above", ["", "images/"])
@pytest.mark.parametrize("form", ["paths", "names", "labelme"])
def test_the_folders_of_images_name_their_splits(tmp_path, above, form):
    """One annotation file for all, or a folder of annotation files of no split."""
    paths = [f"{above}train/00", f"{above}train/01", f"{above}valid/02", f"{above}test/03"]
    images(tmp_path, *paths)
    if form == "labelme":
        for path in paths:
            labelme(tmp_path / "json", path[-2:], image=f"../{path}")
    else:
        coco(tmp_path / "all.json", *(path if form == "paths" else path[-2:] for path in paths))
    assert splits_of(tmp_path) == ({"train": ["00", "01"], "val": ["02"], "test": ["03"]}, [])


def test_faults_of_no_split_stay_with_images_of_one(tmp_path):
    images(tmp_path, "train/00", "train/01", "val/02", "val/03")
    coco(tmp_path / "all.json", "train/00", "train/01", "val/02", "val/03", "gone")
    content = json.loads((tmp_path / "all.json").read_text())
    content["annotations"][3]["category_id"] = 7
    content["annotations"].append({"id": 9, "image_id": 77})
    (tmp_path / "all.json").write_text(json.dumps(content))
    ids, faults = splits_of(tmp_path)
    assert ids == {"train": ["00", "01"], "val": ["02"]}
    assert sorted(faults) == [
        "all.json has no category 7, and annotation 4 is of it",
        "all.json has no image 77, and annotation 9 is of it",
        f"there is no gone.png below {tmp_path}, which all.json names",
    ]
    damaged = open_source(tmp_path, FolderOptions()).splits["val"][-1]
    assert isinstance(damaged, UserError)


def test_the_split_of_an_annotation_file_comes_before_that_of_folders(tmp_path):
    images(tmp_path, "train/00", "train/01", "train/02")
    coco(tmp_path / "instances_train.json", "00", "01")
    coco(tmp_path / "instances_val.json", "train/02")
    assert splits_of(tmp_path) == ({"train": ["00", "01"], "val": ["02"]}, [])


def test_images_of_a_split_beside_some_of_none_are_refused(tmp_path):
    images(tmp_path, "train/00", "more/01")
    coco(tmp_path / "all.json", "train/00", "more/01")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions())
    assert str(caught.value) == (
        f"{tmp_path} has annotated images of the split 'train' and some of no split: name their "
        "folders, or the annotation files, train, val or test"
    )


@pytest.fixture(params=[("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def unicode_forms(request):
    """Of files and of what annotation files hold, as macOS and other systems write them."""
    return [functools.partial(unicodedata.normalize, form) for form in request.param]


@pytest.mark.parametrize("form", ["coco", "labelme"])
@pytest.mark.parametrize("place", ["images", "json"])
def test_names_in_either_unicode_form(tmp_path, unicode_forms, form, place):
    of_files, of_json = unicode_forms
    folder, names = tmp_path / of_files("Größe"), ["Brötchen", "Käse"]
    images(folder / "images", *map(of_files, names))
    if form == "coco":
        coco(folder / place / "all.json", *map(of_json, names))
    else:
        labelme(folder / place, *map(of_json, names))
    ids, faults = splits_of(folder)
    assert (sorted(ids["train"] + ids["val"]), faults) == (names, [])


def test_the_split_of_a_damaged_file_of_labelme_in_either_unicode_form(tmp_path, unicode_forms):
    of_files, of_json = unicode_forms
    images(tmp_path, *map(of_files, ("Brötchen", "Käse", "Öl")))
    labelme(tmp_path, *map(of_json, ("Brötchen", "Käse")))
    (tmp_path / f"{of_json('Öl')}.json").write_text("{")
    write_lists(tmp_path, {"train": ["Brötchen"], "val": ["Käse", "Öl"]})
    val = open_source(tmp_path, FolderOptions()).splits["val"]
    assert [isinstance(item, UserError) for item in val] == [False, True]


def test_the_image_in_the_nearest_folder_is_the_one_that_is_named(tmp_path):
    """Tasks of CVAT: each has annotations/ and images/, and the images are called alike."""
    for task in ("one", "two"):
        images(tmp_path / task / "images", "a", "b")
        coco(tmp_path / task / "annotations" / "instances.json", "a", "b")
    splits, faults = splits_of(tmp_path)
    ids = [f"{task}/images/{name}" for task in ("one", "two") for name in "ab"]
    assert sorted(splits["train"] + splits["val"]) == ids and faults == []


@pytest.mark.parametrize("named", ["0001", "0001.png", "0001.JPG"])
def test_an_image_of_another_ending_is_told(tmp_path, named):
    images(tmp_path, "a", "b", "c")
    coco(tmp_path / "all.json", "a", "b", "0001")
    path = tmp_path / "all.json"
    path.write_text(path.read_text().replace("0001.png", named))
    (tmp_path / "c.png").rename(tmp_path / "0001.jpg")
    assert splits_of(tmp_path)[1] == [
        f"there is no {named} below {tmp_path}, which all.json names, but 0001.jpg is there"
    ]


def test_a_split_to_test_on_alone(tmp_path):
    """A file's name makes it, which may be meant as no more than a name."""
    images(tmp_path, "a", "b")
    coco(tmp_path / "test_project-1.json", "a", "b")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions())
    assert str(caught.value) == (
        f"{tmp_path} has the split test, but no train: of folders, and of COCO's files, the names "
        "make splits; call what is to be trained on train"
    )


def test_an_image_of_another_folder_is_not_taken(tmp_path):
    """cam1's are missing; before, they took those of cam2, which are called alike."""
    names = [f"{number:02}" for number in range(4)]
    images(tmp_path / "images", *(f"cam2/{name}" for name in names))
    listed = [f"{camera}/{name}" for camera in ("cam1", "cam2") for name in names]
    coco(tmp_path / "instances.json", *listed)
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == [f"cam2/{name}" for name in names]
    assert faults == [
        f"there is no cam1/{name}.png below {tmp_path}, which instances.json names; "
        f"images/cam2/{name}.png is that of cam2/{name}.png"
        for name in names
    ]
    source = open_source(tmp_path, FolderOptions())
    items = [item for split in source.splits.values() for item in split]
    assert {item.annotated.image for item in items if not isinstance(item, UserError)} == {
        f"cam2/{name}.png" for name in names
    }


def test_images_in_other_folders_than_their_annotations_name(tmp_path):
    """They may have been moved, or be others: it is said."""
    images(tmp_path, *(f"images/cam2/{name}" for name in "0123"))
    coco(tmp_path / "instances.json", *(f"cam1/{name}" for name in "0123"))
    assert open_source(tmp_path, FolderOptions()).words.startswith(
        "1 annotation file of 4 images, 4 of them in other folders than annotated, such as "
        "images/cam2/0.png for cam1/0.png; "
    )


def test_annotations_of_another_folder_are_not_taken(tmp_path):
    images(tmp_path / "img" / "cam2", "0", "1")
    labelme(tmp_path / "ann", "cam1/0", "cam2/0", "cam2/1")
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == ["cam2/0", "cam2/1"]
    assert faults == ["ann/cam1/0.json lists 0.png, as ann/cam2/0.json does already"]


def test_annotations_that_nobody_can_tell_apart(tmp_path):
    """Neither is taken: each may hold one half of the regions."""
    images(tmp_path, "0", "1", "2")
    coco(tmp_path / "instances.json", "0", "0", "1", "2")
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == ["1", "2"]
    assert faults == ["instances.json lists 0.png, as instances.json does already"]


def test_damage_is_told_beside_other_annotations_of_the_image(tmp_path):
    images(tmp_path, "0", "1", "2")
    coco(tmp_path / "instances.json", "0", "0", "1", "2")
    content = json.loads((tmp_path / "instances.json").read_text())
    del content["annotations"][0]["category_id"]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == ["1", "2"]
    assert faults == [
        "instances.json has no category None, and annotation 1 is of it",
        "instances.json lists 0.png, as instances.json does already",
    ]


def test_images_of_two_folders_and_none_of_them_there(tmp_path):
    images(tmp_path, "images/cam2/0", "images/cam2/1", "images/cam2/2")
    coco(tmp_path / "instances.json", "cam1/0", "cam3/0", "cam2/1", "cam2/2")
    ids, faults = splits_of(tmp_path)
    assert sorted(ids["train"] + ids["val"]) == ["cam2/1", "cam2/2"]
    assert faults == [
        "instances.json names cam3/0.png, and instances.json cam1/0.png: both would be "
        "images/cam2/0.png"
    ]


@pytest.mark.parametrize("name", ["instances_train_val", "trainval", "train+val2017"])
def test_a_file_of_two_splits_names_none(tmp_path, name):
    images(tmp_path, *(f"train/{n}" for n in "0123"), "val/4", "val/5")
    coco(tmp_path / f"{name}.json", *(f"train/{n}" for n in "0123"), "val/4", "val/5")
    ids, faults = splits_of(tmp_path)
    assert (ids, faults) == ({"train": [*"0123"], "val": ["4", "5"]}, [])
