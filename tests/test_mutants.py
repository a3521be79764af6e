"""The list of mutants fits the code as it is."""

import ast

import mutants
import pytest
from places import REPOSITORY


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.new[:40])
def test_a_mutant_is_one_change_of_sound_code(mutant):
    changed = mutants.mutated(mutant)
    ast.parse(changed)
    assert changed != (REPOSITORY / mutant.file).read_text()
    for test in mutant.tests.split():
        file, *names = test.split("::")
        content = (REPOSITORY / "tests" / file).read_text()
        assert all(f"class {name}" in content or f"def {name}(" in content for name in names)


def test_a_text_that_is_not_there_is_told_of():
    mutant = mutants.MUTANTS[0]._replace(old="no such text")
    with pytest.raises(ValueError, match=" holds 'no such text' 0 times, not once$"):
        mutants.mutated(mutant)
