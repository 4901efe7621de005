"""The simulation is able to find faults: the quick ones of ``mutations``."""

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, find

QUICK = (
    "skip the journal write",
    "do not cancel the ready nursery",
    "run calls outside of the stay",
    "tombstone before teardown",
    "tear down twice at once",
    "look at the disk before refusing",
    "forget the incarnation number",
    "make before it is journalled",
    "remove an unmanaged checkout",
    "answer destroy before it is done",
)
SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation", [m for m in MUTATIONS if m.name in QUICK], ids=lambda m: m.name
)
def test_a_planted_fault_is_found(mutation: Mutation) -> None:
    """Within seconds, and by a law that is broken only because of it."""
    finding = find(mutation, SECONDS)
    assert finding.broken is not None


def test_every_quick_fault_is_one_of_the_table() -> None:
    """A name that is changed there must not fall out here."""
    assert set(QUICK) <= {mutation.name for mutation in MUTATIONS}
