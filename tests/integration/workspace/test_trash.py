"""The trash takes things in one rename and gets rid of anything."""

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from bbhost.workspace import trash as trash_module
from bbhost.workspace.trash import Trash, TrashNote
from bbhost.workspace.trash_emptier import TrashEmptier, delete_tree, empty_trash
from bbhost.workspace.tree_deletion import MAX_DEPTH, delete_slice

NOW = 1_800_000_000_000


def note(path: Path, **changes: object) -> TrashNote:
    values: dict[str, object] = {
        "environment_id": "env/1", "incarnation": 2, "path": str(path), "trashed_at_ms": NOW
    }  # fmt: skip
    return TrashNote(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path / "data")


def make_tree(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "sub/f").write_text("x")
    (path / "link").symlink_to("/etc")
    return path


async def test_what_is_put_in_can_be_found_and_is_deleted(trash: Trash, tmp_path: Path) -> None:
    path = make_tree(tmp_path / "w")
    entry = trash.put(path, note(path, registration="/r"))
    assert entry is not None
    assert not path.exists()
    assert (entry.files / "sub/f").read_text() == "x"
    assert entry.directory.stat().st_mode & 0o077 == 0
    assert trash.find(entry.note.environment_id, path) == [entry]
    assert trash.entries() == [entry]
    report = await empty_trash(trash, NOW)
    assert (report.deleted, report.kept, report.failed) == (1, 0, ())
    assert trash.entries() == []


def test_nothing_there_is_no_entry(trash: Trash, tmp_path: Path) -> None:
    assert trash.put(tmp_path / "none", note(tmp_path / "none")) is None
    assert trash.entries() == []


async def test_retention(trash: Trash, tmp_path: Path) -> None:
    path = make_tree(tmp_path / "w")
    trash.put(path, note(path, keep_until_ms=NOW + 1000, reason="too large"))
    assert (await empty_trash(trash, NOW)).kept == 1
    assert (await empty_trash(trash, NOW + 1000)).deleted == 1


async def test_a_damaged_note_does_not_keep_the_files(trash: Trash, tmp_path: Path) -> None:
    path = make_tree(tmp_path / "w")
    entry = trash.put(path, note(path))
    assert entry is not None
    (entry.directory / "note.json").write_text('{"keep_until_ms": "for ever"}')
    assert (await empty_trash(trash, NOW)).deleted == 1


def test_a_note_that_keeps_files_is_on_the_disk_before_they_move(
    trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure an empty note would have the emptier delete what must be kept."""
    synced: set[str] = set()
    synced_by_then: list[frozenset[str]] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        real(descriptor)
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    def look(name: str) -> None:
        if name == "trash.note_written":
            synced_by_then.append(frozenset(synced))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(trash_module, "fault_point", look)
    path = make_tree(tmp_path / "w")
    entry = trash.put(path, note(path, keep_until_ms=NOW + 1000, reason="too large"))
    assert entry is not None
    assert synced_by_then == [frozenset({"note.json", entry.directory.name})]


async def test_another_file_system_has_a_trash_of_its_own(
    trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename cannot leave a file system; the managed root is its own then."""
    path = make_tree(trash.data_dir / "worktrees/env/w")
    real = trash_module._rename

    def rename(source: Path, target: Path) -> None:
        if target.is_relative_to(trash.data_dir / "trash"):
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(trash_module, "_rename", rename)
    entry = trash.put(path, note(path))
    assert entry is not None
    assert entry.directory.parent == trash.data_dir / "worktrees/.trash"
    assert list((trash.data_dir / "trash").iterdir()) == []
    assert (await empty_trash(trash, NOW)).deleted == 1


async def test_read_only_directories_and_deep_ones(tmp_path: Path) -> None:
    """Module caches are read-only on purpose; some tools nest without end."""
    top = make_tree(tmp_path / "w")
    place = top
    for _ in range(MAX_DEPTH * 3):
        place /= "d"
        place.mkdir()
    (place / "f").write_text("x")
    (top / "sub").chmod(0o500)
    (top / "d/d").chmod(0o000)
    await delete_tree(top)
    assert not top.exists()
    assert Path("/etc").exists()


def test_deleting_takes_slices(tmp_path: Path) -> None:
    """So that it can be cancelled, and starts again where it was."""
    top = tmp_path / "w"
    top.mkdir()
    for number in range(200):
        (top / str(number)).write_text("x")
    assert not delete_slice(top, seconds=0)
    rounds = 0
    while not delete_slice(top, seconds=0.0005):
        rounds += 1
        assert rounds < 1000
    assert not top.exists()
    assert delete_slice(top)


def test_a_file_system_mounted_within_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make_tree(tmp_path / "w")
    inner = os.lstat(top / "sub").st_ino
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino != inner:
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:10]))

    monkeypatch.setattr("bbhost.workspace.tree_deletion.os.fstat", fstat)
    with pytest.raises(OSError, match="mounted"):
        delete_slice(top)
    monkeypatch.undo()
    assert (top / "sub/f").exists()
    assert not (top / "link").is_symlink(), "the rest goes"


async def test_what_cannot_be_deleted_is_told_and_left(
    trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        trash.put(make_tree(tmp_path / name), note(tmp_path / name))
    real = os.unlink

    def unlink(path: str, **options: int) -> None:
        if path == "f":
            raise OSError(1, "immutable")
        real(path, **options)

    monkeypatch.setattr("bbhost.workspace.tree_deletion.os.unlink", unlink)
    report = await empty_trash(trash, NOW)
    assert len(report.failed) == 2
    monkeypatch.undo()
    assert (await empty_trash(trash, NOW)).deleted == 2


async def test_the_emptier_empties_when_woken_and_says_so(
    trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbhost.workspace.trash_emptier.QUIET_SECONDS", 0.02)
    emptied = trio.Event()
    told = []

    def tell() -> None:
        told.append(len(trash.entries()))
        emptied.set()

    emptier = TrashEmptier(trash, tell)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(emptier.run)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert told == [], "there was nothing to empty"
            trash.put(make_tree(tmp_path / "w"), note(tmp_path / "w"))
            emptier.wake()
            await emptied.wait()
            nursery.cancel_scope.cancel()
    assert told == [0]


async def test_an_entry_that_is_being_made_is_not_taken_for_a_leftover(
    trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(name: str) -> None:
        if name == "trash.note_written":
            seen.append(trash.entries())

    monkeypatch.setattr(trash_module, "fault_point", look)
    trash.put(make_tree(tmp_path / "w"), note(tmp_path / "w"))
    assert seen == [[]]
