"""The options of `evaluate`, in the words of the library and of the command."""

import pytest

from gcn_keras.evaluation.options import DEFAULT, EvaluationOptions, parse_options
from gcn_keras.inference.options import InferenceOptions
from pipelines.base.errors import UsageError, as_options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--limit 0", "--limit must be at least 1, got 0"),
        ("--boundaries --boundary-width 0", "--boundary-width must be at least 1 pixel, got 0"),
        (
            "--boundaries --contour-share 0.0",
            "--contour-share must be above 0 and at most 1, got 0.0",
        ),
        (
            "--boundaries --contour-share 2.0",
            "--contour-share must be above 0 and at most 1, got 2.0",
        ),
        ("--trimap 3 0", "--trimap widths must be at least 1 pixel, got 0"),
        (
            "--boundary-width 5 --trimap 3",
            "--boundary-width is about --boundaries, which is missing",
        ),
        ("--contour-share 0.01", "--contour-share is about --boundaries, which is missing"),
        (
            "--submission a.tgz --limit 5",
            "--submission needs every image of the split: omit --limit 5",
        ),
        ("--overlap 2", "--overlap needs --tile H W, got --overlap 2 alone"),
    ],
)
def test_invalid_values(words, message):
    options = parse_options(words.split())
    with pytest.raises(UsageError) as error, as_options():
        options.check_for("model.keras")
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:
        options.check_for("model.keras")
    plain = message.replace("--", "")
    assert str(error.value) == plain.replace("boundary-w", "boundary_w").replace("r-s", "r_s")


def test_an_answer_in_words():
    """Of the options themselves, and of those of inference."""
    for options in (
        EvaluationOptions(boundaries="no"),
        EvaluationOptions(inference=InferenceOptions(dense_crf="no")),
    ):
        with pytest.raises(ValueError, match="must be True or False, got 'no'$"):
            options.check_for("model.keras")


def test_a_command_line():
    assert parse_options([]) == DEFAULT
    words = "--split val --limit 5 --boundaries --trimap 3 1 --scales 0.5 1 --flip"
    assert parse_options(words.split()) == EvaluationOptions(
        split="val",
        limit=5,
        boundaries=True,
        trimap=(3, 1),
        inference=InferenceOptions(scales=(0.5, 1.0), flip=True),
    )


def test_an_unknown_option(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(["--nonsense", "1"])
    assert caught.value.code == 2
    assert "--nonsense" in capsys.readouterr().err
