"""A scripted peer that behaves like ``codex app-server``. Run as a program; standard library only.

The text of a turn says what happens in it. Every message that comes in is appended to the file named
by ``FAKE_CODEX_LOG``, if there is one.
"""

import json
import os
import pathlib
import sys
import threading
import time

LOG = os.environ.get("FAKE_CODEX_LOG")
writing = threading.Lock()
answers: dict[int, "threading.Event"] = {}
results: dict[int, dict] = {}
interrupted = threading.Event()
steered: list[str] = []
state = {"turn": None, "number": 0, "request": 1000}


def send(message: dict) -> None:
    with writing:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def notify(method: str, **params: object) -> None:
    send({"method": method, "params": params})


def ask(method: str, **params: object) -> dict:
    """A request to the client; waits for its answer."""
    state["request"] += 1
    number = state["request"]
    answers[number] = threading.Event()
    send({"id": number, "method": method, "params": params})
    while not answers[number].wait(0.02):
        if interrupted.is_set():
            return {"decision": "interrupted"}
    return results[number]


def message(turn: str, text: str, item: str = "msg_1") -> None:
    base = {"threadId": "thr_1", "turnId": turn}
    notify("item/started", item={"type": "agentMessage", "id": item, "text": ""}, **base)
    notify("item/agentMessage/delta", itemId=item, delta=text, **base)
    notify("item/completed", item={"type": "agentMessage", "id": item, "text": text}, **base)


def command(turn: str, status: str, **more: object) -> dict:
    return {
        "type": "commandExecution",
        "id": "cmd_1",
        "command": "make test",
        "cwd": "/tmp",
        "status": status,
        "commandActions": [],
        **more,
    }


def run_turn(turn: str, text: str) -> None:
    base = {"threadId": "thr_1", "turnId": turn}
    status, error = "completed", None
    user = {"type": "userMessage", "id": "u", "content": []}
    notify("item/started", item=user, **base)
    word, _, rest = text.partition(" ")
    if word == "say":
        message(turn, rest)
    elif word == "approve":
        notify("item/started", item=command(turn, "inProgress"), **base)
        answer = ask(
            "item/commandExecution/requestApproval",
            itemId="cmd_1",
            command="make test",
            cwd="/tmp",
            reason="needs the network",
            **base,
        )
        decision = answer.get("decision")
        if decision in {"interrupted", "cancel"}:
            status = "interrupted"
        else:
            done = "completed" if decision in {"accept", "acceptForSession"} else "declined"
            item = command(turn, done, aggregatedOutput="ok\n", exitCode=0, durationMs=5)
            notify("item/completed", item=item, **base)
            message(turn, f"decision {decision}")
    elif word == "tool":
        answer = ask(
            "item/tool/call",
            callId="call_1",
            tool="message_user",
            arguments={"text": rest},
            **base,
        )
        message(turn, json.dumps(answer))
    elif word == "wait":
        message(turn, "waiting")
        while not interrupted.wait(0.02):
            if steered:
                message(turn, "steered: " + steered.pop(0), "msg_2")
                break
        else:
            status = "interrupted"
    elif word == "deaf":
        message(turn, "not listening")
        time.sleep(3600)
    elif word == "crash":
        message(turn, "about to crash")
        sys.stderr.write("x" * 5000 + f"panic: {os.environ.get('SOME_API_KEY', '')} the end\n")
        sys.stderr.flush()
        os._exit(3)
    elif word == "flood":
        chunk = "f" * 65_000
        notify("item/started", item={"type": "agentMessage", "id": "msg_1", "text": ""}, **base)
        for _ in range(int(rest) * 1024 * 1024 // len(chunk)):
            notify("item/agentMessage/delta", itemId="msg_1", delta=chunk, **base)
        item = {"type": "agentMessage", "id": "msg_1", "text": chunk}
        notify("item/completed", item=item, **base)
    elif word == "garbage":
        with writing:
            sys.stdout.write('{"not json\n[1,2]\n\n"text"\n')
            sys.stdout.write("y" * (17 * 1024 * 1024) + "\n")
            sys.stdout.flush()
        notify("something/new", threadId="thr_1", turnId=turn, detail={"a": 1})
        message(turn, "still here")
    elif word == "fail":
        status, error = "failed", {"message": "out of luck"}
        notify(
            "error",
            error={"message": "out of luck", "codexErrorInfo": "usageLimitExceeded"},
            willRetry=False,
            **base,
        )
    elif word == "spawn":
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(3600)
        message(turn, str(pid))
        time.sleep(3600)
    usage = {
        "totalTokens": 10,
        "inputTokens": 6,
        "cachedInputTokens": 1,
        "outputTokens": 4,
        "reasoningOutputTokens": 0,
    }
    tokens = {"total": usage, "last": usage, "modelContextWindow": 1000}
    notify("thread/tokenUsage/updated", tokenUsage=tokens, **base)
    state["turn"] = None
    notify("turn/completed", threadId="thr_1", turn={"id": turn, "status": status, "error": error})


def handle(request: dict) -> None:
    method, params, number = request.get("method"), request.get("params") or {}, request.get("id")
    if method is None:
        results[number] = request.get("result") or {"error": request.get("error")}
        if number in answers:
            answers[number].set()
        return
    if number is None:
        return
    result: dict = {}
    if method in {"thread/start", "thread/resume"}:
        if os.environ.get("FAKE_CODEX_SILENT"):
            return
        thread = params.get("threadId", "thr_1")
        send({"id": number, "result": {"thread": {"id": thread}}})
        notify("thread/started", thread={"id": thread})
        return
    if method == "turn/start":
        state["number"] += 1
        turn = f"turn_{os.getpid()}_{state['number']}"
        state["turn"] = turn
        interrupted.clear()
        steered.clear()
        text = params["input"][0].get("text", "")
        send({"id": number, "result": {"turn": {"id": turn, "status": "inProgress"}}})
        notify("turn/started", threadId="thr_1", turn={"id": turn, "status": "inProgress"})
        threading.Thread(target=run_turn, args=(turn, text), daemon=True).start()
        return
    if method == "turn/steer":
        if params["expectedTurnId"] != state["turn"]:
            send({"id": number, "error": {"code": -32600, "message": "no such turn"}})
            return
        steered.append(params["input"][0]["text"])
        result = {"turnId": state["turn"]}
    if method == "turn/interrupt":
        interrupted.set()
    if method == "model/list":
        result = {
            "data": [
                {
                    "id": "m1",
                    "model": "m1",
                    "displayName": "Model One",
                    "description": "d",
                    "isDefault": True,
                    "supportedReasoningEfforts": [
                        {"reasoningEffort": "minimal", "description": "x"},
                        {"reasoningEffort": "high", "description": "y"},
                    ],
                    "defaultReasoningEffort": "high",
                }
            ]
        }
    send({"id": number, "result": result})
    if method == "thread/name/set":
        notify("thread/name/updated", threadId="thr_1", threadName=params["name"])


def main() -> None:
    for line in sys.stdin:
        if LOG:
            with pathlib.Path(LOG).open("a") as log:
                log.write(line)
        handle(json.loads(line))


if __name__ == "__main__":
    main()
