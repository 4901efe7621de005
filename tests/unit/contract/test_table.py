"""The table of commands, and reading envelopes one by one."""

from typing import Any

import pytest

from bbhost.contract.commands import (
    Command,
    EnvironmentProvision,
    HostWriteFileRelative,
    ProviderList,
    WorkspaceStatusCommand,
)
from bbhost.contract.table import (
    COMMANDS,
    BadEnvelope,
    CommandEnvelope,
    Lane,
    lane_key,
    parse_command,
    parse_envelope,
)
from bbhost.contract.wire_types import members_of
from bbhost.domain.ids import EnvironmentId
from bbhost.errors import WireError
from tests.unit.contract.samples import recorded_lines

STATUS = {
    "type": "workspace.status",
    "environmentId": "e",
    "workspaceContext": {"workspacePath": "/w", "workspaceProvisionType": "unmanaged"},
}


def test_all_32_commands_are_in_the_table():
    assert len(COMMANDS) == 32
    assert {cls.TYPE for cls in members_of(Command)} == set(COMMANDS)
    assert all(spec.type == name for name, spec in COMMANDS.items())


def test_lanes():
    lanes = {lane: {n for n, spec in COMMANDS.items() if spec.lane is lane} for lane in Lane}
    assert lanes[Lane.WRITE] == {
        "environment.provision",
        "environment.destroy",
        "thread.archive",
        "workspace.commit",
        "workspace.squash_merge",
    }
    assert lanes[Lane.READ] == {"workspace.status", "workspace.diff"}
    assert lanes[Lane.FILE] == {
        "host.write_file_relative",
        "host.delete_file_relative",
        "host.delete_path_relative",
    }


def test_lane_keys():
    """Environments and files have lanes of their own; the rest has none."""
    assert lane_key(parse_command(STATUS)) == "e"
    write = HostWriteFileRelative("/root", "a/b", "deny", "", "utf8")
    assert lane_key(write) == "/root\0a/b"
    assert lane_key(ProviderList()) is None


def test_only_five_commands_flush_events():
    """Any other could deadlock with the post of an event."""
    flushing = set()
    for line in recorded_lines():
        if line["kind"][0] == "command":
            envelope = parse_envelope(line["example"])
            assert isinstance(envelope, CommandEnvelope)
            if envelope.spec.flush_events(envelope.command):
                flushing.add(envelope.spec.type)
    assert flushing == {
        "thread.start",
        "turn.submit",
        "thread.stop",
        "interactive.resolve",
        "environment.provision",
    }


def test_provisioning_without_initiator_does_not_flush():
    command = parse_command(
        {
            "type": "environment.provision",
            "environmentId": "e",
            "initiator": None,
            "workspaceProvisionType": "personal",
            "targetPath": "/p",
        }
    )
    assert isinstance(command, EnvironmentProvision)
    assert not COMMANDS[command.TYPE].flush_events(command)


def test_provisioning_is_handed_out_again_later_than_the_rest():
    times = {spec.redelivery_seconds for name, spec in COMMANDS.items() if "provision" not in name}
    assert times == {60.0}
    assert COMMANDS["environment.provision"].redelivery_seconds == 1200.0


# --- envelopes ------------------------------------------------------------------------------


def test_a_good_envelope():
    raw = {"id": "hcmd_1", "cursor": 3, "command": STATUS, "extra": 1}
    envelope = parse_envelope(raw)
    assert isinstance(envelope, CommandEnvelope)
    assert (envelope.id, envelope.cursor, envelope.raw) == ("hcmd_1", 3, raw)
    assert isinstance(envelope.command, WorkspaceStatusCommand)
    assert envelope.command.environment_id == EnvironmentId("e")


@pytest.mark.parametrize(
    ("raw", "identifier", "type_", "code"),
    [
        ({"id": "c", "cursor": 1, "command": {"type": "new.one"}}, "c", "new.one", "unknown"),
        ({"id": "c", "cursor": 1, "command": {}}, "c", "unknown", "unknown"),
        ({"id": "c", "cursor": 1, "command": {"type": 1}}, "c", "unknown", "unknown"),
        ({"id": "c", "cursor": 1, "command": {"type": []}}, "c", "unknown", "unknown"),
        ({"id": "c", "cursor": 1, "command": []}, "c", "unknown", "unknown"),
        ({"id": "c", "cursor": 1}, "c", "unknown", "unknown"),
        (
            {"id": "c", "cursor": 1, "command": {"type": "thread.stop"}},
            "c",
            "thread.stop",
            "invalid",
        ),
        ({"id": "c", "cursor": -1, "command": STATUS}, "c", "workspace.status", "invalid"),
        ({"id": "c", "command": STATUS}, "c", "workspace.status", "invalid"),
        ({"cursor": 1, "command": STATUS}, None, "workspace.status", "invalid"),
        ({"id": 1, "cursor": 1, "command": STATUS}, None, "workspace.status", "invalid"),
        ({"id": "", "cursor": 1, "command": STATUS}, None, "workspace.status", "invalid"),
        (None, None, "unknown", "invalid"),
        ([], None, "unknown", "invalid"),
    ],
)
def test_bad_envelopes(raw: Any, identifier: str | None, type_: str, code: str):
    """They say whom to tell and what; without an id there is nobody to tell."""
    bad = parse_envelope(raw)
    assert isinstance(bad, BadEnvelope)
    assert (bad.id, bad.type, bad.error_code) == (identifier, type_, f"{code}_command")
    assert bad.message


def test_a_strict_command_refuses_an_unknown_key():
    body = {"type": "host.file_metadata", "path": "/a", "follow": True}
    bad = parse_envelope({"id": "c", "cursor": 1, "command": body})
    assert isinstance(bad, BadEnvelope)
    assert "follow" in bad.message


def test_a_refused_command_names_the_field():
    with pytest.raises(WireError) as caught:
        parse_command(
            {
                **STATUS,
                "workspaceContext": {"workspacePath": "/w", "workspaceProvisionType": "else"},
            }
        )
    assert caught.value.path == "workspaceContext.workspaceProvisionType"
    assert caught.value.code == "invalid_command"
