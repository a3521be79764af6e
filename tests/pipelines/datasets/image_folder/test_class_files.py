"""classes.txt with and without colours."""

import numpy as np
import pytest

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.datasets.image_folder.class_files import find_classes, read_classes
from pipelines.datasets.image_folder.classes import Classes, plain

ORDER = (
    "bring the lines into the order of their labels, or leave the numbers out, and give "
    "first_label or map if masks hold them"
)
NO_CONTROL = "with a control character: leave that out, or save the file in UTF-8"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "classes.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize(
    ("line", "name", "colours"),
    [
        ("road", "road", ()),
        ("road 128 64 128", "road", (0x804080,)),
        ("road #804080", "road", (0x804080,)),
        ("road: #804080", "road", (0x804080,)),
        ("road,128,64,128", "road", (0x804080,)),
        ("road\t128, 64, 128", "road", (0x804080,)),
        ("road #804080 #804081 1 2 3", "road", (0x804080, 0x804081, 0x010203)),
        ("traffic light 250 170 30", "traffic light", (0xFAAA1E,)),
        ("lane 1", "lane 1", ()),
        ("lane 1 2", "lane 1 2", ()),
        ("lane 7 #804080", "lane 7", (0x804080,)),
        ("road;128;64;128", "road", (0x804080,)),
        ("road\t128\t64\t128", "road", (0x804080,)),
        ("shape 128 0 0 0 128 0", "shape", (0x800000, 0x008000)),
        ("road (128,64,128)", "road", (0x804080,)),
        ("road(128, 64, 128)", "road", (0x804080,)),
        ("road: [ 128 64 128 ]", "road", (0x804080,)),
        ("road rgb(128,64,128)", "road", (0x804080,)),
        ("road RGB (128,64,128)", "road", (0x804080,)),
        ("road=128,64,128", "road", (0x804080,)),
        ("road = #804080", "road", (0x804080,)),
        ("road (1,2,3) (4,5,6)", "road", (0x010203, 0x040506)),
        ("lane (2)", "lane (2)", ()),
        ("a = b", "a = b", ()),
        ("bus 0x1", "bus 0x1", ()),
        ("bus #1", "bus #1", ()),
        # Spaces and brackets that can be shared out in many ways.
        (f"a{' ' * 3000}b", f"a{' ' * 3000}b", ()),
        (f"a{' [1,2,3] ' * 300}x", f"a{' [1,2,3] ' * 300}x", ()),
        ("Straße #000000", "Straße", (0,)),
    ],
)
def test_lines(written, line, name, colours):
    other = "other 9 9 9" if colours else "other"
    classes = read_classes(written(f"{line}\n{other}\n"))
    assert (classes.names[0], classes.colours[0]) == (name, colours)
    assert classes.coloured is bool(colours)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffroad\r\nlane 2\r\n\r\n",
        "# mine\n\nroad\n# not this\nlane 2\n",
        "0: road\n1: lane 2\n",
        "0 road\n1 lane 2\n",
        "0\troad\n1\tlane 2\n",
        "0,road\n1,lane 2\n",
        "0; road\n1; lane 2\n",
    ],
)
def test_forms_of_the_file(written, text):
    assert read_classes(written(text)) == plain(("road", "lane 2"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nno:0,0,0::\nmy road:128,64,128:a,b:\n"),
        ("labelmap.txt", "no:0,0,0\nmy road:128,64,128\n"),
        ("class_dict.csv", "name,r,g,b\nno,0,0,0\nmy road, 128, 64, 128\n"),
        ("class_dict.csv", "no,0,0,0\n\nmy road,128,64,128\n"),
        ("class_dict.csv", "r,g,b,name\n0,0,0,no\n128,64,128,my road\n"),
        ("class_dict.csv", "Class_Name;Red;Green;Blue\nno;0;0;0\nmy road;128;64;128\n"),
        ("class_dict.csv", ",name,b,g,r\n0,no,0,0,0\n1,my road,128,64,128\n"),
        ("class_dict.csv", "no;0;0;0\nmy road;128;64;128\n"),
        ("Classes.TXT", "no 0 0 0\nmy road #804080\n"),
    ],
)
def test_files_of_other_programs(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = find_classes(tmp_path)
    assert found == tmp_path / name
    assert read_classes(found) == Classes(("no", "my road"), ((0,), (0x804080,)))


def test_numbers_at_the_end_of_names(written):
    """Labels or parts of names, they are in order; otherwise labels have to be given, too."""
    assert read_classes(written("lane 0\nlane 1\n")) == plain(("lane 0", "lane 1"))
    assert read_classes(written("lane 2\nlane 1\n")) == plain(("lane 2", "lane 1"))
    assert read_classes(written("0: lane 1\n1: lane 0\n")) == plain(("lane 1", "lane 0"))


def test_labels_before_and_colours_behind_names(written):
    expected = Classes(("no", "my road"), ((0,), (0x804080,)))
    for line in ("{} {} {},{},{}", "{},{},{},{},{}", "{}: {} ({}, {}, {})", "{}={}={} {} {}"):
        lines = [line.format(0, "no", 0, 0, 0), line.format(1, "my road", 128, 64, 128)]
        assert read_classes(written("\n".join(lines))) == expected


def test_labels_and_names_in_labelmap_txt(tmp_path):
    path = tmp_path / "labelmap.txt"
    path.write_text("# mine\n0:no\n1: my road\n")
    assert read_classes(path) == plain(("no", "my road"))
    path.write_text("0,no\n1,my road\n")
    assert read_classes(path) == plain(("no", "my road"))
    path.write_text("0:0,0,0::\n1:128,64,128::\n")  # CVAT's, and classes called so
    assert read_classes(path) == Classes(("0", "1"), ((0,), (0x804080,)))
    path.write_text("1:no\n2:my road\n")
    with pytest.raises(
        UserError, match=r"labelmap.txt line 1 is '1:no', and by its place it has label 0: "
    ):
        read_classes(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "labelmap.txt",
            "no:0,0,0::\n0:road\n",
            "line 2 is '0:road', and name:r,g,b:parts:actions is expected: write it so, or name "
            "the classes in classes.txt",
        ),
        (
            "class_dict.csv",
            "128,64,128,road\n0,0,0,no\n",
            "line 1 is '128,64,128,road', and name, r, g, b are expected: write it so, or name the "
            "classes in classes.txt",
        ),
        (
            "class_dict.csv",
            "id,class,r,g,b\n0,no,0,0,0\n",
            "has the columns id, class, r, g, b, and name, r, g, b are expected: call them so, or "
            "name the classes in classes.txt",
        ),
        (
            "class_dict.csv",
            "road\ncar\n",
            "has the columns road, and name, r, g, b are expected: call them so, or name the "
            "classes in classes.txt",
        ),
        (
            "class_dict.csv",
            "id,name,r,g,b\n2,square,0,128,0\n0,no,0,0,0\n1,disc,128,0,0\n",
            f"line 2 is '2,square,0,128,0', and by its place it has label 0: {ORDER}",
        ),
        ("class_dict.csv", "", "is empty: it names the classes, one a line, label 0 first"),
    ],
)
def test_files_of_other_programs_that_would_be_misread(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value) == f"{path} {message}"


