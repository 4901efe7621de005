"""Small line charts as SVG, written by hand: no library, the same bytes for the same numbers."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 36, 40
TICKS = 4


def draw_series(name: str, values: Sequence[float], below: str) -> str:
    """Draw one series over its index.

    Args:
        name: what the values are, with their unit.
        values: at least two.
        below: what the index is.
    """
    top = max(*values, 0.0) * 1.05 or 1.0
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(index: int, value: float) -> tuple[float, float]:
        x = LEFT + across * index / (len(values) - 1)
        return round(x, 1), round(TOP + down * (1 - value / top), 1)

    points = " ".join(
        f"{x},{y}" for x, y in (place(index, value) for index, value in enumerate(values))
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(name)}</text>',
    ]
    for tick in range(TICKS + 1):
        value = top * tick / TICKS
        _, y = place(0, value)
        lines.append(
            f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
        )
    last = len(values)
    for index in sorted({1, last // 2, last}):
        x, _ = place(index - 1, 0)
        lines.append(f'<text x="{x}" y="{HEIGHT - 20}" text-anchor="middle">{index}</text>')
    lines += [
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(below)}</text>',
        f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>',
        "</g></svg>",
    ]
    return "\n".join(lines) + "\n"


def write_plots(series: dict[str, list[float]], directory: Path) -> list[Path]:
    """Draw every series that has at least two values."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, values in series.items():
        if len(values) > 1:
            path = directory / f"{name.replace(' ', '-')}.svg"
            below = "environments" if name in {"provision seconds", "memory MiB"} else "sample"
            path.write_text(draw_series(name, values, below))
            written.append(path)
    return written
