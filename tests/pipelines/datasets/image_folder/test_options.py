"""Options of an own data set: what is refused, and in which words."""

import pytest

from pipelines.base.errors import ArgumentError, in_options
from pipelines.datasets.image_folder.options import FolderOptions, parse_colour


def test_colours():
    assert parse_colour("#804080") == parse_colour("128,64,128") == 0x804080
    assert parse_colour("128 64 128") == parse_colour("128, 64, 128") == 0x804080
    assert parse_colour("128;64;128") == parse_colour("128\t64\t128") == 0x804080
    assert parse_colour("#80408") is parse_colour("1,2") is parse_colour("1,2,256") is None


def test_void_and_map():
    options = FolderOptions(void=("0", "#000000", "1,2,3"), map=("7=0", "8=1", "11=1"))
    options.check()
    assert options.void_values() == ({0}, {0x000000, 0x010203})
    assert options.value_map() == {7: 0, 8: 1, 11: 1}


@pytest.mark.parametrize(
    ("options", "of_values", "of_colours"),
    [
        ({}, "", ""),
        ({"binary": True, "val_share": 0.5}, "", ""),
        ({"void": ("2", "#ffffff", "3", "1,2,3")}, "--void 2 3", "--void #ffffff 1,2,3"),
        ({"void": ("2",), "map": ("7=0",)}, "--void 2 and --map", ""),
        ({"first_label": 1, "nearest_colour": True}, "--first-label", "--nearest-colour"),
    ],
)
def test_what_is_for_values_and_what_for_colours(options, of_values, of_colours):
    options = FolderOptions(**options)
    assert in_options(options.of_values()) == of_values
    assert in_options(options.of_colours()) == of_colours


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"void": "11"}, "void must be strings, as in ('0', '#ffffff'), got '11'"),
        ({"void": (0, 255)}, "void must be strings, as in ('0', '#ffffff'), got (0, 255)"),
        ({"void": 0}, "void must be strings, as in ('0', '#ffffff'), got 0"),
        ({"map": "7=0"}, "map must be strings, as in ('7=0', '8=1'), got '7=0'"),
        ({"map": {"7=0": 1}}, "map must be strings, as in ('7=0', '8=1'), got {'7=0': 1}"),
        (
            {"paint_order": "largest_first"},
            "paint_order must be 'file', 'largest-first' or 'classes', got 'largest_first'",
        ),
        (
            {"paint_order": None},
            "paint_order must be 'file', 'largest-first' or 'classes', got None",
        ),
        ({"void": ("256",)}, "void takes values 0…255 and colours #rrggbb or r,g,b, got '256'"),
        (
            {"void": ("000000",)},
            "void takes values 0…255 and colours #rrggbb or r,g,b, got '000000'",
        ),
        ({"void": ("red",)}, "void takes values 0…255 and colours #rrggbb or r,g,b, got 'red'"),
        ({"map": ("7",)}, "map takes VALUE=CLASS, such as 7=0, got '7'"),
        ({"map": ("7=255",)}, "map takes VALUE=CLASS, such as 7=0, got '7=255'"),
        ({"map": ("7=0", "7=1")}, "map gives value 7 to two classes"),
        ({"rename": "bus=car"}, "rename must be strings, as in ('bus=car',), got 'bus=car'"),
        ({"rename": ("bus",)}, "rename takes OLD=NEW, such as bus=car, got 'bus'"),
        ({"rename": ("bus= ",)}, "rename takes OLD=NEW, such as bus=car, got 'bus= '"),
        ({"rename": ("bus=car", "bus=tree")}, "rename calls 'bus' both 'car' and 'tree'"),
        (
            {"map": ("7=0", "8=1"), "void": ("#ff0000", "8")},
            "map and void both name the value 8: leave it out of one of them",
        ),
        (
            {"binary": True, "void": ("128",)},
            "void takes colours next to binary, got 128: write it as 128,128,128",
        ),
        ({"image_folder": "x"}, "image_folder and label_folder go together: give both"),
        ({"label_suffix": None}, "label_suffix must be a string, got None"),
        ({"image_folder": 1}, "image_folder must be a string, got 1"),
        ({"group": 3}, "group must be a string, got 3"),
        ({"first_label": "1"}, "first_label must be an integer, got '1'"),
        ({"val_share": "0.1"}, "val_share must be between 0 and 1, got '0.1'"),
        ({"folds": 2.5, "fold": 1}, "folds must be an integer, got 2.5"),
        ({"folds": 2, "fold": True}, "fold must be an integer, got True"),
        ({"first_label": 255}, "first_label must be in 0…254, got 255"),
        (
            {"first_label": 1, "map": ("1=0",)},
            "map excludes first_label: both say what a value stands for",
        ),
        (
            {"binary": True, "first_label": 1},
            "binary excludes map and first_label: black is class 0 and white class 1",
        ),
        ({"binary": "no"}, "binary must be True or False, got 'no'"),
        ({"nearest_colour": 2}, "nearest_colour must be True or False, got 2"),
        ({"val_share": 1.0}, "val_share must be between 0 and 1, got 1.0"),
        ({"val_share": float("nan")}, "val_share must be between 0 and 1, got nan"),
        ({"folds": 5}, "folds and fold go together, as in folds 5 fold 2"),
        ({"fold": 2}, "folds and fold go together, as in folds 5 fold 2"),
        ({"folds": 1, "fold": 1}, "folds must be at least 2, got 1"),
        ({"folds": 5, "fold": 0}, "fold must be in 1…5, got 0"),
        ({"folds": 5, "fold": 6}, "fold must be in 1…5, got 6"),
        (
            {"folds": 5, "fold": 1, "val_share": 0.1},
            "val_share excludes folds: a fold is what is held out",
        ),
        (
            {"group": "("},
            "group '(' is no regular expression: missing ), unterminated subpattern at position 0",
        ),
    ],
)
def test_refused(options, message):
    with pytest.raises(ArgumentError) as caught:
        FolderOptions(**options).check()
    assert str(caught.value) == message
