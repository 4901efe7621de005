"""Pictures of the machines, made from the running classes. Text only; ``cli/diagrams.py`` writes it.

Each machine gets a mermaid drawing with its transition table, and a graphviz source.
"""

from statemachine.contrib.diagram import formatter

from bbhost.lifecycle.base import Machine
from bbhost.lifecycle.machines import MACHINES

_README_HEAD = """# State diagrams

Generated from the classes in `src/bbhost/lifecycle/` by `bbhost diagrams render`. Do not edit: change
the class, render, and review the difference here. `bbhost diagrams check` fails when they are stale.
"""


def render_diagrams() -> dict[str, str]:
    """Return the text of every generated file by file name."""
    files = {}
    index = [_README_HEAD]
    for name, machine in MACHINES.items():
        section = _section(name, machine)
        files[f"{name}.md"] = section
        files[f"{name}.dot"] = _dot(name, machine)
        index.append(section)
    files["README.md"] = "\n".join(index)
    return files


def _section(name: str, machine: type[Machine]) -> str:
    summary = (machine.__doc__ or "").strip().splitlines()[0]
    drawing = formatter.render(machine, "mermaid").strip()
    table = formatter.render(machine, "md").strip()
    return f"## {name}\n\n{summary}\n\n```mermaid\n{drawing}\n```\n\n{table}\n"


def _dot(name: str, machine: type[Machine]) -> str:
    lines = [
        f'digraph "{name}" {{',
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
    ]
    lines.append('  edge [fontname="sans-serif", fontsize=10];')
    lines.append('  start [shape=point, label=""];')
    for state in machine.states:
        peripheries = 2 if state.final else 1
        lines.append(f'  "{state.id}" [peripheries={peripheries}];')
        if state.initial:
            lines.append(f'  start -> "{state.id}";')
    for state in machine.states:
        for transition in state.transitions:
            guards = " and ".join(str(guard) for guard in transition.cond)
            label = f"{transition.event}" + (f" [{guards}]" if guards else "")
            lines.extend(
                f'  "{state.id}" -> "{target.id}" [label="{label}"];'
                for target in transition.targets
            )
    return "\n".join([*lines, "}"]) + "\n"
