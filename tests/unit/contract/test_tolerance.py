"""What each message tolerates, exhaustively: every small mutation of every sample.

``wire_tolerances.txt`` is the expectation, checked against the contract by hand. A line says that a
mutation passes (``any`` JSON there, an ``optional`` key, a ``nullable`` one) or, for objects, that
an unknown key does not (``strict``). Whatever is not in the file is the other way round.
"""

from pathlib import Path

import pytest

from bbhost.contract.codec import structure
from bbhost.errors import WireError
from tests.unit.contract.mutations import Mutation, mutations
from tests.unit.contract.samples import Sample, all_samples

EXPECTED = Path(__file__).parents[2] / "data" / "wire_tolerances.txt"

OPAQUE = (
    "outputSchema",
    "inputSchema",
    "details",
    "truncation",
    "arguments",
    "params",
    "metadata",
    "commands[]",
    "result",
    "value",
)
"""Keys whose value is JSON that the contract does not look into."""


def is_inside_opaque(path: str) -> bool:
    return any(f"{key}{mark}" in path for key in OPAQUE for mark in (".", "<object>.", "["))


def passes(sample: Sample, mutation: Mutation) -> bool:
    try:
        structure(sample.type, mutation.data)
    except WireError:
        return False
    return True


def tolerances() -> set[str]:
    found = set()
    words = {"type": "any", "drop": "optional", "null": "nullable", "extra": "strict"}
    for sample in all_samples():
        for mutation in mutations(sample.data):
            opaque_object = mutation.what == "extra" and mutation.path.endswith(OPAQUE)
            if is_inside_opaque(mutation.path) or opaque_object:
                continue
            if passes(sample, mutation) != (mutation.what == "extra"):
                found.add(f"{words[mutation.what]:9}{sample.label} | {mutation.path}".rstrip())
    return found


@pytest.mark.slow
def test_messages_tolerate_exactly_what_the_contract_says():
    """Neither more (the other side would refuse it) nor less (we would refuse the other side)."""
    expected = set(EXPECTED.read_text(encoding="utf-8").splitlines())
    found = tolerances()
    assert sorted(found - expected) == []
    assert sorted(expected - found) == []
