"""Where the templates are: in the package when it is installed, in ``packaging/`` in a checkout."""

from importlib.resources import files
from pathlib import Path

from bbhost.daemon.service.plan import ServiceError

SYSTEMD = "systemd/bbhost.service.in"
LAUNCHD = "launchd/dev.bbhost.daemon.plist.in"


def read_template(name: str) -> str:
    """Return the text of a template.

    Raises:
        ServiceError: the installation is not complete.
    """
    checkout = Path(__file__).parents[4] / "packaging"
    for place in (files("bbhost") / "_packaging", checkout):
        try:
            return place.joinpath(*name.split("/")).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise ServiceError(f"the template {name} is missing; install bbhost again")
