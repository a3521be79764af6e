"""Names and colours of classes: inside of a model, beside it, and compared with those it meets."""

import json
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from gcn_keras import PixelCrossentropy, load_model, save_model
from gcn_keras.inference.legend import Legend, check_same_names, legend_of_keras
from gcn_keras.inference.segmenters import check_same_classes, open_segmenter
from gcn_keras.training.run_folder import RunFolder
from pipelines.base.errors import UserError
from pipelines.base.labels import palette

NAMES = ("sky", "road", "car")
LEGEND = Legend(NAMES, palette("camvid"))


def data_set(*names):
    return SimpleNamespace(name="street", class_names=names, num_classes=len(names))


def channels(classes=3) -> keras.Model:
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.Conv2D(classes, 1)(x))


@pytest.fixture
def model(tmp_path):
    """A `.keras` file with its legend inside and beside it, as `fit` writes it."""
    run = RunFolder(tmp_path)
    LEGEND.write(run.legend)
    run.save_model(channels(), run.best)
    return run.best


@pytest.mark.parametrize(
    "names, relation",
    [
        (("road", "sky", "car"), "the same in another order: road, sky, car"),
        (("sky", "road", "tree"), "others: sky, road, tree"),
        (("sky", "road"), "others: sky, road"),
    ],
)
def test_both_lists_are_shown(names, relation):
    with pytest.raises(UserError) as caught:
        check_same_names("best.keras", NAMES, "'street'", names)
    assert caught.value.exit_status == 1
    assert str(caught.value) == (
        f"best.keras knows the classes sky, road, car, and 'street' has {relation}; "
        "they do not belong together"
    )


def test_is_equal_to_itself():
    legend = Legend.unnamed(3)
    assert legend == legend and legend != Legend.unnamed(3)
    assert {legend: 1}[legend] == 1


def test_equal_names_pass():
    check_same_names("best.keras", NAMES, "'street'", list(NAMES))


class TestInsideOfKeras:
    def test_a_lost_file(self, model):
        model.with_name("labels.json").unlink()
        found = open_segmenter(model).legend
        assert found.class_names == NAMES
        np.testing.assert_array_equal(found.palette[:3], LEGEND.palette[:3])

    def test_a_foreign_file(self, model):
        beside = model.with_name("labels.json")
        Legend(("road", "sky", "car"), LEGEND.palette).write(beside)
        with pytest.raises(UserError) as caught:
            open_segmenter(model)
        assert str(caught.value) == (
            f"{model} knows the classes sky, road, car, and {beside} has the same in another "
            "order: road, sky, car; they do not belong together"
        )

    def test_other_colours_beside_it(self, model):
        Legend(NAMES, palette()).write(model.with_name("labels.json"))
        np.testing.assert_array_equal(open_segmenter(model).legend.palette, palette())

    def test_plain_keras_reads_it(self, model):
        found = keras.models.load_model(model)
        assert found.output_shape == (None, None, None, 3)

    def test_a_file_without(self, tmp_path):
        channels().save(tmp_path / "old.keras")
        assert legend_of_keras(tmp_path / "old.keras", 3) is None
        LEGEND.write(tmp_path / "labels.json")
        assert legend_of_keras(tmp_path / "old.keras", 3).class_names == NAMES

    def test_of_another_number_of_classes(self, tmp_path):
        path = tmp_path / "four.keras"
        channels(4).save(path)
        LEGEND.write_into(path)
        with pytest.raises(UserError) as caught:
            open_segmenter(path)
        assert str(caught.value) == (
            f"labels.json in {path} names 3 classes and {path} knows 4: they do not belong together"
        )

    @pytest.mark.parametrize("content", [b"", b"{", b'{"class_names": []}', b"[" * 100_000])
    def test_a_damaged_one(self, tmp_path, content):
        path = tmp_path / "best.keras"
        channels().save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.json", content)
        with pytest.raises(UserError, match=f"labels.json in {path} is no file of class names"):
            open_segmenter(path)

    def test_a_flipped_bit(self, model):
        content = model.read_bytes()
        assert content.count(b'"sky"') == 1
        model.write_bytes(content.replace(b'"sky"', b'"ski"'))
        with pytest.raises(UserError, match=f"labels.json in {model} cannot be read: Bad CRC"):
            legend_of_keras(model)


