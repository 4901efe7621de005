"""Enrolling once, and finding it again."""

import json
from pathlib import Path

import pytest

from bbhost.errors import ConfigError
from bbhost.session.enrolment import EnrolmentSettings, ensure_enrolled
from bbhost.session.errors import SessionStartError
from bbhost.session.server_url import parse_server_url
from tests.fakes.stock_server import StockServer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_a_host_enrols_once(server: StockServer, data_dir: Path) -> None:
    url = parse_server_url(server.url)
    key = server.join_code("host_1")
    settings = EnrolmentSettings(data_dir, "rig", f" {key}\n", "host_1")
    identity = await ensure_enrolled(url, settings)
    assert server.host_keys == {identity.host_key: "host_1"}
    assert json.loads((data_dir / "auth.json").read_text())["hostId"] == "host_1"
    assert await ensure_enrolled(url, settings) == identity, "the used key is ignored"
    assert await ensure_enrolled(url, EnrolmentSettings(data_dir, "rig")) == identity
    assert [path for _, path in server.requests] == ["/internal/hosts/enroll"]


async def test_a_used_key_is_refused_and_leaves_nothing(
    server: StockServer, data_dir: Path
) -> None:
    settings = EnrolmentSettings(data_dir, "rig", "bbde_used", "host_1")
    with pytest.raises(SessionStartError, match="401 unauthorized: Unauthorized"):
        await ensure_enrolled(parse_server_url(server.url), settings)
    assert not data_dir.exists()


async def test_the_body_of_a_strange_refusal_is_shown(server: StockServer, data_dir: Path) -> None:
    server.fail("hosts/enroll", 502, b"<html>" + b"bad gateway " * 50)
    settings = EnrolmentSettings(data_dir, "rig", "bbde_x", "host_1")
    with pytest.raises(SessionStartError, match="502 <html>bad gateway") as caught:
        await ensure_enrolled(parse_server_url(server.url), settings)
    assert len(caught.value.message) < 300


async def test_without_a_key_there_is_nothing_to_do(data_dir: Path) -> None:
    url = parse_server_url("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="BB_HOST_ENROLL_KEY"):
        await ensure_enrolled(url, EnrolmentSettings(data_dir, "rig", "  "))


async def test_a_server_that_is_not_there(data_dir: Path) -> None:
    url = parse_server_url("http://127.0.0.1:1")
    with pytest.raises(SessionStartError, match=r"enrolment at http://127\.0\.0\.1:1 failed"):
        await ensure_enrolled(url, EnrolmentSettings(data_dir, "rig", "key", "host_1"))
