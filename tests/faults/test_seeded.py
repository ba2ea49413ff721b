"""The seeded bugs still fit the product: each edit is found exactly once, and what comes out is Python."""

import shutil
from pathlib import Path

import pytest

from tests.faults.mutants import MutantNotApplied, apply
from tests.faults.seeded import MUTANTS, Edit, Mutant
from tests.support.services import CHECKOUT

LEAST = 5


def _copied(mutant: Mutant, folder: Path) -> Path:
    """The files that a mutant changes, as they are in the checkout."""
    for edit in mutant.edits:
        (folder / edit.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / edit.path, folder / edit.path)
    return folder


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_seeded_bug_fits_the_product(mutant: Mutant, tmp_path: Path) -> None:
    copy = _copied(mutant, tmp_path)
    apply(mutant, copy)
    for edit in mutant.edits:
        changed = (copy / edit.path).read_text()
        compile(changed, edit.path, "exec")
        assert changed != (CHECKOUT / edit.path).read_text()


def test_there_are_enough_of_them_on_both_shapes_and_no_two_are_the_same() -> None:
    assert len(MUTANTS) >= LEAST
    assert {mutant.shape for mutant in MUTANTS} == {"embedded", "cluster"}
    assert len({mutant.name for mutant in MUTANTS}) == len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("old", ["this text is nowhere", "Transaction"])
def test_a_bug_whose_place_is_gone_or_not_unique_is_refused(old: str, tmp_path: Path) -> None:
    mutant = Mutant("no such place", "embedded", (Edit("services/storage/positions.py", old, ""),))
    with pytest.raises(MutantNotApplied):
        apply(mutant, _copied(mutant, tmp_path))
