import pytest
from miniatures import prepare_in_files, write_pairs


@pytest.fixture(scope="session")
def twelve(tmp_path_factory):
    """Twelve examples in four files, each labelled with its own number."""
    folder = tmp_path_factory.mktemp("twelve")
    write_pairs(folder / "source" / "train", "abcdefghijkl", range(12))
    write_pairs(folder / "source" / "val", "mnop", range(4))
    (folder / "source" / "classes.txt").write_text("\n".join(f"c{i}" for i in range(12)))
    return prepare_in_files(folder / "source", folder / "data", 4)
