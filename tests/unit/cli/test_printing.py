"""What comes from elsewhere is shown, never obeyed."""

import json
from pathlib import Path

import pytest

from bbhost.cli.hub_file import (
    HubFile,
    hub_file_path,
    read_hub_file,
    remove_hub_file,
    write_hub_file,
)
from bbhost.cli.outcomes import CommandError
from bbhost.cli.place import Place
from bbhost.cli.printing import clean, clean_lines, say_json, say_table
from bbhost.errors import ConfigError


def test_control_characters_are_escaped() -> None:
    """C0, DEL, C1 and the marks that turn text around cannot reach a terminal."""
    assert clean("a\x1b]52;c;x\x07\n\t\x9b\x7f\u202e") == (
        "a\\x1b]52;c;x\\x07\\n\\t\\x9b\\x7f\\u202e"
    )
    assert clean_lines("a\n\tb\x1b\r") == "a\n\tb\\x1b\\x0d"


def test_tables_hold_hostile_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """A line break in a name makes no row of its own."""
    say_table(["name", "n"], [("x\ny\x1b[2J", 1), (None, 22)])
    assert capsys.readouterr().out.splitlines() == [
        "name         n",
        "x\\ny\\x1b[2J  1",
        "-            22",
    ]


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader can split at line breaks."""
    say_json({"name": "x\n\u009b\udcff"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.isascii()
    assert json.loads(out) == {"name": "x\n\u009b\udcff"}


def test_the_hub_file_is_private_and_goes_with_its_owner(tmp_path: Path) -> None:
    """Only the process that wrote it takes it away."""
    written = HubFile("http://127.0.0.1:1", "/token", 5, "host")
    write_hub_file(tmp_path, written)
    assert hub_file_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert read_hub_file(tmp_path) == written
    remove_hub_file(tmp_path, 6)
    assert read_hub_file(tmp_path) == written
    remove_hub_file(tmp_path, 5)
    assert read_hub_file(tmp_path) is None


def test_a_broken_hub_file_is_named(tmp_path: Path) -> None:
    """It is never taken for "no hub"."""
    write_hub_file(tmp_path, HubFile("u", "t", 1, "h"))
    hub_file_path(tmp_path).write_text("{}")
    with pytest.raises(ConfigError, match=r"hub\.json"):
        read_hub_file(tmp_path)


def test_the_token_goes_only_to_the_hub_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming another server does not send it the token of the running hub."""
    for name in ("BBHOST_SERVER_URL", "BBHOST_TOKEN", "BBHOST_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BBHOST_CONFIG", str(tmp_path / "none.toml"))
    (tmp_path / "token").write_text("secret\n")
    with pytest.raises(CommandError, match="No hub is known"):
        Place(data_dir=str(tmp_path)).find_server()
    write_hub_file(tmp_path, HubFile("http://127.0.0.1:1", str(tmp_path / "token"), 1, "h"))
    assert Place(data_dir=str(tmp_path)).find_server().token == "secret"
    other = Place(server="http://127.0.0.1:2/", data_dir=str(tmp_path)).find_server()
    assert (other.url, other.token) == ("http://127.0.0.1:2", None)
