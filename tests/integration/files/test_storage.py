"""Thread storage, attachments and app data."""

import hashlib
import stat
from pathlib import Path

import pytest

from bbhost.domain.ids import ThreadId
from bbhost.errors import BbhostError, InvalidPathError
from bbhost.workspace.files import app_data
from bbhost.workspace.files.app_data import (
    AppDataError,
    AppDataLocation,
    is_in_app_data,
    parse_location,
    read_app_data,
)
from bbhost.workspace.files.storage import ThreadStorage, attachment_name, sanitise_name
from tests.integration.files.conftest import World, names_in

THREAD = ThreadId("thr_1")


def test_storage_is_made_and_deleted(storage: ThreadStorage) -> None:
    path = storage.create(THREAD)
    assert path == storage.path_of(THREAD)
    assert path.is_dir()
    assert storage.create(THREAD, str(path)) == path
    (path / "deep/er").mkdir(parents=True)
    (path / "deep/er/file").write_text("x")
    assert storage.delete(THREAD)
    assert not path.exists()
    assert not storage.delete(THREAD)


def test_deleting_without_any_storage_is_no_fault(storage: ThreadStorage) -> None:
    assert not storage.delete(THREAD)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "x\0"])
def test_an_id_that_is_no_plain_name_is_refused(storage: ThreadStorage, name: str) -> None:
    storage.create(THREAD)
    for attempt in (storage.path_of, storage.create, storage.delete):
        with pytest.raises(InvalidPathError):
            attempt(ThreadId(name))
    assert storage.root.is_dir()


def test_the_path_the_server_names_must_be_in_the_storage(
    storage: ThreadStorage, world: World
) -> None:
    for path in (
        str(storage.root),
        f"{storage.root}/../x",
        f"{storage.root}-evil/x",
        str(world.outside),
        "relative",
    ):
        with pytest.raises(InvalidPathError):
            storage.create(THREAD, path)


def test_a_link_in_the_storage_is_not_followed(storage: ThreadStorage, world: World) -> None:
    storage.root.mkdir(parents=True)
    storage.path_of(THREAD).symlink_to(world.outside)
    with pytest.raises(InvalidPathError):
        storage.create(THREAD)
    with pytest.raises(InvalidPathError):
        storage.store_attachment(THREAD, "creq_1", 0, "x", b"")
    assert storage.delete(THREAD)  # the link goes, what it leads to stays
    assert names_in(world.outside) == ["secret"]


def test_the_thread_of_a_path_is_known(storage: ThreadStorage) -> None:
    assert storage.thread_of(f"{storage.root}/thr_1/apps/x") == THREAD
    assert storage.thread_of(str(storage.root)) is None
    assert storage.thread_of("/elsewhere/thr_1") is None
    assert storage.thread_of("relative") is None


# --- attachments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("my file (1).txt", "my-file-1-.txt"),
        ("../../etc/passwd", "passwd"),
        ("", "attachment"),
        ("ünï.png", "-n-.png"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
        ("x" * 300, "x" * 120),
    ],
)
def test_attachment_names_are_sanitised(name: str, safe: str) -> None:
    assert sanitise_name(name) == safe
    assert attachment_name(7, name) == f"007-{safe}"


def test_attachments_are_stored_privately_and_deleted(storage: ThreadStorage) -> None:
    path = storage.store_attachment(THREAD, "creq_1", 2, "a b.txt", b"data")
    assert path == storage.path_of(THREAD) / "runtime-attachments" / "creq_1" / "002-a-b.txt"
    assert path.read_bytes() == b"data"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert storage.delete_attachments(THREAD, "creq_1")
    assert not storage.delete_attachments(THREAD, "creq_1")
    assert not path.parent.exists()
    with pytest.raises(InvalidPathError):
        storage.store_attachment(THREAD, "../x", 0, "a", b"")


def test_a_deleted_thread_gets_no_attachments(storage: ThreadStorage) -> None:
    storage.create(THREAD)
    storage.delete(THREAD)
    with pytest.raises(BbhostError) as caught:
        storage.store_attachment(THREAD, "creq_1", 0, "a", b"")
    assert caught.value.code == "ENOENT"
    assert "deleted" in caught.value.message


# --- app data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.json", "/".join("abcdefgh"), "A-_.9", "x" * 80],
)
def test_app_data_paths_are_recognised(path: str) -> None:
    assert parse_location(f"thr_1/apps/my-app/data/{path}") == AppDataLocation(
        THREAD, "my-app", path
    )


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".a", "a/.b", "a\\b", "ä", "x" * 81, "/".join("abcdefghi"), "a b"],
)
def test_other_names_are_no_app_data(path: str) -> None:
    relative = f"thr_1/apps/app/data/{path}"
    assert parse_location(relative) is None
    assert is_in_app_data(relative)


@pytest.mark.parametrize(
    "relative", ["thr_1/apps/app/data", "thr_1/apps/app/manifest.json", "thr_1/x/app/data/a", "t"]
)
def test_the_rest_of_the_storage_is_no_app_data(relative: str) -> None:
    assert not is_in_app_data(relative)
    assert parse_location(relative) is None


def test_app_data_are_read_with_their_version(
    storage: ThreadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = AppDataLocation(THREAD, "app", "state/one.json")
    assert read_app_data(storage.root, location) is None
    file = storage.create(THREAD) / "apps/app/data/state/one.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"a": [1, null]}')
    value = read_app_data(storage.root, location)
    assert value is not None
    assert value.value == {"a": [1, None]}
    assert value.version == hashlib.sha256(file.read_bytes()).hexdigest()

    for bad in (b"{", b"NaN", b"\xff", b"[" * 100_000, b""):
        file.write_bytes(bad)
        with pytest.raises(AppDataError):
            read_app_data(storage.root, location)

    file.write_text("1234")
    monkeypatch.setattr(app_data, "VALUE_LIMIT", 3)
    with pytest.raises(AppDataError):
        read_app_data(storage.root, location)


def test_app_data_behind_a_link_are_not_read(storage: ThreadStorage, world: World) -> None:
    data = storage.create(THREAD) / "apps/app/data"
    data.mkdir(parents=True)
    (Path(world.outside) / "x.json").write_text("1")
    (data / "x.json").symlink_to(world.outside / "x.json")
    with pytest.raises(AppDataError):
        read_app_data(storage.root, AppDataLocation(THREAD, "app", "x.json"))
