"""README.md and docs/: what they show can be done, and what they link to is there.

Every command is parsed by its own parser. Those of the tutorials are run one after another on small
data, and so is every block of Python. What cannot run here says why, in a comment before the block.
"""

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import forks
import numpy as np
import pytest
from documented import PAGES, anchors, blocks, commands, links, parsed
from few_shapes import prepare_shapes
from PIL import Image
from places import REPOSITORY
from small_runs import prepare_halves

import gcn_keras

DOCS = REPOSITORY / "docs"
# Beside those pages, what the site holds, too.
LINKING = [
    *PAGES, REPOSITORY / "CHANGELOG.md", REPOSITORY / "CONTRIBUTING.md",
    *(REPOSITORY / "serving").glob("*.md"), *(REPOSITORY / "notebooks").glob("*.md"),
    *(REPOSITORY / "saved_models").glob("*.md"), REPOSITORY / "saved_models/shapes/README.md",
    *(REPOSITORY / "pipelines" / "datasets").glob("*/README.md"),
]  # fmt: skip
BLOCKS = [(page.name, block) for page in PAGES for block in blocks(page.read_text())]
# For the apps on a phone, which docs/phone.md says were compiled nowhere.
OF_PHONES = {"kotlin", "ruby", "swift"}


def name(path):
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_the_options_that_are_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands(page.read_text()):
        for weights in re.findall(r"--weights (\S+\.keras)", command):  # which must be there
            Path(weights).parent.mkdir(parents=True, exist_ok=True)
            Path(weights).touch()
        try:
            parsed(command)
        except SystemExit as end:
            assert end.code == 0 and command.endswith("--help"), command


def test_every_block_is_checked_or_says_why_not():
    targets = re.search(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for page, block in BLOCKS:
        assert block.not_run is None or len(block.not_run.split()) > 1, (page, block)
        assert block.language in {"", "sh", "python", "bibtex", *OF_PHONES}, (page, block)
        for target in re.findall(r"^make (\S+)", block.text, re.MULTILINE):
            assert target in targets[1].split(), (page, target)
        if block.language == "sh" and not block.not_run:
            lines = [line for line in block.lines() if not line.startswith(("make ", "#"))]
            assert len(lines) == len(block.commands()), (page, block)


def test_every_extra_is_described_and_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys()
    for page in PAGES:
        for named in re.findall(r"\.\[([\w,-]+)\]\"", page.read_text()):
            assert set(named.split(",")) <= extras, (page, named)
    table = (DOCS / "getting-started.md").read_text().partition("### Extras")[2].partition("###")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert {extra for row in rows for extra in re.findall("`(.+?)`", row)} == extras - {"bench"}


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_somewhere(page):
    for place, anchor in links(page.read_text()):
        target = page.parent / place if place else page
        assert target.exists(), (place, anchor)
        if anchor:
            assert anchor in anchors(target.read_text()), (place, anchor)


def test_every_page_is_in_the_menu_of_the_site():
    configuration = (DOCS / "conf.py").read_text()
    for page in DOCS.glob("*.md"):
        assert f'"docs/{page.stem}"' in configuration


def test_the_api_reference_has_every_public_name():
    text = (DOCS / "api.md").read_text()
    linked = re.findall(r"^\| \[`([\w.]+)`\]", text, re.MULTILINE)
    unfolded = re.findall(r"<!-- api: ([\w.]+) -->", text)
    assert {f"gcn_keras.{each}" for each in gcn_keras.__all__} <= {*linked}
    same = {"gcn_keras.models.blocks": "gcn_keras.blocks"}  # a module goes by its own name
    assert [same.get(each, each) for each in unfolded] == [
        each
        for each in linked
        if each != "gcn_keras.RECIPES"  # a dictionary has no docstring
    ]


def test_the_front_page_is_short():
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.split()) < 1100


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which the pages' commands find what they speak of."""
    folder = tmp_path_factory.mktemp("workplace")
    prepare_shapes(folder / "data")
    shutil.copytree(REPOSITORY / "saved_models" / "shapes", folder / "saved_models" / "shapes")
    (folder / "runs" / "shapes").mkdir(parents=True)
    boxed = folder / "saved_models" / "shapes"
    shutil.copy(boxed / "shapes.keras", folder / "runs" / "shapes" / "best.keras")
    shutil.copy(boxed / "labels.json", folder / "runs" / "shapes" / "labels.json")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    for path in ("photo.jpg", "photos/one.jpg", "photos/two.png"):
        Image.fromarray(pixels).save(folder / path)
    prepare_halves(folder / "halves")
    (folder / "halves" / "source").rename(folder / "mine")
    (folder / "mine" / "labels").mkdir()
    np.save(folder / "mine" / "labels" / "one.npy", np.zeros((4, 6), np.int64))
    return folder


# What makes an example short.
SHORT = {
    "epochs=5": "epochs=1",
    "steps_per_epoch=500": "steps_per_epoch=1",
    "validation_steps=50": "validation_steps=1",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page, block",
    [
        pytest.param(page, block, id=f"{page}: {block.heading}")
        for page, block in BLOCKS
        if block.language == "python" and not block.not_run
    ],
)
def test_python_runs(page, block, workplace):
    program = block.text
    for given, short in SHORT.items():
        program = program.replace(given, short)
    run_program(program, workplace)


def run_program(text: str, workplace: Path) -> None:
    file = workplace / "program.py"
    file.write_text(text)
    done = forks.run(file, cwd=workplace)
    assert done.returncode == 0, done.stderr


# Page, the first and the last heading of what is run; then what makes each command short.
TOURS = {
    "getting-started.md": (("Train", "Measure and predict"), {}),
    "deployment.md": (("Tutorial: from a model to a server",) * 2, {}),
    "your-own-data.md": (
        ("Your own data",) * 2,
        {
            "gcn_keras.fit": "--weights None --backbone small --crop 64 64 --kernel-size 3",
            "gcn_keras.export": "--size 64 64 --budget 100",
        },
    ),
    "experiments.md": (
        ("Tutorial: Table 1 in a coffee break",) * 2,
        {
            "gcn_keras.ablate": (
                '--rows base gcn3 --seeds 1 --runs runs/trial --evaluation="--limit 4" '
                '--options="--epochs 1 --steps-per-epoch 2 --batch 2 --warmup-steps 0 '
                '--backbone small --crop 64 64"'
            ),
            "gcn_keras.receptive_field": "--patch 41 --stride 40",
        },
    ),
}
SHORTER = {
    "gcn_keras.fit": "--epochs 1 --steps-per-epoch 2 --batch 2 --warmup-steps 0",
    "gcn_keras.evaluate": "--limit 4",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", TOURS)
def test_the_commands_of_a_tutorial_run(page, workplace):
    (first, last), options = TOURS[page]
    found = blocks((DOCS / page).read_text())
    headings = list(dict.fromkeys(block.heading for block in found))
    chosen = headings[headings.index(first) : headings.index(last) + 1]
    run = [block for block in found if block.heading in chosen and not block.not_run]
    assert sum(len(block.commands()) for block in run) >= 3
    for block in run:
        if block.language == "python":
            run_program(block.text, workplace)
        for command in block.commands():
            _, _, module, *words = shlex.split(command, comments=True)
            more = shlex.split(f"{SHORTER.get(module, '')} {options.get(module, '')}")
            done = forks.run(module, *words, *more, cwd=workplace)
            assert done.returncode == 0, (command, done.stderr)
