"""Reports and batches: made, checked and put under a session."""

import json

import pytest

from bbhost.contract.codec import decode_json, encode_json, structure, unstructure
from bbhost.contract.events import (
    CommandOutputDelta,
    ItemCompleted,
    ItemStarted,
    ProviderErrorEvent,
    SystemErrorEvent,
    ThreadScope,
    ThreadStarted,
    TurnCompleted,
    TurnScope,
    is_urgent,
)
from bbhost.contract.ids import new_producer_event_id
from bbhost.contract.items import (
    AgentMessageItem,
    ApprovalStatus,
    CommandExecutionItem,
    ItemStatus,
)
from bbhost.contract.reports import (
    encode_event_batch,
    encode_report_post,
    parse_report_post,
    report_failure,
    report_success,
)
from bbhost.contract.results import (
    EmptyResult,
    FileRead,
    ThreadStartResult,
    WorkspaceCommitResult,
)
from bbhost.contract.session import (
    EnrollResponse,
    ErrorBody,
    EventBatch,
    ReportPost,
    SessionOpenResponse,
    is_retryable,
    parse_error_body,
)
from bbhost.domain.ids import CommandId, SessionId, ThreadId
from bbhost.errors import WireError

COMMAND = CommandId("hcmd_1")
SESSION = SessionId('hses_"1')
THREAD = ThreadId("t")
TURN = TurnScope("u")


def test_a_success_under_the_session_of_its_posting():
    report = report_success(
        COMMAND, "workspace.commit", WorkspaceCommitResult("c0ffee", "subject"), 5
    )
    posted = encode_report_post(encode_json(report), SESSION)
    assert json.loads(posted) == {
        "sessionId": SESSION,
        "commandId": "hcmd_1",
        "completedAt": 5,
        "type": "workspace.commit",
        "ok": True,
        "result": {"commitSha": "c0ffee", "commitSubject": "subject"},
    }
    assert parse_report_post(json.loads(posted)) == ReportPost(SESSION, report)


def test_a_failure_always_has_a_code_and_a_message():
    """A server would refuse the report for good."""
    report = report_failure(COMMAND, "workspace.commit", "", "", 5)
    data = unstructure(ReportPost(SESSION, report))
    assert data["errorCode"]
    assert data["errorMessage"]
    parse_report_post(data)


def test_a_result_that_a_server_would_refuse_is_found_here():
    with pytest.raises(WireError, match="EmptyResult") as caught:
        report_success(COMMAND, "thread.stop", ThreadStartResult("p"), 5)
    assert caught.value.code == "command_failed"
    with pytest.raises(WireError, match="providerThreadId"):
        report_success(COMMAND, "thread.start", ThreadStartResult(""), 5)
    with pytest.raises(WireError, match="modifiedAtMs"):
        wrong = FileRead("a", "", "utf8", 0, modified_at_ms=-1)
        report_success(COMMAND, "host.read_file", wrong, 5)


def posted(**changes: object) -> dict:
    data = unstructure(
        ReportPost(SESSION, report_success(COMMAND, "thread.stop", EmptyResult(), 5))
    )
    return {**data, **changes}


@pytest.mark.parametrize(
    "data",
    [
        posted(type="new.one"),
        posted(type="thread.start"),
        posted(ok=1),
        posted(ok=False),
        posted(ok=False, errorCode="x", errorMessage=""),
        posted(ok=False, errorCode="", errorMessage="x"),
        posted(ok=False, type="new.one", errorCode="x", errorMessage="x"),
        posted(completedAt=-1),
        posted(sessionId=""),
        [],
        None,
    ],
)
def test_reports_that_a_server_refuses(data: object):
    with pytest.raises(WireError) as caught:
        parse_report_post(data)
    assert caught.value.code == "invalid_request"


def test_an_unknown_command_can_be_reported_as_such():
    """Unknown keys are tolerated."""
    parse_report_post(
        posted(ok=False, type="new.one", errorCode="unknown_command", errorMessage="x", more=1)
    )


# --- events ---------------------------------------------------------------------------------


def test_a_batch_of_stored_events_is_what_a_server_reads():
    events = [ThreadStarted(THREAD, ThreadScope()), TurnCompleted(THREAD, TURN, None, "completed")]
    rows = [(new_producer_event_id(), THREAD, encode_json(event)) for event in events]
    batch = decode_json(EventBatch, encode_event_batch(rows, SESSION))
    assert batch.session_id == SESSION
    assert [one.event for one in batch.events] == events
    assert [one.producer_event_id for one in batch.events] == [row[0] for row in rows]
    assert json.loads(encode_event_batch([], SESSION)) == {"sessionId": SESSION, "events": []}


def command_item(approval: ApprovalStatus | None) -> CommandExecutionItem:
    return CommandExecutionItem("i", "c", "/", ItemStatus.PENDING, approval)


@pytest.mark.parametrize(
    ("event", "urgent"),
    [
        (ThreadStarted(THREAD, ThreadScope()), False),
        (CommandOutputDelta(THREAD, TURN, "p", "i", "d"), False),
        (TurnCompleted(THREAD, TURN, None, "failed"), True),
        (SystemErrorEvent(THREAD, TURN, "m"), True),
        (ProviderErrorEvent(THREAD, TURN, "p", "m"), True),
        (ProviderErrorEvent(THREAD, TURN, "p", "m", will_retry=True), False),
        (ItemCompleted(THREAD, TURN, "p", AgentMessageItem("i", "t")), True),
        (ItemStarted(THREAD, TURN, "p", AgentMessageItem("i", "t")), False),
        (ItemStarted(THREAD, TURN, "p", command_item(None)), False),
        (ItemStarted(THREAD, TURN, "p", command_item(ApprovalStatus.WAITING)), True),
    ],
)
def test_urgent_events(event, urgent: bool):
    assert is_urgent(event) is urgent


# --- answers of a server --------------------------------------------------------------------


def test_a_stock_server_says_nothing_of_live_environments():
    """Absent means unknown, which is not the same as none."""
    data = {
        "sessionId": "s",
        "heartbeatIntervalMs": 5000,
        "leaseTimeoutMs": 30000,
        "trackedThreadTargets": [],
        "retiredEnvironmentIds": [],
    }
    stock = structure(SessionOpenResponse, data)
    assert stock.live_environment_ids is None
    assert stock.retired_environment_ids == ()
    assert unstructure(stock) == data
    newer = structure(SessionOpenResponse, {**data, "liveEnvironmentIds": [], "watchSet": {}})
    assert newer.live_environment_ids == ()
    del data["retiredEnvironmentIds"]
    assert structure(SessionOpenResponse, data).retired_environment_ids is None


def test_the_host_key_is_not_shown():
    answer = structure(EnrollResponse, {"hostId": "h", "hostKey": "bbdh_secret"})
    assert "secret" not in repr(answer)


def test_error_bodies():
    body = parse_error_body('{"code":"c","message":"m","retryable":false,"more":1}')
    assert body == ErrorBody("c", "m", retryable=False)
    for text in ("<html>", "", b"\xff", '{"code":1}', "null"):
        assert parse_error_body(text) is None


@pytest.mark.parametrize(
    ("status", "retryable", "expected"),
    [
        (404, None, False),
        (409, None, False),
        (503, None, True),
        (302, None, True),
        (503, False, False),
        (410, True, True),
    ],
)
def test_what_is_worth_another_try(status: int, retryable: bool | None, expected: bool):
    assert is_retryable(status, ErrorBody("c", "m", retryable)) is expected
    if retryable is None:
        assert is_retryable(status, None) is expected
