"""Commands that a daemon without captures and without Codex credentials answers at once."""

import re

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.contract.replay import ReplayManifest
from bbhost.errors import BbhostError

_CAPTURE_ID = re.compile(r"cap_[0-9a-z]+_[0-9a-z]{8}")


async def complete(command: c.CodexInferenceComplete) -> r.CodexCompletion:
    """``codex.inference.complete``: the server falls back to words of its own."""
    raise _no_codex()


async def transcribe(command: c.CodexVoiceTranscribe) -> r.CodexTranscript:
    """``codex.voice.transcribe``."""
    raise _no_codex()


def _no_codex() -> BbhostError:
    error = BbhostError(
        "bbhost has no credentials for the Codex service and does not call it itself; "
        "run codex as an agent instead",
        code="codex_auth_missing",
    )
    error.expected = True
    return error


async def list_captures(command: c.ReplayCaptureList) -> r.ReplayCaptureListResult:
    """``replay.capture_list``: there are none."""
    return r.ReplayCaptureListResult(())


async def get_capture(command: c.ReplayCaptureGet) -> ReplayManifest:
    """``replay.capture_get``."""
    raise _no_capture(command.capture_id)


async def delete_capture(command: c.ReplayCaptureDelete) -> r.EmptyResult:
    """``replay.capture_delete``."""
    raise _no_capture(command.capture_id)


async def run_capture(command: c.ReplayRun) -> r.EmptyResult:
    """``replay.run``."""
    raise _no_capture(command.capture_id)


def _no_capture(capture_id: str) -> BbhostError:
    if not _CAPTURE_ID.fullmatch(capture_id):
        return BbhostError(f"Not a capture id: {capture_id[:80]!r}", code="invalid_replay_capture")
    return BbhostError(f"No capture {capture_id}", code="replay_capture_not_found")
