"""The command, in processes of its own."""

import subprocess
import sys

import forks
import pytest
from miniatures import REPOSITORY

pytestmark = pytest.mark.slow


def run(*arguments):
    return forks.run("pipelines.prepare", *arguments)


def test_help_and_argument_errors_import_no_tensorflow(tmp_path):
    program = """
import sys
from pipelines import prepare
from pipelines.base.errors import UserError
for arguments in (["--help"], ["camvid", "--frm", "x"], ["camvids"], ["camvid", "--from", "none"]):
    sys.argv[1:] = arguments
    try:
        prepare.main()
    except (SystemExit, UserError) as end:
        print(repr(end))
    else:
        raise AssertionError(arguments)
assert not {"tensorflow", "tensorflow_datasets", "keras"} & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "--from" in result.stdout and "--data-dir" in result.stdout


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["camvids"], 2, "error: there is no data set 'camvids' (did you mean 'camvid'?)"),
        (["camvid"], 2, "error: 'camvid' needs the folder of its images and labels: --from DIR"),
        (["camvid", "--from", "none"], 1, "error: there is no folder none"),
        (
            ["image_folder/mine", "--from", __file__],
            1,
            f"error: {__file__} is a file: name a folder; an archive of your own set has to be "
            "unpacked\n",
        ),
        (
            ["camvid", "--from", ""],
            2,
            "error: the value of --from is empty, as when a variable is not set: name what is "
            "meant\n",
        ),
        (["imagenet2012"], 2, "needs the folder of its archives: --from DIR\n"),
        (["stage1"], 2, "prepare those, then train on --dataset stage1\n"),
        (
            ["camvid", "--first-label", "1"],
            2,
            "error: --first-label is for image_folder, not 'camvid'",
        ),
        (
            ["camvid", "--class-names", "a"],
            2,
            "error: --class-names is for tfds:NAME, not 'camvid'",
        ),
        (["tfds:x", "--binary"], 2, "error: --binary is for image_folder, not 'tfds:x'"),
        (["tfds:x", "--first-label", "255"], 2, "error: --first-label must be in 0…254, got 255\n"),
        (
            ["coco_voc", "--beam-options", "a", "--skip-errors"],
            2,
            "error: --beam-options excludes --skip-errors: workers cannot tell what they skip\n",
        ),
        (["camvid", "--unknown", "1"], 2, "--unknown"),
        ([], 2, "STR"),
    ],
)
def test_bad_arguments(arguments, status, message):
    result = run(*arguments)
    assert result.returncode == status
    assert message in result.stderr and "Traceback" not in result.stderr


def test_prepares_and_says_what_was_written(source, data_dir):
    result = run("image_folder/mine", "--from", source, "--data-dir", data_dir)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "image_folder/mine: 3 classes: sky, road, car",
        "  train              3 examples; sky 33.3 %, road 33.3 %, car 33.3 %",
        "  val                1 example; every pixel is void (255)",
        f"in {data_dir}/image_folder/mine/1.0.0",
        f"contact sheet: {data_dir}/image_folder/mine/1.0.0/contact_sheet.png",
        "next: python -m gcn_keras.fit --recipe finetune --dataset image_folder/mine --data-dir "
        f"{data_dir}",
        "  (--show-batch FILE.png draws what it trains on, and ends)",
    ]
    assert (data_dir / "image_folder" / "mine" / "1.0.0" / "dataset_info.json").is_file()


def test_the_contact_sheet_is_that_of_the_records(source, data_dir):
    """A second call leaves it alone; --overwrite draws that of the new records."""
    arguments = ("image_folder/mine", "--from", source, "--data-dir", data_dir)
    sheet = data_dir / "image_folder" / "mine" / "1.0.0" / "contact_sheet.png"
    first = run(*arguments)
    png = sheet.read_bytes()
    assert png.startswith(b"\x89PNG")
    sheet.write_bytes(b"mine")
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    said = again.stdout.splitlines()
    assert said[0] == (
        "image_folder/mine was prepared before; no record was written. To build it anew: "
        "--overwrite"
    )
    assert said[1:] == first.stdout.splitlines() and sheet.read_bytes() == b"mine"
    assert run(*arguments, "--overwrite").returncode == 0
    assert sheet.read_bytes() == png


def test_a_fault_in_the_data_is_one_line_and_status_1(source, data_dir):
    (source / "labels" / "c.png").write_bytes(b"")
    result = run("image_folder", "--from", source, "--data-dir", data_dir)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"error: {source}/labels/c.png is empty"
    assert "Traceback" not in result.stderr


def test_skips_what_cannot_be_used_and_says_so(source, data_dir):
    (source / "labels" / "c.png").write_bytes(b"")
    arguments = ("image_folder/mine", "--from", source, "--data-dir", data_dir, "--skip-errors")
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert f"mine train: skipped: {source}/labels/c.png is empty\n" in result.stderr
    expected = [
        "  train              2 examples; sky 50.0 %, road 50.0 %, car 0.0 %",
        "  val                1 example; every pixel is void (255)",
        "  mine train: 1 could not be used and was skipped",
    ]
    assert result.stdout.splitlines()[1:4] == expected
    assert run(*arguments).stdout.splitlines()[2:5] == expected  # it is kept with the data set


def test_a_split_of_which_nothing_is_left_is_an_error(source, data_dir):
    for name in "abcd":
        (source / "labels" / f"{name}.png").write_bytes(b"")
    result = run("image_folder", "--from", source, "--data-dir", data_dir, "--skip-errors")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: none of the 3 examples of default train can be used; the first")
    assert not (data_dir / "image_folder" / "default" / "1.0.0").exists()
