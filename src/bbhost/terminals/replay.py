"""Showing again what a terminal wrote, without what would make the emulator answer. Pure."""

from collections.abc import Iterator, Sequence

from bbhost.contract.messages import TerminalChunk
from bbhost.terminals.queries import find_queries

STEP_BYTES = 16 * 1024
"""Bytes looked at per step: about a millisecond for text full of colours, 4 where it is nothing else."""


def replay_steps(chunks: Sequence[TerminalChunk]) -> Iterator[list[TerminalChunk]]:
    """Yield the chunks without queries, a few at a time, so that the caller can give way between.

    Numbers stay as they are. A query that is spread over several chunks is cut from each; a chunk of
    which nothing is left is left out. The end of the last chunk is kept even where it breaks off in
    a sequence: the output that follows live completes it.
    """
    text = b"".join([chunk.data for chunk in chunks])
    remaining = iter(chunks)
    chunk_start = 0
    spans: list[tuple[int, int]] = []
    chunk = next(remaining, None)
    for start in range(0, len(text), STEP_BYTES):
        end = min(start + STEP_BYTES, len(text))
        begin = max(start, spans[-1][1]) if spans else start
        if begin < end:
            spans.extend(find_queries(text, begin, end))
        ready: list[TerminalChunk] = []
        # What begins later cannot reach back, so chunks up to here are decided.
        while chunk is not None and chunk_start + len(chunk.data) <= end:
            kept = _without(text, chunk, chunk_start, spans)
            if kept is not None:
                ready.append(kept)
            chunk_start += len(chunk.data)
            chunk = next(remaining, None)
        spans = [span for span in spans if span[1] > chunk_start]
        yield ready


def replay_chunks(chunks: Sequence[TerminalChunk]) -> list[TerminalChunk]:
    """All chunks of :func:`replay_steps`."""
    return [chunk for step in replay_steps(chunks) for chunk in step]


def _without(
    text: bytes, chunk: TerminalChunk, start: int, spans: Sequence[tuple[int, int]]
) -> TerminalChunk | None:
    end = start + len(chunk.data)
    touching = [span for span in spans if span[0] < end and span[1] > start]
    if not touching:
        return chunk
    pieces = []
    position = start
    for first, last in touching:
        pieces.append(text[position : max(first, position)])
        position = max(position, min(last, end))
    pieces.append(text[position:end])
    data = b"".join(pieces)
    return TerminalChunk(chunk.seq, data) if data else None