class TestOfALoadedModel:
    def test_names_and_colours(self, model):
        found = load_model(model)
        assert found.class_names == NAMES
        assert found.palette.dtype == np.uint8 and found.palette.shape == (256, 3)
        np.testing.assert_array_equal(found.palette[:3], LEGEND.palette[:3])

    def test_the_way_to_a_file_and_back(self, model, tmp_path):
        """Trained on, the copy knows its classes, and another data set is refused as ever."""
        copy = tmp_path / "elsewhere" / "copy.keras"
        copy.parent.mkdir()
        loaded = load_model(model)
        loaded.compile("sgd", PixelCrossentropy())
        loaded.train_on_batch(np.ones((1, 4, 4, 3), "float32"), np.ones((1, 4, 4), np.uint8))
        save_model(loaded, copy)
        legend = legend_of_keras(copy, 3)
        assert legend.class_names == NAMES
        np.testing.assert_array_equal(legend.palette[:3], LEGEND.palette[:3])
        with pytest.raises(UserError, match="the same in another order: car, road, sky"):
            check_same_classes(open_segmenter(copy), copy, data_set("car", "road", "sky"))
        plain = keras.models.load_model(copy)  # in safe mode
        for before, after in zip(loaded.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_colours_beside_it_are_taken_along(self, model, tmp_path):
        Legend(NAMES, palette()).write(model.with_name("labels.json"))
        copy = tmp_path / "elsewhere" / "copy.keras"
        copy.parent.mkdir()
        save_model(load_model(model), copy)
        np.testing.assert_array_equal(legend_of_keras(copy).palette, palette())

    def test_keras_own_save_goes_on_without(self, model, tmp_path):
        load_model(model).save(tmp_path / "plain.keras")
        assert "labels.json" not in zipfile.ZipFile(tmp_path / "plain.keras").namelist()

    def test_a_file_without(self, tmp_path):
        for name in "one.keras", "two.keras":
            channels().save(tmp_path / "one.keras")
            found = load_model(tmp_path / "one.keras")
            assert (found.class_names, found.palette) == (None, None)
            save_model(found, tmp_path / name)
            assert legend_of_keras(tmp_path / name) is None

    def test_a_foreign_file_beside_it(self, model):
        beside = model.with_name("labels.json")
        Legend(("road", "sky", "car"), LEGEND.palette).write(beside)
        with pytest.raises(UserError, match="they do not belong together$"):
            load_model(model)


class TestOnADataSet:
    def test_the_same(self, model, capsys):
        check_same_classes(open_segmenter(model), model, data_set(*NAMES))
        assert capsys.readouterr().err == ""

    def test_another_order(self, model):
        with pytest.raises(UserError) as caught:
            check_same_classes(open_segmenter(model), model, data_set("car", "road", "sky"))
        assert str(caught.value) == (
            f"{model} knows the classes sky, road, car, and 'street' has the same in another "
            "order: car, road, sky; they do not belong together"
        )

    def test_names_that_are_unknown(self, tmp_path, capsys):
        """A note, once, and the numbers are compared as ever."""
        path = tmp_path / "old.keras"
        channels().save(path)
        for _ in range(2):
            check_same_classes(open_segmenter(path), path, data_set("car", "road", "sky"))
        assert capsys.readouterr().err == (
            f"note: {path} carries no class names; they are taken to be those of 'street': "
            "car, road, sky\n"
        )
        with pytest.raises(UserError) as caught:
            check_same_classes(open_segmenter(path), path, data_set("car", "road"))
        assert str(caught.value) == (
            f"{path} knows 3 classes and 'street' has 2: they do not belong together"
        )

    def test_numbers_for_names_are_none(self, tmp_path, capsys):
        """As forms carry them that were exported from a model without names."""
        segmenter = SimpleNamespace(legend=Legend.unnamed(3), num_classes=3)
        check_same_classes(segmenter, tmp_path, data_set(*NAMES))
        assert "carries no class names" in capsys.readouterr().err


def test_what_is_written_is_json(tmp_path):
    LEGEND.write(tmp_path / "labels.json")
    assert json.loads((tmp_path / "labels.json").read_text()) == {
        "class_names": list(NAMES),
        "palette": [[128, 128, 128], [128, 0, 0], [192, 192, 128]],
    }


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"class_names": "ab", "palette": [[1, 2, 3], [1, 2, 3]]}',
        b'{"class_names": {"a": 1}, "palette": [[1, 2, 3]]}',
        b'{"class_names": ["a"], "palette": [[1, 2, NaN]]}',
        b'{"class_names": ["a"], "palette": [[1.5, 2, 3]]}',
        b'{"class_names": ["a"], "palette": [[256, 2, 3]]}',
        b'{"class_names": ["a"], "palette": [[1, 2]]}',
        b'{"class_names": [], "palette": []}',
    ],
    ids=lambda content: content[:60].decode(errors="replace"),
)
def test_what_is_no_legend(content):
    with pytest.raises(UserError, match="^labels.json is no file of class names and colours: "):
        Legend.parse(content, "labels.json")
