"""What the server has said it wants, as far as attaching depends on it."""

from attrs import define, field

from bbhost.domain.ids import EnvironmentId


@define(eq=False)
class SessionKnowledge:
    """What the last session-open said about who is wanted. None means: it did not say."""

    live: frozenset[EnvironmentId] | None = None
    retired: frozenset[EnvironmentId] = field(factory=frozenset)

    def excludes(self, environment_id: EnvironmentId) -> bool:
        """Whether the server has said that it does not want this id."""
        if environment_id in self.retired:
            return True
        return self.live is not None and environment_id not in self.live
