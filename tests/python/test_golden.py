"""Every acceptance case of tests/golden holds, or is named as coming later."""

from __future__ import annotations

# Imported for the checkers that they register.
import golden_losses  # noqa: F401
import golden_properties  # noqa: F401
import golden_samplers  # noqa: F401
import pytest
from golden import CASES, CHECKERS, LATER

OPERATIONS_DUE = {
    "sampled_softmax_loss",
    "sampled_logits",
    "candidate_sampler",
    "accidental_hits",
    "error",
    "property",
}


@pytest.mark.parametrize("case_id", CHECKERS)
def test_case_holds(case_id: str) -> None:
    CHECKERS[case_id](CASES[case_id])


def test_every_case_is_checked_or_comes_later() -> None:
    assert CHECKERS.keys() | LATER.keys() == CASES.keys()
    assert not CHECKERS.keys() & LATER.keys()
    assert len(CASES) == 71


def test_no_case_of_an_operation_that_is_due_comes_later() -> None:
    """But for LQ-90, another loss under the same name."""
    assert {case_id for case_id in LATER if CASES[case_id]["op"] in OPERATIONS_DUE} == {"LQ-90"}