@pytest.mark.parametrize("name", ["class_dict.csv", "_classes.csv"])
def test_a_long_file_with_a_quotation_mark_that_nothing_closes(tmp_path, name):
    path = tmp_path / name
    path.write_text('"road' + 20_000 * "\n0,0,0,1")
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value) == (
        f"{path} cannot be read as CSV (field larger than field limit (131072)): save it anew"
    )


def test_the_file_of_roboflow_lies_in_each_split(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        path = tmp_path / split / "_classes.csv"
        path.write_text("Pixel Value, Class\n0, background\n1, my road\n")
    found = find_classes(tmp_path)
    assert found == tmp_path / "train" / "_classes.csv"
    assert read_classes(found) == plain(("background", "my road"))
    path.write_text("Pixel Value, Class\n0, background\n1, car\n")
    with pytest.raises(UserError, match="_classes.csv name other classes: make them the same$"):
        find_classes(tmp_path)
    path.write_text("Pixel Value, Class\n0, background\n5, car\n")
    with pytest.raises(UserError, match="has the values 0, 5, and 0, 1, 2, … are expected: name "):
        read_classes(path)


def test_classes_txt_comes_before_the_others(tmp_path):
    assert find_classes(tmp_path) is None
    for name in ("class_dict.csv", "labelmap.txt", "classes.txt"):
        (tmp_path / name).touch()
        assert find_classes(tmp_path) == tmp_path / name


def test_palette_is_the_first_colours(written):
    classes = read_classes(written("a #010203 #040506\nb 255 0 0\n"))
    assert classes.palette()[:2].tolist() == [[1, 2, 3], [255, 0, 0]]
    assert (classes.palette()[255] == labels.voc_colour_map()[255]).all()


def test_default_colours_are_far_from_black_and_from_each_other():
    colours = plain(("a", "b")).palette()
    assert len(np.unique(colours, axis=0)) == 256
    assert colours[:3].tolist() == [[128, 128, 128], [0, 0, 255], [0, 255, 0]]
    # In CIELAB, where a distance of 2 is hardly seen.
    places = labels._cielab(np.vstack([[0, 0, 0], colours]).astype(float))
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 999 * np.eye(257)
    assert distances[:21, :21].min() > 35
    assert distances.min() > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{} is empty: it names the classes, one a line, label 0 first"),
        ("a\n\nb\n", "{} line 2 is blank, a line between two names: delete it"),
        ("# a\n", "{} is empty: it names the classes, one a line, label 0 first"),
        ("1: a\n2: b\n", f"{{}} line 1 is '1: a', and by its place it has label 0: {ORDER}"),
        (
            "0: a\n1: b\n255: void\n",
            f"{{}} line 3 is '255: void', and by its place it has label 2: {ORDER}",
        ),
        *(
            (
                text.format("square", 2, "background", 0, "disc", 1),
                f"{{}} line 1 is {line!r}, and by its place it has label 0: {ORDER}",
            )
            for text, line in (
                ("{}: {}\n{}: {}\n{}: {}", "square: 2"),
                ("{} = {}\n{} = {}\n{} = {}", "square = 2"),
                ("{} {}\n{} {}\n{} {}", "square 2"),
            )
        ),
        ("0 0 0 a\n128 0 0 b", "{} line 1 has a colour before the name, '0 0 0 a': put it behind"),
        (
            "a 1 2 3\n(4, 5, 6) b",
            "{} line 2 has a colour before the name, '(4, 5, 6) b': put it behind",
        ),
        ("a\x00\nb", f"{{}} has the class 'a\\x00', {NO_CONTROL}"),
        ("a\x1bb\nb", f"{{}} has the class 'a\\x1bb', {NO_CONTROL}"),
        ("a\nb".encode("utf-16-le"), f"{{}} has the class 'a\\x00', {NO_CONTROL}"),
        ("a\nb\na\n", "{} has the class 'a' 2 times"),
        ("a, b\n", "{} has the one class 'a, b': name the background, too, one class a line"),
        (b"\xff\n", "{} is not UTF-8 text: save it in UTF-8 (invalid start byte)"),
        ("\n".join(map(str, range(256))), "{} has 256 classes; 8-bit masks can hold 255"),
        ("a 1 2 300\nb 1 2 3\n", "{} line 1 has a colour beyond 255: 'a 1 2 300'"),
        *(
            (
                f"b #000000\n{line}\n",
                f"{{}} line 2 is {line!r}, and a colour is three numbers or #rrggbb, as in "
                '"road 128 64 128" or "road #804080": write it so',
            )
            for line in (
                "a 0 0 0 255",
                "a,1,2,3,4,5",
                "a #fff",
                "a #ffffffff",
                "a 7 1 2 3 #ffffff",
                "a (1,2,3,4)",
                "a=1,2,3,4",
                "a rgba(1,2,3,4)",
                "a 0x804080",
                '"a": [1, 2, 3],',
                "'a': '#804080',",
                "a <1;2;3>",
                "a 1 2 3 # red",
                "a 0.5 0 0",
            )
        ),
        *(
            (
                f"{line}\n0{line[2]}a\n1{line[2]}b\n",
                f"{{}} line 1 is {line!r}, and all others begin with their labels: delete it, or "
                "number it, too",
            )
            for line in ("id,name", "id\tname")
        ),
        (
            "0,0,0\n128,0,0\n",
            "{} line 1 has a colour and no name, '0,0,0': put the class's name before it",
        ),
        (
            "0 0 0 0\n1 128 64 128\n",
            "{} line 1 has a colour and no name, '0 0 0': put the class's name before it",
        ),
        (
            "a 1 2 3\nb\nc\n",
            "{} gives colours to some classes but none to 'b', 'c': give each class its colour, "
            "or none",
        ),
        ("a 1 2 3\nb #010203\n", "{} gives the colour #010203 to 'a' and to 'b'"),
    ],
)
def test_refused(written, text, message):
    path = written(text)
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value) == message.format(path)


