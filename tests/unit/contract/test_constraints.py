"""Ranges, patterns, lengths, and fields that must agree with each other."""

import pytest

from bbhost.contract import commands, execution, fields, interactions, session
from bbhost.contract.branch_names import branch_name_problem
from bbhost.contract.codec import structure
from bbhost.contract.events import SystemErrorEvent, ThreadEvent
from bbhost.contract.messages import TerminalInput, TerminalOpen
from bbhost.contract.replay import ReplayManifest
from bbhost.errors import WireError
from tests.unit.contract.samples import CONTEXT, INPUT, MANIFEST, OPTIONS, WORKSPACE, all_samples

CREQ = "creq_zfv334evzx"
ALLOWED = [
    (fields.Count, 0),
    (fields.Count, 5.0),
    (fields.PositiveInt, 1),
    (fields.PositiveInt, 2**53 - 1),
    (fields.Columns, 500),
    (fields.Rows, 200),
    (fields.FileLimit, 10_000),
    (fields.BranchLimit, 1_000),
    (fields.AtLeastZero, 0.5),
    (fields.Number, -1.5),
    (fields.Query, "x" * 256),
    (fields.Query, "\N{PILE OF POO}" * 128),
    (fields.FreeText, "x"),
    (fields.NonEmpty, " "),
    (fields.NonBlank, "\x1c"),
    (fields.CommitPrefix, "aBcD"),
    (fields.CommitPrefix, "0" * 40),
    (fields.ClientRequestId, CREQ),
    (fields.ProducerEventId, "hdevt_2udsu64vskuahpndqjr2"),
    (fields.AppId, "A_z-9"),
    (fields.AppDataPath, "a/b/c/d/e/f/g/h"),
    (fields.AppDataPath, "x" * 80),
    (fields.Url, "data:text/plain,hello"),
    (fields.TerminalBytes, "AA=="),
    *((fields.ReplaySpeed, speed) for speed in (0.5, 1, 2, 5, 10)),
]
REFUSED = [
    (fields.Count, -1),
    (fields.Count, 0.5),
    (fields.Count, True),
    (fields.Count, "1"),
    (fields.Count, 2**53),
    (fields.Count, 1e300),
    (fields.Number, True),
    (fields.Number, "1"),
    (fields.Number, 10**400),
    (fields.AtLeastZero, -0.1),
    (fields.PositiveInt, 0),
    (fields.Columns, 0),
    (fields.Columns, 501),
    (fields.Rows, 201),
    (fields.FileLimit, 10_001),
    (fields.BranchLimit, 1_001),
    (fields.Query, "x" * 257),
    (fields.Query, "\N{PILE OF POO}" * 129),
    (fields.FreeText, ""),
    (fields.FreeText, "x" * 4097),
    (fields.NonEmpty, ""),
    (fields.NonBlank, " \n\ufeff"),
    (fields.CommitPrefix, "abc"),
    (fields.CommitPrefix, "0" * 41),
    (fields.CommitPrefix, "abcd\n"),
    (fields.CommitPrefix, "main"),
    (fields.ClientRequestId, "creq_zfv334evz"),
    (fields.ClientRequestId, "creq_zfv334evz0"),
    (fields.ClientRequestId, CREQ + "\n"),
    (fields.ProducerEventId, "hdevt_1"),
    (fields.AppId, ""),
    (fields.AppId, "a.b"),
    (fields.AppId, "a\n"),
    (fields.Url, "not a url"),
    (fields.Url, ""),
    (fields.ReplaySpeed, 3),
    (fields.ReplaySpeed, True),
    *(
        (fields.AppDataPath, path)
        for path in (
            "",
            "/a",
            "a/",
            "a//b",
            "a/.b",
            ".",
            "..",
            "a\\b",
            "a\0b",
            "a b",
            "a\n",
            "x" * 81,
            "/".join("abcdefghi"),
            "/".join(["x" * 80] * 7),
        )
    ),
    *(
        (fields.TerminalBytes, text)
        for text in (
            "",
            "A",
            "AA",
            "AAA",
            "AA=",
            "AB==",
            "AAB=",
            "AA==\n",
            "AA==AA==",
            " AA==",
            "A-_=",
            "\u00e4A==",
            "A" * 87_388,
            b"AA==",
        )
    ),
]


@pytest.mark.parametrize(("kind", "value"), ALLOWED)
def test_values_in_range_pass(kind: object, value: object):
    structure(kind, value)


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_values_out_of_range_are_refused(kind: object, value: object):
    with pytest.raises(WireError):
        structure(kind, value)


