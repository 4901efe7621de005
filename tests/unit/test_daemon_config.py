"""Where settings come from, and who wins."""

from pathlib import Path

import pytest

from bbhost.daemon.config import load_config
from bbhost.errors import ConfigError


def test_precedence_is_flag_own_variable_foreign_variable_file_default(tmp_path: Path) -> None:
    """Each source yields to the one before it, and says that it was the source."""
    file = tmp_path / "config.toml"
    file.write_text('server_url = "http://file"\nhost_name = "from-file"\n')
    environ = {
        "BBHOST_SERVER_URL": "http://own",
        "BB_SERVER_URL": "http://foreign",
        "BB_DATA_DIR": "/foreign",
        "BB_HOST_ID": "  ",
    }
    config = load_config({"server_url": "http://flag", "data_dir": None}, environ, file)
    assert config.get("server_url") == "http://flag"
    assert config.values["data_dir"].source == "BB_DATA_DIR"
    assert config.get("host_name") == "from-file"
    assert config.values["host_name"].source == str(file)
    assert config.values["host_id"].source == "default", "blank counts as unset"
    config = load_config({}, environ, file)
    assert config.values["server_url"].source == "BBHOST_SERVER_URL"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"BB_HOST_DAEMON_PORT": "many"}, "BB_HOST_DAEMON_PORT"),
        ({"BB_HOST_DAEMON_PORT": "70000"}, "local_port"),
        ({"BB_HOST_TYPE": "ephemeral"}, "persistent"),
        ({"BBHOST_WATCH_BACKEND": "magic"}, "watch_backend"),
        ({"BBHOST_POLL_SECONDS": "0"}, "poll_seconds"),
        ({"BBHOST_RECONNECT_SECONDS": "nan"}, "reconnect_seconds"),
        ({"BB_LOG_LEVEL": "loud"}, "log_level"),
    ],
)
def test_a_bad_value_is_named_with_its_source(
    environ: dict[str, str], named: str, tmp_path: Path
) -> None:
    """The message says which value of which source is wrong."""
    with pytest.raises(ConfigError, match=named):
        load_config({}, environ, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("trace", "debug"),
        ("warn", "warning"),
        ("fatal", "error"),
        ("silent", "error"),
        ("info", "info"),
    ],
)
def test_the_log_levels_of_the_original_daemon_are_understood(
    given: str, taken: str, tmp_path: Path
) -> None:
    """Its variables stay where they are when bbhost takes its place."""
    config = load_config({}, {"BB_LOG_LEVEL": given}, tmp_path / "none.toml")
    assert config.get("log_level") == taken


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt setting must not be silently without effect."""
    file = tmp_path / "config.toml"
    file.write_text('sever_url = "http://x"\n')
    with pytest.raises(ConfigError, match="sever_url"):
        load_config({}, {}, file)


@pytest.mark.parametrize("content", [b'log_level = "\xff"\n', b"a = " + b"[" * 5000])
def test_a_file_that_is_no_text_or_nested_without_end_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    """It is read again while the daemon runs, and must not end it."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="Cannot read"):
        load_config({}, {}, file)


def test_secrets_do_not_appear_in_errors(tmp_path: Path) -> None:
    """A key that cannot be read is not printed."""
    file = tmp_path / "config.toml"
    file.write_text("not toml at all [")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_config({}, {}, file)
