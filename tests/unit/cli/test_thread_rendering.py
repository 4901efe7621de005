"""Events of a thread become lines for people: as they come, once, and without raw JSON."""

from typing import Any

import pytest

from bbhost.cli.thread_events import OUTPUT_LINES, PENDING_CHARACTERS, Rendering


def shown(*events: dict[str, Any], **settings: bool) -> list[str]:
    """The lines of some events."""
    rendering = Rendering(**settings)
    return [line for event in events for line in rendering.lines(event)]


def delta(text: str, item: str = "m", kind: str = "agentMessage", **more: Any) -> dict[str, Any]:
    """A piece of an item."""
    return {
        "type": f"item/{kind}/{more.pop('name', 'delta')}",
        "itemId": item,
        "delta": text,
        **more,
    }


def output(text: str, **more: Any) -> dict[str, Any]:
    """A piece of what a command prints."""
    return delta(text, "c", "commandExecution", name="outputDelta", **more)


def message(text: str, item: str = "m") -> dict[str, Any]:
    """A message that is complete."""
    return {"type": "item/completed", "item": {"type": "agentMessage", "id": item, "text": text}}


def command(event: str = "completed", **more: Any) -> dict[str, Any]:
    """A command that begins or has ended."""
    item = {
        "type": "commandExecution",
        "id": "c",
        "command": "make",
        "status": "completed",
        **more,
    }
    return {"type": f"item/{event}", "item": item}


def test_a_message_is_shown_line_by_line_and_only_once() -> None:
    """Whole lines as they come; the completed item adds the rest, however the pieces lay."""
    text = "one\ntwo\r\n\nlast"
    for size in range(1, len(text) + 1):
        pieces = [delta(text[at : at + size]) for at in range(0, len(text), size)]
        assert shown(*pieces, message(text)) == ["one", "two", "", "last"]
    assert shown(delta("one\ntw")) == ["one"]
    assert shown(message(text)) == ["one", "two", "", "last"]
    assert shown(delta("a\n"), message("a\n"), delta("b\n", "n"), message("b\n", "n")) == [
        "a",
        "b",
    ]


def test_a_message_that_was_cut_is_not_repeated() -> None:
    """What is streamed may be more than what is kept of the item."""
    assert shown(delta("long line\nmore"), message("long")) == ["long line", "more"]
    endless = "x" * (PENDING_CHARACTERS + 1)
    assert shown(delta(endless)) == [endless]


def test_a_command_and_what_it_prints() -> None:
    """The command line first, its output as it comes, a failure at its end; of a flood, the beginning."""
    assert shown(
        command("started"), output("a\nb"), command(aggregatedOutput="a\nb", exitCode=2)
    ) == [
        "$ make",
        "| a",
        "| b",
        "| (exit code 2)",
    ]
    assert shown(output("50%"), output("done\n", reset=True)) == ["| done"]
    many = "".join(f"{n}\n" for n in range(OUTPUT_LINES + 5))
    lines = shown(command("started"), output(many), command(aggregatedOutput=many))
    assert lines[-2:] == [f"| {OUTPUT_LINES - 1}", "| (5 more lines)"]
    assert shown(command(status="interrupted")) == ["$ make", "| (interrupted)"]


def test_an_approval_is_told_where_nobody_is_asked() -> None:
    """At a prompt it is asked there; a refusal is told in any case."""
    waiting = command("started", approvalStatus="waiting_for_approval")
    assert shown(waiting, tells_questions=True) == ["? waits for an approval: make"]
    assert shown(waiting) == []
    assert shown(command(approvalStatus="denied"))[-1] == "| (denied)"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (
            {"type": "fileChange", "changes": [{"kind": "add", "path": "a"}]},
            "added a",
        ),
        (
            {
                "type": "fileChange",
                "changes": [
                    {
                        "kind": "update",
                        "path": "a",
                        "movePath": "b",
                        "diff": "--- a\n+++ b\n+x\n-y\n+z",
                    }
                ],
            },
            "changed a -> b (+2 -1)",
        ),
        (
            {
                "type": "toolCall",
                "server": "s",
                "tool": "t",
                "status": "failed",
                "error": {"message": "no"},
            },
            "tool s/t: failed: no",
        ),
        ({"type": "reasoning", "summary": ["hm"], "content": []}, "~ hm"),
        ({"type": "webSearch", "queries": ["a", "b"]}, "search a, b"),
    ],
)
def test_other_items(item: dict[str, Any], line: str) -> None:
    """Each has a line of its own."""
    assert shown({"type": "item/completed", "item": {"id": "i", **item}}) == [line]


def test_a_problem_is_told_once() -> None:
    """Neither retries nor the end of the turn repeat it."""
    error = {"type": "provider/error", "message": "no network"}
    end = {"type": "turn/completed", "status": "failed", "error": {"message": "no network"}}
    assert shown(error, error, end) == ["! no network", "--- failed"]
    assert shown(end) == ["--- failed: no network"]
    gone = {"type": "system/error", "message": "gone", "detail": "stderr:\nwhy"}
    assert shown(gone) == ["! gone", "| stderr:", "| why"]


def test_a_plan_is_shown_when_it_changes() -> None:
    """Its steps with their state."""
    plan = {
        "type": "turn/plan/updated",
        "plan": [{"step": "a", "status": "active"}, {"step": "b"}],
    }
    assert shown(plan, plan) == ["plan: [>] a", "plan: [ ] b"]


def test_what_is_unknown_is_no_fault() -> None:
    """An event or an item of a newer daemon is passed over."""
    assert (
        shown(
            {"type": "new/event"}, {"type": "item/completed", "item": {"id": "i", "type": "new"}}
        )
        == []
    )
