"""README.md and docs/: each block of commands and of Python runs, page after page, on small data.

A page is a script: its blocks run in their order, in a folder of its own that holds what the page
speaks of. What cannot run here says why in a comment before its block.
"""

import contextlib
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import forks
import numpy as np
import pytest
from classified_images import write_images
from documented import PAGES, Block, blocks
from few_shapes import prepare_shapes
from miniatures import noise, save, write_pairs, write_sbd, write_voc
from places import REPOSITORY
from small_runs import prepare_halves

from gcn_keras.inference.video import write_video
from pipelines import datasets
from pipelines.base.addresses import free_port

pytestmark = pytest.mark.slow

# What makes a command short; a later option takes the place of the one that is shown.
SHORT_TRAINING = (
    "--epochs 1 --steps-per-epoch 2 --batch 4 --warmup-steps 0 --crop 64 64 --backbone small "
    "--weights None"
)
SHORT = {
    "gcn_keras.fit": SHORT_TRAINING,
    "gcn_keras.evaluate": "--limit 4",
    "gcn_keras.ablate": (
        f'--rows base --seeds 1 --evaluation="--limit 4" --options="{SHORT_TRAINING}"'
    ),
    "gcn_keras.demo": "--port 0",
    "gcn_keras.receptive_field": "--patch 41 --stride 40",
}
# The same for Python.
SHORT_PYTHON = {
    "epochs=5": "epochs=1",
    "steps_per_epoch=500": "steps_per_epoch=1",
    "validation_steps=50": "validation_steps=1",
}
# Commands that go on until Ctrl-C, and what they print when they are ready.
STAYING = {"gcn_keras.demo": "http://", "pipelines.service": "listening on "}


@pytest.fixture(scope="module")
def common(tmp_path_factory) -> Path:
    """What most pages speak of: the embedded data set, a model, photographs and a video."""
    folder = tmp_path_factory.mktemp("common")
    prepare_shapes(folder / "data")
    boxed = folder / "saved_models" / "shapes"
    shutil.copytree(REPOSITORY / "saved_models" / "shapes", boxed)
    (folder / "runs" / "shapes").mkdir(parents=True)
    shutil.copy(boxed / "shapes.keras", folder / "runs" / "shapes" / "best.keras")
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.png"):
        save(folder / name, noise(48, 40))
    write_video((noise(48, 64, seed) for seed in range(3)), folder / "street.mp4", fps=5)
    return folder


def own(folder: Path, name: str = "mine") -> None:
    """A folder of photographs and masks, of two classes."""
    prepare_halves(folder / "halves")
    (folder / "halves" / "source").rename(folder / name)
    shutil.rmtree(folder / "halves")


def prepared_own(folder: Path) -> None:
    own(folder)
    datasets.prepare("image_folder/mine", folder / "mine", folder / "data")


def arrays(folder: Path) -> None:
    (folder / "mine" / "labels").mkdir()
    np.save(folder / "mine" / "labels" / "one.npy", np.zeros((4, 6), np.int64))


