"""Environment records keep every field, and a record that is not understood is not guessed at."""

import json

import pytest

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import (
    AttachSpec,
    ExistingBranchCheckout,
    ManagedWorktreeSpec,
    NewBranchCheckout,
    PersonalSpec,
    UnmanagedSpec,
    WorkspaceKind,
    WorkspaceSpec,
)
from bbhost.errors import JournalError
from bbhost.journal.records import decode_environment, encode_environment


def record(spec: WorkspaceSpec) -> EnvironmentRecord:
    return EnvironmentRecord(
        environment_id=EnvironmentId("env_1"),
        incarnation=Incarnation(3),
        state=EnvironmentState.DESTROYING,
        spec=spec,
        changed_at=1_795_404_877_139,
        cause=TeardownCause.RETIRE,
        created_workspace=True,
        files_remain=True,
        detail="déjà vu\n",
    )


@pytest.mark.parametrize(
    "spec",
    [
        UnmanagedSpec("/w"),
        UnmanagedSpec("/w", ExistingBranchCheckout("main")),
        UnmanagedSpec("/w", NewBranchCheckout("topic", "main")),
        ManagedWorktreeSpec("/repo", "/data/w", "bb/x", None, 900_000),
        PersonalSpec("/data/p"),
        AttachSpec("/w", WorkspaceKind.PERSONAL),
    ],
)
def test_a_record_survives_the_journal(spec: WorkspaceSpec) -> None:
    assert decode_environment(encode_environment(record(spec))) == record(spec)


def test_a_record_of_an_older_version_is_upgraded() -> None:
    document = json.loads(encode_environment(record(PersonalSpec("/p"))))
    document["environment"]["note"] = document["environment"].pop("detail")

    def rename_note(fields: dict) -> dict:
        return {**{k: v for k, v in fields.items() if k != "note"}, "detail": fields["note"]}

    upgraded = decode_environment(json.dumps(document), upgrades={1: rename_note}, newest=2)

    assert upgraded == record(PersonalSpec("/p"))


def test_a_field_added_later_takes_its_default() -> None:
    document = json.loads(encode_environment(record(PersonalSpec("/p"))))
    del document["environment"]["detail"]
    assert decode_environment(json.dumps(document)).detail == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 99}, "install the newer bbhost"),
        ({"environment": {}}, "cannot be read"),
        ({"version": "x"}, "cannot be read"),
    ],
)
def test_a_record_that_is_not_understood_is_refused(change: dict, words: str) -> None:
    document = json.loads(encode_environment(record(PersonalSpec("/p"))))
    with pytest.raises(JournalError, match=words):
        decode_environment(json.dumps({**document, **change}))


def test_an_unknown_field_is_refused() -> None:
    document = json.loads(encode_environment(record(PersonalSpec("/p"))))
    document["environment"]["keepFiles"] = True
    with pytest.raises(JournalError, match="cannot be read"):
        decode_environment(json.dumps(document))
