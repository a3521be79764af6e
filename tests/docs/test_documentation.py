"""README.md and docs/: what they show can be done, and what they link to is there.

Every command is parsed by its own parser; test_documented_runs.py runs them.
"""

import re
import tomllib
from pathlib import Path

import pytest
import small_backbone
from documented import PAGES, anchors, blocks, commands, links, parsed
from places import REPOSITORY

import gcn_keras
from gcn_keras.models.backbones import BACKBONES

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


def test_every_backbone_is_described():
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|", (DOCS / "training.md").read_text(), re.M
    )
    said = {name: has for names, has in rows for name in re.findall(r"`(\w+)`", names)}
    for backbone in BACKBONES.keys() - {small_backbone.NAME}:
        assert (said[backbone] == "yes") == BACKBONES[backbone].has_imagenet_weights, backbone


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
