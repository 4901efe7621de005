"""What to tell a person whose agent wants a login first. Pure.

A login is between the person and the agent's own program; the daemon neither starts nor sees one.
"""

from bbhost.agents.raw import Json, as_list, as_map, as_text

AUTH_REQUIRED = -32000
"""Code with which agents refuse a session that needs a login."""
_SHOWN_METHODS = 5


def login_hint(hello: Json) -> str:
    """How to log in, from the answer to ``initialize``: the agent's own words for its methods."""
    methods = [_method(as_map(one)) for one in as_list(hello.get("authMethods"))]
    shown = "; ".join([one for one in methods if one][:_SHOWN_METHODS])
    return "log in with its own program first" + (f": {shown}" if shown else "")


def _method(raw: Json) -> str:
    name, description = as_text(raw.get("name")), as_text(raw.get("description"))
    return f"{name} ({description})" if name and description else name or description