def test_the_largest_piece_of_terminal_input():
    """65536 bytes are 87384 characters; one more byte is refused."""
    largest = structure(fields.TerminalBytes, "A" * 87_380 + "AA==")
    assert largest == bytes(65_536)
    with pytest.raises(WireError):
        structure(fields.TerminalBytes, "A" * 87_380 + "AAA=")


# --- branch names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "feature/one",
        "bb/thr_1",
        "a@b",
        "a{b",
        "@a",
        "a.b",
        "\u00e4\u00f6",
        "HEADS",
        "head",
    ],
)
def test_usable_branch_names(name: str):
    assert branch_name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "\t", "-a", "/a", "a/", "a.", "@", "a..b", "a@{b", "a//b", ".a", "a/.b"),
        *("a.lock", "a.lock/b", "a/b.lock", "a\\b", "a:b", "a~b", "a^b", "a?b", "a*b", "a[b"),
        *("a b", "a\tb", "a\nb", "a\x00b", "a\x1fb", "a\x7fb", "HEAD", "FETCH_HEAD", "ORIG_HEAD"),
        *("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_HEAD", "AUTO_MERGE"),
    ],
)
def test_unusable_branch_names(name: str):
    assert branch_name_problem(name) is not None


# --- fields that must agree -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "escalation", "passes"),
    [
        ("full", None, True),
        ("full", "ask", False),
        ("readonly", None, False),
        ("readonly", "deny", True),
        ("workspace-write", "ask", True),
        ("workspace-write", None, False),
    ],
)
def test_escalation_is_null_exactly_in_full_mode(mode: str, escalation: str | None, passes: bool):
    data = {**OPTIONS, "permissionMode": mode, "permissionEscalation": escalation}
    if passes:
        structure(execution.ExecutionOptions, data)
        return
    with pytest.raises(WireError):
        structure(execution.ExecutionOptions, data)


TURN = {"kind": "turn", "turnId": "u"}
THREAD = {"kind": "thread"}
QUESTION = {"id": "q", "prompt": "p", "multiSelect": False, "allowFreeText": True}
OPTION = {"value": "v", "label": "l"}

DISAGREEING = [
    (commands.HostReadFile, {"type": "host.read_file", "path": "/a", "ref": "HEAD"}),
    (
        commands.HostListPaths,
        {
            "type": "host.list_paths",
            "path": "/a",
            "limit": 1,
            "includeFiles": False,
            "includeDirectories": False,
        },
    ),
    (
        session.AppDataChange,
        {
            "sessionId": "s",
            "threadId": "t",
            "appId": "a",
            "path": "a",
            "value": None,
            "deleted": True,
            "version": "v",
        },
    ),
    (
        session.EventEnvelope,
        {
            "producerEventId": "hdevt_2udsu64vskuahpndqjr2",
            "threadId": "another",
            "event": {"type": "thread/started", "threadId": "t", "scope": THREAD},
        },
    ),
    (
        SystemErrorEvent,
        {
            "type": "system/error",
            "threadId": "t",
            "scope": THREAD,
            "message": "m",
            "reconnectAttempt": 1,
        },
    ),
    (
        SystemErrorEvent,
        {
            "type": "system/error",
            "threadId": "t",
            "scope": THREAD,
            "message": "m",
            "reconnectAttempt": 2,
            "reconnectTotal": 1,
        },
    ),
    *(
        (interactions.UserQuestion, {"kind": "user_question", "questions": questions})
        for questions in (
            [],
            [QUESTION, QUESTION],
            [{**QUESTION, "id": str(number)} for number in range(5)],
            [{**QUESTION, "allowFreeText": False}],
            [{**QUESTION, "allowFreeText": False, "options": []}],
            [{**QUESTION, "options": [OPTION, OPTION]}],
            [{**QUESTION, "options": [{**OPTION, "value": str(n)} for n in range(5)]}],
            [{**QUESTION, "prompt": " "}],
            [{**QUESTION, "shortLabel": " "}],
        )
    ),
    (
        interactions.Approval,
        {
            "kind": "approval",
            "subject": {
                "kind": "file_change",
                "itemId": "i",
                "writeScope": None,
                "sessionGrant": None,
            },
            "reason": None,
            "availableDecisions": [],
        },
    ),
    (
        interactions.Resolution,
        {"kind": "user_answer", "answers": {"q": {"selected": ["v"] * 5}}},
    ),
    (
        interactions.Resolution,
        {"kind": "user_answer", "answers": {"q": {"selected": [], "freeText": ""}}},
    ),
    (
        commands.ThreadStart,
        {
            "type": "thread.start",
            "environmentId": "e",
            "threadId": "t",
            **CONTEXT,
            "options": OPTIONS,
            "requestId": CREQ,
            "input": [],
        },
    ),
    (
        session.InteractiveInterrupt,
        {"sessionId": "s", "providerId": "p", "threadIds": [], "reason": "r"},
    ),
    (commands.ReplayCaptureGet, {"type": "replay.capture_get"}),
]


