"""The identity files follow the contract's rules exactly (section 1.3)."""

import json
import stat
from pathlib import Path

import pytest

from bbhost.domain.ids import HostId
from bbhost.errors import ConfigError
from bbhost.session.host_name import detect_host_name
from bbhost.session.identity import HostIdentity, load_identity, resolve_host_id, save_identity
from bbhost.session.server_url import is_loopback, parse_server_url

IDENTITY = HostIdentity(HostId("host_1"), "bbdh_secret")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_enrolment_is_found_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    save_identity(data_dir, IDENTITY)
    assert (data_dir / "host-id").read_text() == "host_1\n"
    assert (data_dir / "auth.json").read_text() == (
        '{\n  "hostId": "host_1",\n  "hostKey": "bbdh_secret",\n  "hostType": "persistent"\n}\n'
    )
    assert mode(data_dir / "host-id") == mode(data_dir / "auth.json") == 0o600
    assert mode(data_dir) == 0o700
    assert sorted(path.name for path in data_dir.iterdir()) == ["auth.json", "host-id"]
    assert load_identity(data_dir, resolve_host_id(data_dir, None)) == IDENTITY


def test_a_new_key_replaces_the_old_one(tmp_path: Path) -> None:
    save_identity(tmp_path, IDENTITY)
    newer = HostIdentity(HostId("host_1"), "bbdh_newer")
    save_identity(tmp_path, newer)
    assert load_identity(tmp_path, HostId("host_1")) == newer


def test_an_enrolment_as_another_host_is_refused(tmp_path: Path) -> None:
    save_identity(tmp_path, IDENTITY)
    with pytest.raises(ConfigError, match="belongs to host 'host_1'"):
        save_identity(tmp_path, HostIdentity(HostId("host_2"), "bbdh_x"))
    assert load_identity(tmp_path, HostId("host_1")) == IDENTITY


def test_the_host_id_is_of_the_file_then_given_then_new(tmp_path: Path) -> None:
    first, second = resolve_host_id(tmp_path, None), resolve_host_id(tmp_path, "  ")
    assert first != second
    assert len(first) == 36
    assert resolve_host_id(tmp_path, "host_9") == "host_9"
    (tmp_path / "host-id").write_text(" host_1 \n")
    assert resolve_host_id(tmp_path, None) == "host_1"
    assert resolve_host_id(tmp_path, "host_1") == "host_1"
    with pytest.raises(ConfigError, match="host_9"):
        resolve_host_id(tmp_path, "host_9")
    (tmp_path / "host-id").write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        resolve_host_id(tmp_path, None)


def test_without_an_enrolment_there_is_no_identity(tmp_path: Path) -> None:
    assert load_identity(tmp_path, HostId("host_1")) is None


def test_an_old_file_with_a_server_url_is_read(tmp_path: Path) -> None:
    document = {
        "hostId": "host_1",
        "hostKey": " bbdh_secret\n",
        "hostType": "persistent",
        "serverUrl": "http://x",
    }
    (tmp_path / "auth.json").write_text(json.dumps(document))
    assert load_identity(tmp_path, HostId("host_1")) == IDENTITY


@pytest.mark.parametrize(
    "change",
    [
        {"hostKey": "  "},
        {"hostType": "ephemeral"},
        {"hostId": ""},
        {"hostId": 5},
        {"extra": 1},
        {"hostKey": None},
    ],
)
def test_an_auth_file_of_another_form_is_refused(tmp_path: Path, change: dict) -> None:
    document = {"hostId": "host_1", "hostKey": "bbdh_secret", "hostType": "persistent"}
    (tmp_path / "auth.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ConfigError, match=r"auth\.json"):
        load_identity(tmp_path, HostId("host_1"))


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "\x00"])
def test_an_auth_file_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.json").write_text(text)
    with pytest.raises(ConfigError, match="enrol again"):
        load_identity(tmp_path, HostId("host_1"))


def test_an_auth_file_of_another_host_is_refused(tmp_path: Path) -> None:
    save_identity(tmp_path, IDENTITY)
    with pytest.raises(ConfigError, match="belongs to host 'host_1'"):
        load_identity(tmp_path, HostId("host_2"))


def test_another_host_type_is_refused(tmp_path: Path) -> None:
    save_identity(tmp_path, IDENTITY)
    assert load_identity(tmp_path, HostId("host_1"), " ") == IDENTITY
    assert load_identity(tmp_path, HostId("host_1"), "persistent") == IDENTITY
    with pytest.raises(ConfigError, match="ephemeral"):
        load_identity(tmp_path, HostId("host_1"), "ephemeral")


def test_a_readable_key_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_identity(tmp_path, IDENTITY)
    (tmp_path / "auth.json").chmod(0o644)
    load_identity(tmp_path, HostId("host_1"))
    assert mode(tmp_path / "auth.json") == 0o600
    assert "other users" in caplog.text


def test_the_key_is_never_shown() -> None:
    assert "secret" not in repr(IDENTITY)


@pytest.mark.parametrize(
    ("given", "text", "websocket", "private"),
    [
        ("http://localhost:38886/", "http://127.0.0.1:38886", "ws://127.0.0.1:38886", True),
        ("https://bb.example", "https://bb.example", "wss://bb.example", True),
        ("http://bb.example/base/", "http://bb.example/base", "ws://bb.example/base", False),
        ("http://[::1]:80", "http://[::1]:80", "ws://[::1]:80", True),
    ],
)
def test_the_server_url_is_normalised(
    given: str, text: str, websocket: str, private: bool
) -> None:
    url = parse_server_url(given)
    assert (url.text, url.websocket, url.is_private) == (
        text,
        websocket + "/internal/ws",
        private,
    )


@pytest.mark.parametrize(
    "given", [None, "", "ftp://x", "http://", "x", "http://u@h", "http://h?q", "http://h:x"]
)
def test_a_wrong_server_url_is_refused(given: str | None) -> None:
    with pytest.raises(ConfigError):
        parse_server_url(given)


def test_loopback() -> None:
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert is_loopback("x.localhost")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("localhost.example")


async def test_the_host_name() -> None:
    assert await detect_host_name(" box ") == "box"
    assert await detect_host_name(None)
