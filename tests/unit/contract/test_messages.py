"""WebSocket messages: strict one way, tolerant or strict the other, and cheap to write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbhost.contract.codec import encode_json
from bbhost.contract.messages import (
    CommandsAvailable,
    Heartbeat,
    TerminalChunk,
    TerminalCloseReason,
    TerminalExited,
    TerminalOutput,
    TerminalReplay,
    encode_message,
    encode_terminal_output,
    parse_daemon_message,
    parse_server_message,
)
from bbhost.domain.ids import TerminalId
from bbhost.errors import WireError
from tests.unit.contract.samples import recorded_lines

RECORDED = [line for line in recorded_lines() if line["kind"][0] == "ws"]
FROM_SERVER = [line["example"] for line in RECORDED if line["kind"][1] == "server->daemon"]
FROM_DAEMON = [line["example"] for line in RECORDED if line["kind"][1] == "daemon->server"]


@pytest.mark.parametrize("data", FROM_SERVER, ids=lambda data: data["type"])
def test_server_messages(data: dict):
    """A newer server may say more, unless strictness is asked for."""
    text, more = json.dumps(data), json.dumps({**data, "more": 1})
    message = parse_server_message(text)
    assert json.loads(encode_message(message)) == data
    assert parse_server_message(text, strict=True) == message
    assert parse_server_message(more) == message
    with pytest.raises(WireError, match="more") as caught:
        parse_server_message(more, strict=True)
    assert caught.value.code == "invalid_message"


def test_a_nested_context_is_tolerant_even_then():
    data = next(one for one in FROM_SERVER if one["type"] == "terminal.open")
    data = {**data, "workspaceContext": {**data["workspaceContext"], "more": 1}}
    parse_server_message(json.dumps(data), strict=True)


@pytest.mark.parametrize("data", FROM_DAEMON, ids=lambda data: data["type"])
def test_daemon_messages(data: dict):
    """One extra key costs a daemon its socket."""
    message = parse_daemon_message(json.dumps(data))
    assert json.loads(encode_message(message)) == data
    with pytest.raises(WireError, match="more"):
        parse_daemon_message(json.dumps({**data, "more": 1}))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "1", "{}", '{"type":1}', b"\xff", "NaN"])
def test_what_is_no_message(text: str | bytes):
    for parse in (parse_server_message, parse_daemon_message):
        with pytest.raises(WireError) as caught:
            parse(text)
        assert caught.value.code == "invalid_message"


def test_an_unknown_type_has_a_code_of_its_own():
    """So that a daemon can pass over what a newer server says."""
    with pytest.raises(WireError) as caught:
        parse_server_message('{"type":"watch-set.replace","generation":1}')
    assert caught.value.code == "unknown_message"
    with pytest.raises(WireError) as caught:
        parse_daemon_message('{"type":"commands-available"}')
    assert caught.value.code == "unknown_message"


IDS = st.text(min_size=1).map(TerminalId)
CHUNKS = st.builds(TerminalChunk, st.integers(0, 2**53 - 1), st.binary(min_size=1, max_size=300))


@pytest.mark.slow
@given(IDS, CHUNKS)
def test_output_written_the_short_way_is_the_same(terminal_id: TerminalId, chunk: TerminalChunk):
    message = TerminalOutput(terminal_id, chunk)
    assert encode_message(message) == encode_json(message)
    assert encode_terminal_output(terminal_id, chunk.seq, chunk.data) == encode_json(message)


@pytest.mark.slow
@given(st.text(min_size=1), IDS, st.lists(CHUNKS, max_size=4), st.integers(0, 2**53 - 1))
def test_a_replay_written_the_short_way_is_the_same(
    request_id: str, terminal_id: TerminalId, chunks: list[TerminalChunk], next_seq: int
):
    message = TerminalReplay(request_id, terminal_id, tuple(chunks), next_seq)
    assert encode_message(message) == encode_json(message)


def test_other_messages():
    assert encode_message(Heartbeat()) == encode_json(Heartbeat()) == '{"type":"heartbeat"}'
    assert encode_message(CommandsAvailable()) == '{"type":"commands-available"}'
    exited = TerminalExited(TerminalId("t"), None, TerminalCloseReason.USER)
    assert json.loads(encode_message(exited)) == {
        "type": "terminal.exited",
        "terminalId": "t",
        "exitCode": None,
        "closeReason": "user",
    }
