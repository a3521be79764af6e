"""Label maps in a server's answer."""

import contextlib

import numpy as np
from miniatures import encoded, noise

from gcn_keras.inference.encoded_images import InvalidAnswerError, decode_labels


def test_no_flipped_bit_changes_a_label_map():
    """Of a small one, Pillow decodes one in twenty to something else, without a word."""
    sound = noise(6, 8)[..., 0] % 3
    answer = encoded(sound, "PNG")
    assert np.array_equal(decode_labels(answer, 6, 8), sound)
    for bit in range(8 * len(answer)):
        changed = bytearray(answer)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(InvalidAnswerError):
            assert np.array_equal(decode_labels(bytes(changed), 6, 8), sound), bit
