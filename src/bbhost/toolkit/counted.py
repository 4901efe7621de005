"""Numbers in sentences."""


def counted(count: int, one: str, many: str) -> str:
    """``1 file is kept``, ``2 files are kept``."""
    return f"{count} {one if count == 1 else many}"
