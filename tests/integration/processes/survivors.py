"""Programs that try to outlive their environment: name -> Bash or Python text.

Each gets the test's token as ``$1`` (or ``sys.argv[1]``), says ``ready`` on stdout once what shall survive
is running, and what it leaves behind has the token among its arguments.
"""

BASH = {
    "setsid_nohup": """
        setsid nohup bash -c 'trap "" HUP; echo ready $$; exec sleep 300; : '"$1" "$1" &
        wait""",
    "double_fork": """
        (bash -c 'echo ready $$; sleep 300; :' "$1" &) &
        wait; sleep 300""",
    "gnu_timeout": """
        timeout 300 bash -c 'echo ready $$; sleep 300; :' "$1" &
        wait""",
    "leader_gone": """
        setsid bash -c 'echo ready $$; sleep 300; :' "$1" &
        exit 0""",
    "stopped": """
        bash -c 'echo ready $$; kill -STOP $$; sleep 300' "$1" &
        wait""",
    "ignores_term": """
        setsid bash -c 'trap "" TERM HUP INT; echo ready $$; while :; do sleep 1; done' "$1" &
        exit 0""",
    "cleared_environment": """
        setsid env -i PATH="$PATH" bash -c 'setsid bash -c "echo ready \\$\\$; sleep 300; :" "$1" & exit 0' x "$1" &
        exit 0""",
    "job_control": """
        set -m
        bash -c 'sleep 300; :' "$1" &
        bash -c 'echo ready $$; sleep 300; :' "$1" &
        fg""",
    "stopped_orphan_that_ignores_term": """
        setsid env -i PATH="$PATH" bash -c 'trap "" TERM; echo ready $$; kill -STOP $$; sleep 300' "$1" &
        exit 0""",
    "respawner_in_bash": """
        hop='setsid bash -c "$0" "$0" "$1" & exit 0'
        bash -c "$hop" "$hop" "$1" &
        echo ready
        exit 0""",
}

PYTHON = {
    # Each copy forks its successor and goes at once, in a new session each time.
    "respawner": """
import os, sys
if os.fork():
    os.write(1, b"ready\\n"); os._exit(0)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
""",
    "respawner_without_environment": """
import os, sys
if len(sys.argv) == 2:
    if os.fork():
        os.write(1, b"ready\\n"); os._exit(0)
    os.execve(sys.executable, [sys.executable, "-I", "-S", *sys.argv, "again"], {})
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
""",
    # Restarts each of its workers as soon as one dies.
    "supervisor": """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
workers = 0
while True:
    workers += 1
    if not os.fork():
        os.setsid()
        if workers == 8: os.write(1, b"ready\\n")
        signal.pause()
        os._exit(0)
    if workers >= 8:
        os.wait()
""",
    "overwritten_environment_block": """
import ctypes, os, sys
libc = ctypes.CDLL(None)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
fields = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
start, end = int(fields[47]), int(fields[48])
ctypes.memset(start, 0, end - start)
assert b"BBHOST" not in open("/proc/self/environ", "rb").read()
os.write(1, b"ready\\n")
libc.pause()
""",
    "server": """
import os, socket, sys
if os.fork():
    os._exit(0)
os.setsid()
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
os.write(1, b"ready %d\\n" % server.getsockname()[1])
while True:
    server.accept()
""",
    "many": """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for n in range(40):
    if not os.fork():
        if n % 2: os.setsid()
        if n % 3 == 0 and os.fork(): os._exit(0)
        if n == 39: os.write(1, b"ready\\n")
        signal.pause()
os._exit(0)
""",
    "first_thread_gone": """
import ctypes, os, sys, threading, time
if os.fork(): os._exit(0)
os.setsid()
def stay():
    os.write(1, b"ready\\n")
    time.sleep(300)
threading.Thread(target=stay).start()
ctypes.CDLL(None).syscall(60, 0)
""",
}


def survivor_argv(name: str, python: str, token: str) -> list[str]:
    """Return the argv of a survivor."""
    if name in BASH:
        return ["bash", "-c", BASH[name], "bash", token]
    # -I and -S: a start of 10 ms, and nothing of the test's environment in it.
    return [python, "-I", "-S", "-c", PYTHON[name], token]


NAMES = [*BASH, *PYTHON]
