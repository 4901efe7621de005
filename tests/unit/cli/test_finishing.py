"""How a command ends: what it prints last, and its exit code."""

import json
from pathlib import Path

import pytest
import typer

from bbhost.cli.commanding import Answer, Cli, finish
from bbhost.cli.outcomes import ExitCode
from bbhost.cli.place import Place


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_is_an_outcome(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read what happened; people see their own ^C."""

    async def body(_cli: Cli) -> Answer | None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        finish(body, Cli(Place(None, None, Path("/nowhere")), as_json), {})
    assert ended.value.exit_code == ExitCode.INTERRUPTED
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed)["outcome"] == "interrupted"
    else:
        assert printed == ""
