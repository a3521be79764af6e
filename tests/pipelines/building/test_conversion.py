"""Image files of every kind become bytes that the stream decodes, or a sentence."""

import pytest
from miniatures import damaged_tiffs, noise, tiff

from pipelines.base.errors import UserError
from pipelines.building.conversion import recorded_image

DAMAGED = "i.tif cannot be decoded: it is truncated or damaged"


def refusal(data: bytes, name: str = "i.tif") -> str:
    with pytest.raises(UserError) as caught:
        recorded_image(name, data)
    return str(caught.value)


def test_a_tiff_file_whose_next_page_lies_beyond_its_end():
    whole = tiff(noise(4, 6))
    assert recorded_image("i.tif", whole)[1] == (4, 6)
    next_page = whole.rindex(bytes(4), 0, len(whole) - 6)  # before the three depths at its end
    assert refusal(whole[:next_page] + b"\0\0\1\0" + whole[next_page + 4 :]) == DAMAGED


def test_damage_in_a_tiff_files_directory_is_refused_in_a_sentence():
    refused = 0
    for data in damaged_tiffs(tiff(noise(4, 6))):
        try:
            recorded_image("i.tif", data)
        except UserError:
            refused += 1
    assert refused > 100


def test_more_memory_than_there_is(monkeypatch):
    def refuse(image):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert refusal(tiff(noise(4, 6))) == (
        "i.tif needs more memory than there is: it is damaged, or to be scaled down"
    )
