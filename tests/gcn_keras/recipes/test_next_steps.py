"""What `prepare` says to run next is a recipe that there is."""

import shlex

import pytest

from gcn_keras.recipes.command_line import parse
from pipelines.examination.summary import next_steps


@pytest.mark.parametrize(
    "name",
    ["shapes", "camvid", "voc2012_sbd", "coco_voc/2014", "cityscapes19", "image_folder/mine"]
    + ["tfds:oxford_iiit_pet", "imagenet2012"],
)
def test_its_options_are_taken(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command, _ = next_steps(name, ["test", "train"], "some data")
    words = shlex.split(command.removeprefix("next: "))
    assert words[:3] == ["python", "-m", "gcn_keras.fit"]
    recipe = parse(words[3:])
    assert (recipe.data_dir, recipe.val_split) == ("some data", "test")
    assert recipe.dataset in (name, name.replace("coco_voc", "stage1"))