def test_what_editors_add(written):
    assert read_classes(written("\ufeffsky\n car \n\n")).names == ("sky", "car")


def test_missing(tmp_path):
    with pytest.raises(UserError, match=f"there is no {tmp_path}/classes.txt: it names"):
        read_classes(tmp_path / "classes.txt")


@pytest.mark.parametrize("sign", [",", ";", ", ", ":", "="])
def test_numbers_behind_names_are_labels(tmp_path, sign):
    """As an export's table has them; sorted otherwise they would shift all classes."""
    path = tmp_path / "classes.txt"
    path.write_text(f"square{sign}2\ndisc{sign}1\nbackground{sign}0\n")
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value).startswith(
        f"{path} line 1 is 'square{sign}2', and by its place it has label 0: "
    )


@pytest.mark.parametrize("sign", [",", "; ", ":", " = "])
def test_labels_behind_names_are_no_parts_of_them(tmp_path, sign):
    path = tmp_path / "classes.txt"
    path.write_text(f"background{sign}0\nside walk{sign}1\n")
    assert read_classes(path).names == ("background", "side walk")


@pytest.mark.parametrize("heading", ["name", "class_name", "Classes", "label"])
def test_a_heading_is_no_class(tmp_path, heading):
    path = tmp_path / "classes.txt"
    path.write_text(f"{heading}\nbackground\ndisc\n")
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value) == (
        f"{path} line 1 is {heading!r}, a heading, and would be class 0: delete it, or, if it is a "
        "class, name it otherwise"
    )
