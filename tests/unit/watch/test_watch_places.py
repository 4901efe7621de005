"""Roots that are refused, and file systems that stay silent."""

import pytest

from bbhost.errors import WatchRefusedError
from bbhost.watch import places
from bbhost.watch.budget import watch_budget, watch_limit
from bbhost.watch.rule_files import RuleFiles
from bbhost.watch.values import WatchSettings


def test_broad_roots_are_refused(tmp_path) -> None:
    home = tmp_path / "users" / "dev"
    (home / "work").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(home)
    for root in ("/", home, home.parent, link, home / "work" / ".."):
        with pytest.raises(WatchRefusedError):
            places.refuse_broad_root(str(root), home)
    places.refuse_broad_root(str(home / "work"), home)
    places.refuse_broad_root(str(tmp_path / "users-other"), home)


def test_the_reason_names_what_it_is(tmp_path) -> None:
    with pytest.raises(WatchRefusedError, match="home directory"):
        places.refuse_broad_root(str(tmp_path), tmp_path)
    with pytest.raises(WatchRefusedError, match="file system"):
        places.refuse_broad_root("/", tmp_path)


def test_the_kernel_is_asked_for_the_file_system(tmp_path, monkeypatch) -> None:
    assert places.silent_file_system("/proc") is None
    monkeypatch.setitem(places._SILENT_FILE_SYSTEMS, 0x9FA0, "proc")
    assert places.silent_file_system("/proc") == "proc"
    with pytest.raises(FileNotFoundError):
        places.silent_file_system(str(tmp_path / "missing"))


def test_the_budget_is_a_share_of_the_limit_or_fixed() -> None:
    assert watch_budget(WatchSettings(budget_share=0.25)) == watch_limit() // 4
    assert watch_budget(WatchSettings(budget_watches=77)) == 77


def test_rule_files_that_come_change_and_go_are_noticed(tmp_path) -> None:
    path = tmp_path / "ignore"
    files = RuleFiles([path])
    assert not files.changed()
    path.write_text("a")
    assert files.changed()
    assert not files.changed()
    path.write_text("ab")
    assert files.changed()
    path.unlink()
    assert files.changed()
