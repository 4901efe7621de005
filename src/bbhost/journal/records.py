"""Environment records as versioned JSON. The journal's only use of cattrs.

A record is ``{"version": n, "environment": {...}}``. A field that a later version adds gets a
default in the class; a change of meaning gets a new version and an entry in :data:`UPGRADES`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import cattrs
from cattrs.strategies import configure_tagged_union

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.workspace import Checkout, WorkspaceSpec
from bbhost.errors import JournalError

RECORD_VERSION = 1

UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version of an older record -> how its fields become those of the next version."""


def _make_converter() -> cattrs.Converter:
    # Unknown keys are refused: a record is ours, and one we do not fully understand is not safe to
    # act upon (it may say that files are to be kept).
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    # Unions are no classes to the type checkers, hence Any.
    checkout: Any = Checkout
    optional: Any = Checkout | None
    configure_tagged_union(checkout, converter, tag_name="type")
    converter.register_structure_hook(
        optional, lambda data, _: None if data is None else converter.structure(data, checkout)
    )
    converter.register_unstructure_hook(
        optional, lambda value: None if value is None else converter.unstructure(value, checkout)
    )
    configure_tagged_union(WorkspaceSpec, converter, tag_name="type")
    return converter


_converter = _make_converter()


def encode_environment(record: EnvironmentRecord) -> str:
    """The text that is stored for ``record``."""
    fields = _converter.unstructure(record, EnvironmentRecord)
    document = {"version": RECORD_VERSION, "environment": fields}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def decode_environment(
    text: str,
    *,
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = UPGRADES,
    newest: int = RECORD_VERSION,
) -> EnvironmentRecord:
    """The record that was stored as ``text``, brought up to date.

    Raises:
        JournalError: the record is damaged or newer than this program.
    """
    try:
        document = json.loads(text)
        version = int(document["version"])
        fields = document["environment"]
        if version > newest:
            raise JournalError(
                f"environment record of version {version}, this bbhost knows {newest}: "
                "install the newer bbhost again"
            )
        for step in range(version, newest):
            fields = upgrades[step](fields)
        return _converter.structure(fields, EnvironmentRecord)
    except JournalError:
        raise
    except Exception as error:
        raise JournalError(
            f"environment record cannot be read ({error!r}): {text[:200]!r}"
        ) from error
