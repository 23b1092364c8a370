"""The promise of every program: a mistake is one line and status 2, and nothing is written."""

import contextlib
import hashlib
import pathlib
import re

import pytest

from transfer_keras.config import UserError

# Lines that TensorFlow's libraries write when they are imported, whatever the program is.
TENSORFLOWS = re.compile(r"[IWEF]0000 00:00:\d|WARNING: All log messages before absl::Init")


def tree(*paths):
    """Takes down all that is in folders: names, links, and files' sizes, times and digests."""
    found = {}
    for root in map(pathlib.Path, paths):
        for path in (root, *root.rglob("*")):
            facts = path.lstat()
            if path.is_symlink():
                found[path] = ("link", str(path.readlink()))
            elif path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[path] = ("file", facts.st_size, facts.st_mtime_ns, digest)
            else:
                found[path] = ("folder or other", facts.st_mode)
    return found


def refused(run, folder, *words, others=()):
    """Runs a program that has to refuse what it is given, and checks that it does so rightly.

    Args:
        run: called without arguments; gives what `subprocess.run` gives.
        folder: an existing one; nothing in it may be new, changed or gone afterwards.
        words: regular expressions, each found in the one line.
        others: more folders and files of which the same is expected.

    Returns:
        The line.

    Example:
        refused(lambda: train("--n=8"), program.folder, r"--n=8: alexnet_mini has 8 units")
    """
    before = tree(folder, *others)
    done = run()
    assert "Traceback" not in done.stderr + (done.stdout or ""), done.stderr
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not TENSORFLOWS.match(line)]
    return _check(lines, words, before, tree(folder, *others))


@contextlib.contextmanager
def refuses(folder, *words, others=()):
    """Checks the same of a block of code in this process: it has to raise a `UserError`.

    Example:
        with refuses(tmp_path, r"--steps=0: must be positive"):
            make_experiment(["A3B"], steps=0)
    """
    before = tree(folder, *others)
    with pytest.raises(UserError) as caught:
        yield
    _check(str(caught.value).splitlines(), words, before, tree(folder, *others))


def _check(lines, words, before, after):
    assert len(lines) == 1, lines
    for word in words:
        assert re.search(word, lines[0]), (word, lines[0])
    changed = {path for path, facts in before.items() if after.get(path, facts) != facts}
    assert not changed, f"changed: {sorted(map(str, changed))}"
    assert not (gone := before.keys() - after.keys()), f"gone: {sorted(map(str, gone))}"
    assert not (new := after.keys() - before.keys()), f"new: {sorted(map(str, new))}"
    return lines[0]
