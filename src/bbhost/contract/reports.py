"""Making and checking what is posted, where the checks need the table of commands.

A server checks a success as one opaque predicate and its refusal is final, so what is wrong with a
result has to be found here, before it is written down.
"""

from collections.abc import Iterable

from bbhost.contract.codec import dump_json, structure, unstructure
from bbhost.contract.session import CommandFailure, CommandReport, CommandSuccess, ReportPost
from bbhost.contract.table import COMMANDS, UNKNOWN_COMMAND
from bbhost.domain.ids import CommandId, SessionId
from bbhost.errors import WireError


def report_success(
    command_id: CommandId, command_type: str, result: object, completed_at: int
) -> CommandSuccess:
    """Make the report of a command that was done.

    Args:
        command_id: the id of its envelope.
        command_type: a type of the table.
        result: a value of the result class that the table gives for the type.
        completed_at: milliseconds since the epoch.

    Raises:
        WireError: a server would refuse this result; code ``command_failed``.
    """
    expected = COMMANDS[command_type].result
    if type(result) is not expected:
        raise WireError(
            f"{command_type} is answered with {expected.__name__}, not {type(result).__name__}",
            code="command_failed",
        )
    data = unstructure(result)
    try:
        structure(expected, data)
    except WireError as error:
        message = f"result of {command_type}: {error.message}"
        raise WireError(message, path=error.path, code="command_failed") from None
    return CommandSuccess(command_id, command_type, completed_at, data)


def report_failure(
    command_id: CommandId, command_type: str, code: str, message: str, completed_at: int
) -> CommandFailure:
    """Make the report of a command that was not done; any message and any code will do."""
    return CommandFailure(
        command_id, command_type, completed_at, code or "command_failed", message
    )


def encode_report_post(report_json: str, session_id: SessionId) -> str:
    """Put a session id into a report that was written earlier, without reading it again.

    Args:
        report_json: what ``encode_json`` made of a report.
        session_id: the session that is current now.
    """
    return _with_session(report_json, session_id)


def encode_event_batch(rows: Iterable[tuple[str, str, str]], session_id: SessionId) -> str:
    """Write an event batch from events that were written earlier, without reading them again.

    Args:
        rows: producer event id, thread id and the event as JSON text, in order.
        session_id: the session that is current now.
    """
    events = ",".join(
        [
            f'{{"producerEventId":{dump_json(event_id)},"threadId":{dump_json(thread_id)},'
            f'"event":{event_json}}}'
            for event_id, thread_id, event_json in rows
        ]
    )
    return f'{{"sessionId":{dump_json(session_id)},"events":[{events}]}}'


def _with_session(object_json: str, session_id: SessionId) -> str:
    return f'{{"sessionId":{dump_json(session_id)},{object_json[1:]}'


def parse_report_post(data: object) -> ReportPost:
    """Read a posted report as strictly as the stock server.

    Raises:
        WireError: code ``invalid_request``.
    """
    try:
        post = structure(ReportPost, data)
        _check_report(post.report)
    except WireError as error:
        error.code = "invalid_request"
        raise
    return post


def _check_report(report: CommandReport) -> None:
    spec = COMMANDS.get(report.type)
    if isinstance(report, CommandSuccess):
        if spec is None:
            raise WireError(f"unknown command {report.type[:80]!r} cannot have succeeded")
        structure(spec.result, report.result)
    elif spec is None and report.error_code != UNKNOWN_COMMAND:
        raise WireError(f"an unknown command can only fail with {UNKNOWN_COMMAND}")
