"""Examines a prepared data set: `python -m pipelines.doctor NAME --data-dir DIR`."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import tyro

from pipelines import datasets
from pipelines.base.errors import UsageError, printable, run_command
from pipelines.base.files import check_target, make_folder, replacing
from pipelines.datasets import classification
from pipelines.examination.findings import COUNTS, RECORDS
from pipelines.examination.report import MARKS, html_report, text_report


def doctor(
    name: tyro.conf.Positional[str],
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: Annotated[str | None, tyro.conf.arg(metavar="SPLIT")] = None,
    page: Annotated[Path | None, tyro.conf.arg(name="html", metavar="FILE")] = None,
    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    show: int = 10,
) -> int:
    """Read every record of a prepared data set and tell what is in it and what is wrong with it.

    Checks checksums, images, labels, sizes, label values, and whether images of val or test are
    also in a training split. Exit status 1 where something is wrong, 0 otherwise.

    Args:
        name: The data set.
        data_dir: Folder of prepared data sets.
        split: The one split to examine; leaks are found only where all are examined.
        page: Page of HTML to write the report to as well, one file.
        sheet: PNG of the contact sheet; by default doctor.png in the folder of the records, or
            NAME-doctor.png in the data directory for a set that mixes others, if that can be
            written.
        show: Number of findings of a kind that are listed; all are counted.
    """
    if show < 1:
        raise UsageError(f"--show must be at least 1, got {show}")
    if name == classification.IMAGENET:
        raise UsageError(f"{name!r} has no label maps, which are what this command examines")
    datasets.check_prepared(name, data_dir)
    beside = _beside_the_records(name, data_dir)
    if page is not None and page.resolve() == (sheet or beside).resolve():
        raise UsageError(f"--html and --sheet are both {page}: give two files")
    for option, file in (("--sheet", sheet), ("--html", page)):
        check_target(file, option, made=file and file.parent)
        content = file.read_bytes() if file and file.is_file() else b""
        if content and MARKS[option] not in content:
            raise UsageError(
                f"{option} {file} would be written over, and is of another origin: name another "
                "file"
            )
    from pipelines.examination.contact_sheet import contact_sheet
    from pipelines.examination.examine import examine

    result = examine(datasets.load(name, data_dir), split)
    print(printable(text_report(result, show)))
    png = contact_sheet(result.samples, result.class_names, result.palette, name)
    if sheet is None and os.access(beside.parent, os.W_OK):
        sheet = beside
    if sheet is None:
        print(f"contact sheet: none, as {beside.parent} cannot be written; --sheet FILE makes one")
    else:
        _write(sheet, png)
        print(f"contact sheet: {sheet}")
    if page is not None:
        _write(page, html_report(result, png, show).encode())
        print(f"page: {page}")
    # Damage after preparation, which only preparing anew can mend.
    if any(finding.kind in (RECORDS, COUNTS) for finding in result.findings):
        print(_advice(name, data_dir))
    return 1 if result.findings else 0


def _beside_the_records(name: str, data_dir: Path) -> Path:
    """The contact sheet's place where none is given.

    What lies beside records is no image of a folder that the data directory is a part of.
    """
    base, _ = datasets.parse_name(name)
    if base in datasets.MIXTURES:
        return data_dir / f"{name.replace('/', '-')}-doctor.png"
    return datasets.prepared_folder(name, data_dir) / "doctor.png"


def _advice(name: str, data_dir: Path) -> str:
    base, _ = datasets.parse_name(name)
    if base in datasets.MIXTURES:
        return "The records are damaged: examine each of the sets that are mixed"
    folder = shlex.quote(str(datasets.prepared_folder(name, data_dir)))
    return f"The records are damaged: delete {folder} and prepare the data set anew"


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def main() -> int:
    """Entry point of the command."""
    return tyro.cli(doctor, prog="python -m pipelines.doctor")


if __name__ == "__main__":
    run_command(main)
