"""Arguments that several commands take."""

from typing import Annotated

import typer

Named = Annotated[
    str, typer.Argument(metavar="ENV", help="Id, beginning of an id, or name of an environment.")
]
