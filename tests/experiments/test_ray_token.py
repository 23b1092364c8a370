"""Who may read the token of Ray."""

import os
import stat

import pytest
from support.refusals import refuses

from transfer_keras.experiments.ray_token import protect_token


@pytest.fixture
def token(tmp_path, monkeypatch):
    """Gives the path of the token in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_its_owners(token):
    before = os.umask(0)
    try:
        protect_token(make=True)
    finally:
        os.umask(before)
    assert (rights(token), rights(token.parent)) == (0o600, 0o700)
    first = token.read_text()
    assert len(first) == 64
    protect_token(make=True)
    assert token.read_text() == first


def test_a_token_that_all_could_read(token):
    token.parent.mkdir()
    token.write_text("old")
    token.chmod(0o644)
    protect_token(make=False)
    assert (rights(token), token.read_text()) == (0o600, "old")


def test_none_is_made_for_a_cluster_elsewhere(token):
    protect_token(make=False)
    assert not token.parent.exists()


def test_a_link_is_not_followed(token, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "mine.txt").chmod(0o644)
    token.parent.mkdir()
    token.symlink_to(tmp_path / "mine.txt")
    with refuses(tmp_path, r"auth_token is a link\. Expected a file with Ray's token; remove it"):
        protect_token(make=True)
