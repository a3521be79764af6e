import importlib.util
import os
import threading

import numpy as np
import pytest

from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, argument, as_options
from pipelines.building import examples as building
from pipelines.building import features


def test_examples_come_in_the_items_order_from_a_few_threads():
    made, threads = [], set()

    def make_example(item):
        made.append(item)
        threads.add(threading.get_ident())
        return str(item), {"x": item}

    examples = building.examples(lambda: range(1000), make_example, "numbers")
    assert made == []  # nothing is listed or made before the first is wanted
    assert next(examples) == ("0", {"x": 0})
    assert len(made) <= building.AHEAD * os.cpu_count()  # no more than a few are held
    assert list(examples) == [(str(item), {"x": item}) for item in range(1, 1000)]
    assert sorted(made) == list(range(1000))
    assert threading.get_ident() not in threads and len(threads) <= os.cpu_count()


def odd_is_faulty(item):
    if item % 2:
        raise UserError(f"{item} is faulty")
    return str(item), {}


def test_one_fault_is_the_error():
    examples = building.examples(lambda: [0, 2, 5, 6], odd_is_faulty, "numbers")
    assert [next(examples)[0], next(examples)[0]] == ["0", "2"]
    with pytest.raises(UserError, match="^5 is faulty$"):
        next(examples)


def test_all_faults_are_found_in_one_pass():
    """Those of the list, of the items, and of what would have been made next; each is said once."""
    listed = [0, 1, UserError("b is missing"), OSError(5, "Input/output error", "c.jpg"), 2]
    rest = [(lambda: [1, 3], odd_is_faulty, "more"), (lambda: [4], odd_is_faulty, "most")]

    def make_example(item):
        if isinstance(item, OSError):
            raise item
        return odd_is_faulty(item)

    examples = building.examples(lambda: listed, make_example, "numbers", rest=rest)
    with pytest.raises(UserError) as caught:
        list(examples)
    assert str(caught.value).splitlines() == [
        "4 faults were found:",
        "  1 is faulty",
        "  b is missing",
        "  c.jpg cannot be read: Input/output error",
        "  3 is faulty",
    ]


def test_twenty_faults_are_shown():
    examples = building.examples(lambda: range(46), odd_is_faulty, "numbers")
    with pytest.raises(UserError) as caught:
        list(examples)
    lines = str(caught.value).splitlines()
    assert lines[0] == "23 faults were found; 20 of them:"
    assert lines[1:] == [f"  {number} is faulty" for number in range(1, 40, 2)]


def test_a_rare_fault_is_shown_and_what_to_do_is_said_once():
    def make_example(item):
        if item in (30, 50):
            raise UserError(f"{item}.png is small: scale it")
        raise UserError(f"{item}.png is coloured: name its colour")

    examples = building.examples(lambda: range(60), make_example, "masks")
    with pytest.raises(UserError) as caught:
        list(examples)
    assert str(caught.value).splitlines() == [
        "60 faults were found; 20 of them:",
        "  0.png is coloured: name its colour",
        *(f"  {number}.png is coloured: …" for number in range(1, 19)),
        "  30.png is small: scale it",
    ]


def test_a_name_that_is_no_text():
    with pytest.raises(UserError, match=r"^'\\udcff' is no name in UTF-8: rename the file$"):
        features.example("\udcff", b"", np.zeros((2, 2), np.uint8))


def test_faulty_items_are_skipped_named_and_counted(capsys):
    def make_example(item):
        if item % 10 == 3:
            raise UserError(f"{item} is faulty")
        if item == 50:
            raise OSError(5, "Input/output error", "50.jpg")
        return str(item), {}

    skipped = {}
    examples = building.examples(lambda: range(60), make_example, "numbers", skipped=skipped)
    assert [key for key, _ in examples] == [str(i) for i in range(60) if i % 10 != 3 and i != 50]
    assert skipped == {"numbers": 7}
    said = capsys.readouterr().err
    assert "numbers: skipped: 3 is faulty\n" in said
    assert "numbers: skipped: 50.jpg cannot be read: Input/output error\n" in said
    assert said.count(": skipped: ") == 7


def test_what_is_skipped_is_told_in_the_words_of_the_command(capsys):
    def make_example(item):
        if item == 1:
            raise UserError(f"{item} is faulty: give {argument('first_label')}")
        return str(item), {}

    with as_options():
        assert len([*building.examples(lambda: range(3), make_example, "numbers", skipped={})]) == 2
    assert "numbers: skipped: 1 is faulty: give --first-label\n" in capsys.readouterr().err
    assert len([*building.examples(lambda: range(3), make_example, "numbers", skipped={})]) == 2
    assert "numbers: skipped: 1 is faulty: give first_label\n" in capsys.readouterr().err


def test_where_all_items_are_faulty_nothing_is_skipped():
    def make_example(item):
        raise UserError(f"{item} is faulty")

    examples = building.examples(lambda: range(3), make_example, "numbers", skipped={})
    message = "^none of the 3 examples of numbers can be used; the first one: 0 is faulty$"
    with pytest.raises(UserError, match=message):
        list(examples)


def test_beam_excludes_skipping(data_dir):
    options = {"beam_options": "runner=DirectRunner", "skip_errors": True}
    message = "^--beam-options excludes --skip-errors: "
    with pytest.raises(UsageError, match=message), as_options():
        datasets.prepare("coco_voc", None, data_dir, **options)


@pytest.mark.parametrize("options", ["", "runner=", "runner=A,,b=1", "--runner=A", "a=1, b=2"])
def test_options_of_beam_that_are_none(options, data_dir):
    with pytest.raises(UsageError) as caught, as_options():
        datasets.prepare("coco_voc", None, data_dir, beam_options=options)
    assert f"in --beam-options {options!r} is no option: runner=DirectRunner" in str(caught.value)


def test_beam_that_is_not_installed(data_dir, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("coco_voc", None, data_dir, beam_options="runner=DirectRunner")
    assert str(caught.value) == (
        "Apache Beam is not installed: leave --beam-options out to prepare in this process, or "
        "make an environment with it as docs/beyond-one-machine.md describes"
    )


def test_a_set_that_does_not_use_beam(source, data_dir):
    with pytest.raises(UsageError) as caught:
        datasets.prepare("image_folder", source, data_dir, beam_options="runner=DirectRunner")
    assert str(caught.value) == (
        "'image_folder' is not prepared with Beam, which is for coco_voc and cityscapes19"
    )


@pytest.mark.parametrize(
    "error, kind, message",
    [
        (
            RuntimeError(
                "Traceback …\npipelines.errors.UserError: x.jpg is empty\nDuring handling …\n"
                "pipelines.base.errors.UserError: x.jpg is empty [while running 'train/make']\n\n"
            ),
            UserError,
            "x.jpg is empty",
        ),
        (UserError("x.jpg is empty [while running 'train/make']"), UserError, "x.jpg is empty"),
        (UserError("there is no folder x"), UserError, "there is no folder x"),
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
def test_errors_of_beam(error, kind, message):
    with pytest.raises(kind) as caught, building.errors_of_beam():
        raise error
    assert type(caught.value) is kind and str(caught.value) == message
