"""The pictures in ``state_diagrams/`` are what the classes say."""

from pathlib import Path

from bbhost.cli.diagrams import stale_diagrams, write_diagrams
from bbhost.lifecycle.machines import MACHINES

ROOT = Path(__file__).parent.parent


def test_diagrams_are_fresh() -> None:
    """Changing a table without rendering it again fails here."""
    assert stale_diagrams(ROOT / "state_diagrams") == []


def test_stale_diagrams_are_found(tmp_path: Path) -> None:
    """A changed and a missing file are both named."""
    write_diagrams(tmp_path)
    (tmp_path / "environment.md").write_text("old")
    (tmp_path / "environment.dot").unlink()
    assert sorted(stale_diagrams(tmp_path)) == ["environment.dot", "environment.md"]


def test_every_machine_is_drawn() -> None:
    """A machine class that is not in the registry would never be reviewed."""
    import bbhost.lifecycle.base as base

    def leaves(machine: type) -> set[type]:
        below = machine.__subclasses__()
        return {machine} if not below else set().union(*map(leaves, below))

    own = {cls for cls in leaves(base.Machine) if cls.__module__.startswith("bbhost.")}
    assert own <= set(MACHINES.values())