@pytest.mark.parametrize(("kind", "data"), DISAGREEING)
def test_fields_must_agree(kind: object, data: object):
    with pytest.raises(WireError):
        structure(kind, data)


def test_a_manifest_has_turns_and_its_version():
    for wrong in ({"turns": []}, {"schemaVersion": 2}, {"schemaVersion": True}, {"kind": "x"}):
        with pytest.raises(WireError):
            structure(ReplayManifest, {**MANIFEST, **wrong})


# --- scopes ---------------------------------------------------------------------------------

THREAD_EVENTS = {
    "thread/started",
    "thread/identity",
    "thread/name/updated",
    "system/thread-provisioning",
}
EITHER = {"provider/error", "provider/warning", "provider/unhandled", "system/error"}


def test_every_event_has_its_scope_and_no_other():
    """An event of a turn is refused under the scope of its thread, and the other way round."""
    seen = set()
    for sample in all_samples():
        if not sample.label.startswith("event "):
            continue
        kind = sample.data["type"]
        seen.add(kind)
        for scope in (TURN, THREAD):
            fits = kind in EITHER or (scope is THREAD) == (kind in THREAD_EVENTS)
            data = {**sample.data, "scope": scope}
            if fits:
                structure(ThreadEvent, data)
            else:
                with pytest.raises(WireError):
                    structure(ThreadEvent, data)
    assert len(seen) == 26


@pytest.mark.parametrize("scope", [{"kind": "turn"}, {"kind": "turn", "turnId": ""}, {}, None])
def test_a_turn_scope_names_its_turn(scope: object):
    with pytest.raises(WireError):
        structure(
            ThreadEvent,
            {
                "type": "turn/started",
                "threadId": "t",
                "scope": scope,
                "providerThreadId": "p",
            },
        )


def test_the_old_request_key_is_refused():
    """On events as on user messages, though other unknown keys are ignored."""
    event = {"type": "thread/started", "threadId": "t", "scope": THREAD}
    structure(ThreadEvent, {**event, "other": 1})
    with pytest.raises(WireError, match="clientRequestSequence"):
        structure(ThreadEvent, {**event, "clientRequestSequence": 1})
    item = {"type": "userMessage", "id": "i", "content": [], "clientRequestSequence": 1}
    with pytest.raises(WireError, match="clientRequestSequence"):
        structure(
            ThreadEvent,
            {
                "type": "item/started",
                "threadId": "t",
                "scope": TURN,
                "providerThreadId": "p",
                "item": item,
            },
        )


# --- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["", "\ud800", "a\udfffb", 1, None, ["e"]])
def test_an_id_is_text_and_not_empty(identifier: object):
    data = {"type": "thread.stop", "environmentId": identifier, "threadId": "t"}
    with pytest.raises(WireError, match="environmentId"):
        structure(commands.ThreadStop, data)


def test_terminal_sizes_are_bounded():
    data = {
        "type": "terminal.open",
        "requestId": "r",
        "terminalId": "t",
        "threadId": "t",
        "environmentId": "e",
        "workspaceContext": WORKSPACE,
        "cols": 1,
        "rows": 1,
    }
    structure(TerminalOpen, data)
    for wrong in ({"cols": 0}, {"cols": 501}, {"rows": 201}, {"workspaceContext": {}}):
        with pytest.raises(WireError):
            structure(TerminalOpen, {**data, **wrong})


def test_input_arrives_as_bytes():
    data = {"type": "terminal.input", "terminalId": "t", "dataBase64": "aGk="}
    assert structure(TerminalInput, data).data == b"hi"


def test_input_variants_are_told_apart():
    read = structure(tuple[execution.PromptInput, ...], INPUT)
    assert [type(one) for one in read] == [
        execution.TextInput,
        execution.ImageInput,
        execution.LocalImageInput,
        execution.LocalFileInput,
    ]
