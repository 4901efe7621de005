"""What an agent may ask a person, and what the answers are (section 12.7)."""

from typing import Annotated, Any, ClassVar, Literal

from bbhost.contract.fields import AT_LEAST_ONE, FreeText, NonBlank, count_between
from bbhost.contract.wire import absent, declare_choice, require
from bbhost.contract.wire_class import wire_class

MAX_QUESTIONS = 4
MAX_OPTIONS = 4

Decision = Literal["allow_once", "allow_for_session", "deny"]


# --- grants ---------------------------------------------------------------------------------


@wire_class
class NetworkGrant:
    """Access to the network."""

    enabled: bool | None


@wire_class
class FileSystemGrant:
    """Access to paths."""

    read: tuple[str, ...]
    write: tuple[str, ...]


@wire_class
class Grant:
    """Permissions beyond the mode of the thread."""

    STRICT: ClassVar[bool] = True
    network: NetworkGrant | None
    file_system: FileSystemGrant | None


# --- approvals ------------------------------------------------------------------------------


@wire_class
class ReadAction:
    """The command reads a file."""

    TYPE: ClassVar[str] = "read"
    command: str
    name: str
    path: str


@wire_class
class ListFilesAction:
    """The command lists files."""

    TYPE: ClassVar[str] = "listFiles"
    command: str
    path: str | None


@wire_class
class SearchAction:
    """The command searches files."""

    TYPE: ClassVar[str] = "search"
    command: str
    query: str | None
    path: str | None


@wire_class
class UnknownAction:
    """The command does something else."""

    TYPE: ClassVar[str] = "unknown"
    command: str


CommandAction = ReadAction | ListFilesAction | SearchAction | UnknownAction


@wire_class
class CommandSubject:
    """The agent wants to run a command."""

    KIND: ClassVar[str] = "command"
    item_id: str
    command: str
    cwd: str | None
    actions: tuple[CommandAction, ...]
    session_grant: Grant | None


@wire_class
class FileChangeSubject:
    """The agent wants to change files."""

    KIND: ClassVar[str] = "file_change"
    item_id: str
    write_scope: str | None
    session_grant: Grant | None


@wire_class
class PermissionGrantSubject:
    """The agent wants permissions."""

    KIND: ClassVar[str] = "permission_grant"
    item_id: str
    tool_name: str | None
    permissions: Grant


ApprovalSubject = CommandSubject | FileChangeSubject | PermissionGrantSubject


@wire_class
class Approval:
    """A question that is answered with a decision."""

    KIND: ClassVar[str] = "approval"
    subject: ApprovalSubject
    reason: str | None
    available_decisions: Annotated[tuple[Decision, ...], AT_LEAST_ONE]


# --- questions ------------------------------------------------------------------------------


@wire_class
class QuestionOption:
    """One answer to choose."""

    value: NonBlank
    label: NonBlank
    description: NonBlank | None = absent()


@wire_class
class Question:
    """One question; it can be answered by choosing, by writing, or by both."""

    id: NonBlank
    prompt: NonBlank
    multi_select: bool
    allow_free_text: bool
    short_label: NonBlank | None = absent()
    options: Annotated[tuple[QuestionOption, ...], count_between(0, MAX_OPTIONS)] | None = absent()

    def __attrs_post_init__(self) -> None:
        values = [option.value for option in self.options or ()]
        require(len(set(values)) == len(values), "option values must differ")
        require(self.allow_free_text or bool(values), "needs an option or free text")


@wire_class
class UserQuestion:
    """One to four questions, asked together."""

    KIND: ClassVar[str] = "user_question"
    questions: Annotated[tuple[Question, ...], count_between(1, MAX_QUESTIONS)]

    def __attrs_post_init__(self) -> None:
        ids = [question.id for question in self.questions]
        require(len(set(ids)) == len(ids), "question ids must differ")


InteractionPayload = Approval | UserQuestion


# --- resolutions ----------------------------------------------------------------------------


@wire_class
class Allowed:
    """Yes, once or for the session."""

    decision: Literal["allow_once", "allow_for_session"]
    granted_permissions: Grant | None


@wire_class
class Denied:
    """No."""

    DECISION: ClassVar[str] = "deny"


@wire_class
class Answer:
    """The answer to one question."""

    selected: Annotated[tuple[str, ...], count_between(0, MAX_OPTIONS)]
    free_text: FreeText | None = absent()


@wire_class
class UserAnswer:
    """The answers to a user question, by question id."""

    KIND: ClassVar[str] = "user_answer"
    answers: dict[str, Answer]


Resolution = Allowed | Denied | UserAnswer


def _choose_resolution(value: dict[str, Any]) -> Any:  # noqa: ANN401 - a class or a union
    return UserAnswer if "kind" in value else Allowed | Denied


declare_choice((Allowed, Denied, UserAnswer), _choose_resolution)
