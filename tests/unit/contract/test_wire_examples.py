"""Every message that was recorded, and one of each kind that was not."""

import json

import pytest

from bbhost.contract.codec import decode_json, encode_json, structure, unstructure
from bbhost.contract.commands import Command
from bbhost.contract.events import ThreadEvent
from bbhost.contract.items import Item
from bbhost.contract.messages import DaemonMessage, ServerMessage
from bbhost.contract.reports import parse_report_post
from bbhost.contract.table import BadEnvelope, parse_envelope
from bbhost.contract.wire_types import members_of
from tests.unit.contract.samples import Sample, all_samples, recorded_lines

SAMPLES = all_samples()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.label)
def test_a_message_comes_back_as_it_was(sample: Sample):
    """Decoded and encoded again, no message has changed."""
    value = structure(sample.type, sample.data)
    assert unstructure(value) == sample.data
    assert json.loads(encode_json(value)) == sample.data
    assert decode_json(sample.type, json.dumps(sample.data)) == value


def test_every_recorded_line_is_used():
    """Nothing recorded is passed over."""
    lines = recorded_lines()
    assert len(lines) == 113
    assert {line["kind"][0] for line in lines} == {"command", "event", "http", "result", "ws"}


@pytest.mark.parametrize(
    ("union", "prefix"),
    [(Command, "command"), (ThreadEvent, "event"), (DaemonMessage, "ws"), (ServerMessage, "ws")],
)
def test_every_class_has_a_sample(union: object, prefix: str):
    """No command, event or message goes untested."""
    seen = {sample.label for sample in SAMPLES}
    assert {f"{prefix} {cls.TYPE}" for cls in members_of(union)} <= seen


def test_every_item_has_a_sample():
    """No kind of item goes untested."""
    items = [sample.data.get("item", {}).get("type") for sample in SAMPLES]
    assert {cls.TYPE for cls in members_of(Item)} <= set(items)


def test_every_recorded_command_makes_an_envelope():
    """What a server hands out can be run."""
    for line in recorded_lines():
        if line["kind"][0] == "command":
            envelope = parse_envelope(line["example"])
            assert not isinstance(envelope, BadEnvelope)
            assert envelope.id == line["example"]["id"]
            assert envelope.raw == line["example"]
            assert envelope.spec.type == line["example"]["command"]["type"]


def test_every_recorded_report_passes_the_check_of_a_server():
    """Successes are checked against the result of their command."""
    for line in recorded_lines():
        if line["kind"][0] == "result":
            assert unstructure(parse_report_post(line["example"])) == line["example"]