def camvid(folder: Path) -> None:
    label = (np.arange(64 * 72).reshape(64, 72) // 400).astype(np.uint8)  # CamVid's 11 and its void
    for split in ("train", "val", "test"):
        write_pairs(folder / "camvid" / split, "abcd", [label] * 4)


def prepared_camvid(folder: Path) -> None:
    camvid(folder)
    datasets.prepare("camvid", folder / "camvid", folder / "data")


def prepared_voc(folder: Path) -> None:
    write_sbd(write_voc(folder / "voc"))
    datasets.prepare("voc2012_sbd", folder / "voc", folder / "data")


def prepared_imagenet(folder: Path) -> None:
    write_images(folder / "data")


@dataclass(frozen=True)
class Script:
    """How a page's blocks are run.

    Attributes:
        needs: functions that make what the page speaks of.
        means: what takes the place of the page's words in capital letters, and the like.
        short: options for its commands beside those of `SHORT`.
    """

    needs: tuple[Callable[[Path], None], ...] = ()
    means: dict[str, str] = field(default_factory=dict)
    short: dict[str, str] = field(default_factory=dict)


# The model that is made soonest; where it is exported, the paper's.
FIT = {"gcn_keras.fit": "--block conv1x1 --no-boundary-refinement"}
OWN = {"gcn_keras.fit": "--kernel-size 3", "gcn_keras.export": "--size 64 64 --budget 100"}
PORT = free_port(0)
SERVICE = {
    "--host 0.0.0.0": f"--port {PORT}",
    "HOST:5050": f"localhost:{PORT}",
    "--host NAME": "--host localhost",
}
BOXED = "saved_models/shapes/shapes.keras"
SCRIPTS = {
    "README.md": Script((own,), short=OWN),
    "beyond-one-machine.md": Script(means=SERVICE, short=FIT),
    "data-sets.md": Script((camvid,), means={"DIR": "camvid"}),
    "deployment.md": Script(means={"MODEL": BOXED}),
    "experiments.md": Script(
        (prepared_camvid, prepared_voc, prepared_imagenet),
        means={"1e-3 3e-3 1e-2 3e-2": "1e-3 3e-3", "--epochs 5": "--epochs 1"},
        short={"gcn_keras.fit": "--no-export --crop 256 256"},  # for a kernel of 15
    ),
    "getting-started.md": Script(short=FIT),
    "keras.md": Script(),
    "phone.md": Script((partial(own, name="street"),), short=OWN),
    "training.md": Script(
        (prepared_own, prepared_camvid),
        means={"DIR": "runs/camvid"},
        short={"gcn_keras.fit": f"--no-export {FIT['gcn_keras.fit']}"},
    ),
    "your-own-data.md": Script((own, arrays), short=OWN),
}


def to_run(page: Path) -> list[Block]:
    """A page's blocks of commands and of Python that say nothing against it.

    Trees of files with the command that imports them are examples, of which
    test_own_data_document.py builds each.
    """
    found = [block for block in blocks(page.read_text()) if not block.not_run]
    return [block for block in found if block.language == "python" or is_script(block)]


def is_script(block: Block) -> bool:
    """Whether it is one of commands, and of other lines only where it says that it is one."""
    count = len(block.commands())
    return count > 0 and (block.language == "sh" or count == len(block.lines()))


def test_every_page_with_something_to_run_is_run():
    assert {page.name for page in PAGES if to_run(page)} == SCRIPTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_blocks_of_a_page_run(name, common, tmp_path):
    (page,) = (page for page in PAGES if page.name == name)
    shutil.copytree(common, tmp_path, dirs_exist_ok=True)
    for need in SCRIPTS[name].needs:
        need(tmp_path)
    done = set()  # what a page shows twice is done once
    with contextlib.ExitStack() as staying:
        for block in to_run(page):
            if block.language == "python":
                run_python(block.text, tmp_path)
            for command in block.commands():
                if command not in done:
                    run_command(command, SCRIPTS[name], tmp_path, staying)
                done.add(command)


def run_python(text: str, folder: Path) -> None:
    """Runs a program; or writes it, where its first line is a comment that says as what."""
    for given, short in SHORT_PYTHON.items():
        text = text.replace(given, short)
    module = re.match(r"# (\w+\.py)\b", text)
    program = folder / (module[1] if module else "program.py")
    program.write_text(text)
    if not module:
        done = forks.run(program, cwd=folder)
        assert done.returncode == 0, done.stderr


def run_command(command: str, script: Script, folder: Path, staying: contextlib.ExitStack) -> None:
    for word, meaning in script.means.items():
        command = command.replace(word, meaning)
    _, _, module, *words = shlex.split(command, comments=True)
    words += shlex.split(f"{SHORT.get(module, '')} {script.short.get(module, '')}")
    if module not in STAYING:
        done = forks.run(module, *words, cwd=folder)
        assert done.returncode == 0, (command, done.stderr)
        return
    output = folder / f"output-{module}"
    output.mkdir(exist_ok=True)
    process = forks.Forked(module, words, output, cwd=folder)
    staying.callback(stop, process, command)
    process.wait_for(lambda: STAYING[module] in process.outputs[0].read_text())
    assert STAYING[module] in process.outputs[0].read_text(), process.outputs[1].read_text()


def stop(process: forks.Forked, command: str) -> None:
    process.send(signal.SIGINT)
    status, _, stderr = process.finish()
    assert status in (0, 130), (command, stderr)
