"""The contract's classes compare, hash and show themselves by their fields, with shared methods."""

import copy
import pickle

import attrs
import pytest

from bbhost.contract.messages import CommandsAvailable, Heartbeat
from bbhost.contract.session import EnrollResponse, EnvironmentChange, EnvironmentChangePost
from bbhost.domain.ids import EnvironmentId, SessionId


def make_post(environment: str = "env_1") -> EnvironmentChangePost:
    return EnvironmentChangePost(
        SessionId("hses_1"), EnvironmentId(environment), EnvironmentChange.GIT_REFS
    )


def test_equal_fields_are_equal_and_hash_alike() -> None:
    assert make_post() == make_post()
    assert make_post() != make_post("env_2")
    assert len({make_post(), make_post(), make_post("env_2")}) == 2


def test_another_class_is_different_whatever_its_fields() -> None:
    assert Heartbeat() != CommandsAvailable()
    assert make_post() != "env_1"
    assert Heartbeat() == Heartbeat()


def test_it_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        make_post().environment_id = EnvironmentId("env_2")  # type: ignore[misc]


def test_copies_and_pickles_are_equal() -> None:
    post = make_post()
    assert copy.copy(post) == copy.deepcopy(post) == pickle.loads(pickle.dumps(post)) == post


def test_it_shows_its_fields_but_no_secret() -> None:
    assert repr(make_post()).startswith("EnvironmentChangePost(session_id='hses_1', ")
    secret = next(field for field in attrs.fields(EnrollResponse) if field.name == "host_key")
    assert not secret.repr
    values = {field.name: "x" for field in attrs.fields(EnrollResponse)}
    shown = repr(EnrollResponse(**{**values, "host_key": "bbdhk_secret"}))
    assert "EnrollResponse(" in shown
    assert "bbdhk_secret" not in shown
