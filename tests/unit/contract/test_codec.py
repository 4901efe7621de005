"""The converter itself: JSON text, error paths, ids, and what cannot be written."""

import json

import pytest

from bbhost.contract.codec import decode_json, dump_json, encode_json, parse_json, structure
from bbhost.contract.events import RawRpcEvent
from bbhost.contract.execution import TextInput
from bbhost.contract.ids import (
    is_client_request_id,
    is_producer_event_id,
    new_client_request_id,
    new_id,
    new_producer_event_id,
)
from bbhost.contract.results import FoundFile, HostListFilesResult
from bbhost.contract.session import SessionOpenRequest, ToolCallRequest
from bbhost.contract.table import COMMANDS
from bbhost.errors import WireError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "Infinity",
        "-Infinity",
        "[1e999]",
        "1" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
        b"\xff\xfe\xfd",
    ],
)
def test_what_is_not_json_is_refused(text: str | bytes):
    with pytest.raises(WireError):
        parse_json(text)


@pytest.mark.parametrize(
    ("kind", "data", "path", "message"),
    [
        (FoundFile, {"path": "a"}, "name", "is missing"),
        (FoundFile, [], "", "must be an object"),
        (HostListFilesResult, {"files": {}, "truncated": True}, "files", "must be a list"),
        (
            HostListFilesResult,
            {"files": [{"path": "a", "name": "a"}, {"path": 1, "name": "a"}], "truncated": True},
            "files[1].path",
            "must be a string",
        ),
        (
            COMMANDS["turn.submit"].command,
            {
                **dict.fromkeys(("requestId", "input", "options", "target")),
                "type": "turn.submit",
                "environmentId": "e",
                "threadId": "t",
                "resumeContext": {},
            },
            "requestId",
            "must be a string",
        ),
        (
            COMMANDS["interactive.resolve"].command,
            {
                "type": "interactive.resolve",
                **dict.fromkeys(
                    (
                        "environmentId",
                        "threadId",
                        "interactionId",
                        "providerId",
                        "providerThreadId",
                        "providerRequestId",
                    ),
                    "x",
                ),
                "resolution": {"kind": "user_answer", "answers": {"q": {"selected": [1]}}},
            },
            "resolution.answers['q'].selected[0]",
            "must be a string",
        ),
    ],
)
def test_a_fault_is_named_with_its_path(kind: object, data: object, path: str, message: str):
    with pytest.raises(WireError) as caught:
        structure(kind, data)
    assert caught.value.path == path
    assert caught.value.message == (f"{path}: {message}" if path else message)


def test_messages_about_faults_are_bounded():
    """A peer cannot make us write its megabytes into a log or a report."""
    for data in ({"type": "x" * 10_000}, {"x" * 10_000: 1}, {"type": "text", "text": 1}):
        with pytest.raises(WireError) as caught:
            structure(TextInput, data)
        assert len(caught.value.message) < 500


def test_a_missing_default_is_not_a_missing_key():
    """A default is for Python; on the wire only what the contract says may be left out."""
    data = {
        "hostId": "h",
        "instanceId": "i",
        "hostName": "n",
        "hostType": "persistent",
        "dataDir": "/d",
        "protocolVersion": 26,
        "activeThreads": [],
    }
    assert structure(SessionOpenRequest, data).loaded_environments == ()
    del data["hostType"]
    with pytest.raises(WireError, match="hostType"):
        structure(SessionOpenRequest, data)


def test_strictness_can_be_asked_for():
    data = {"path": "a", "name": "a", "more": 1}
    assert structure(FoundFile, data) == FoundFile("a", "a")
    with pytest.raises(WireError, match="more"):
        structure(FoundFile, data, strict=True)
    with pytest.raises(WireError, match="more"):
        decode_json(FoundFile, json.dumps(data), strict=True)


def test_any_string_survives():
    """Half a character too, as a file name may hold one."""
    for text in ("\ud800", "caf\u00e9", "\u2028", "\0", '"\\'):
        written = encode_json(TextInput(text))
        assert written.isascii()
        assert decode_json(TextInput, written) == TextInput(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_has_no_form_for_is_refused(value: object):
    with pytest.raises(WireError) as caught:
        encode_json(RawRpcEvent("2.0", "m", params=value))
    assert caught.value.code == "command_failed"


@pytest.mark.slow
def test_json_of_any_depth_is_written_or_refused():
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(WireError):
        dump_json(deep)
    while deep:  # taken apart step by step, or its end would be a recursion too
        deep = deep[0]


def test_json_values_pass_untouched():
    arguments = {"a": [1, None, {"b": 2.5}], "snake_case": True}
    request = structure(
        ToolCallRequest,
        {
            "sessionId": "s",
            "threadId": "t",
            "providerThreadId": "p",
            "turnId": "u",
            "callId": "c",
            "tool": "message_user",
            "arguments": arguments,
        },
    )
    assert request.arguments is arguments


# --- ids ------------------------------------------------------------------------------------


def test_new_ids_are_valid_and_differ():
    events = {new_producer_event_id() for _ in range(1000)}
    requests = {new_client_request_id() for _ in range(1000)}
    assert len(events) == len(requests) == 1000
    assert all(map(is_producer_event_id, events))
    assert all(map(is_client_request_id, requests))
    assert new_id("host").startswith("host_")
    assert len(new_id("host", 12)) == 17
