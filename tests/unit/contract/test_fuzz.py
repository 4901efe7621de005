"""Whatever comes in, reading it returns or raises WireError, and nothing else."""

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bbhost.contract.codec import decode_json, encode_json, structure, unstructure
from bbhost.contract.commands import Command
from bbhost.contract.events import ThreadEvent
from bbhost.contract.messages import parse_daemon_message, parse_server_message
from bbhost.contract.reports import parse_report_post
from bbhost.contract.session import EventBatch, SessionOpenResponse, parse_error_body
from bbhost.contract.table import BadEnvelope, CommandEnvelope, parse_envelope
from bbhost.errors import WireError
from tests.unit.contract.samples import all_samples

SAMPLES = all_samples()
KEYS = sorted({key for sample in SAMPLES for key in sample.data})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["main", "thread", "turn", "text", "creq_zfv334evzx"]),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), children, max_size=5)
    ),
    max_leaves=12,
)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def reads(kind: object, data: object) -> bool:
    """Read; what passes must come back as JSON that reads the same."""
    try:
        value = structure(kind, data)
    except WireError:
        return False
    again = decode_json(kind, encode_json(value))
    assert again == value
    assert unstructure(again) == unstructure(value)
    return True


@pytest.mark.slow
@FUZZ
@given(JSON)
def test_any_json(data: Any):
    for kind in (Command, ThreadEvent, EventBatch, SessionOpenResponse):
        reads(kind, data)
    parse_envelope(data)
    with contextlib.suppress(WireError):
        parse_report_post(data)


@pytest.mark.slow
@FUZZ
@given(st.sampled_from(SAMPLES), st.data())
def test_samples_with_something_else_inside(sample: Any, choice: st.DataObject):
    """Almost right is where a reader is weakest."""
    data = copy.deepcopy(sample.data)
    for _ in range(choice.draw(st.integers(1, 3))):
        data = put_somewhere(data, choice)
    reads(sample.type, data)


def put_somewhere(data: Any, choice: st.DataObject) -> Any:
    """Replace, add or remove something at a random place."""
    if isinstance(data, dict) and data and choice.draw(st.integers(0, 3)):
        key = choice.draw(st.sampled_from(sorted(data)))
        if choice.draw(st.integers(0, 5)) == 0:
            del data[key]
        else:
            data[key] = put_somewhere(data[key], choice)
        return data
    if isinstance(data, list) and data and choice.draw(st.booleans()):
        index = choice.draw(st.integers(0, len(data) - 1))
        data[index] = put_somewhere(data[index], choice)
        return data
    return choice.draw(JSON)


@pytest.mark.slow
@FUZZ
@given(st.fixed_dictionaries({}, optional={"id": JSON, "cursor": JSON, "command": JSON}) | JSON)
@example({"id": "c", "cursor": 1, "command": {"type": {"a": []}}})
def test_envelopes_never_raise(raw: Any):
    parsed = parse_envelope(raw)
    assert isinstance(parsed, (BadEnvelope, CommandEnvelope))
    if isinstance(parsed, BadEnvelope):
        assert parsed.message
        assert parsed.type
        assert parsed.error_code in {"unknown_command", "invalid_command"}


@pytest.mark.slow
@FUZZ
@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_any_text(text: str | bytes):
    for parse in (parse_server_message, parse_daemon_message):
        with contextlib.suppress(WireError):
            parse(text)
    parse_error_body(text)


def test_json_of_any_depth():
    """Nesting cannot end a daemon."""
    deep: Any = []
    for _ in range(500):
        deep = {"command": deep, "id": [deep]}
    assert isinstance(parse_envelope(deep), BadEnvelope)
