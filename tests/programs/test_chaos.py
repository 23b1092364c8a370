"""Kills, damage, a disk that fills and two processes at once, all on one small experiment.

In the end its rows, predictions and weights are those of an undisturbed run, bit for bit; on the
way there a program may refuse to go on, by one line that names the file.
"""

import concurrent.futures
import random
import re
import shutil
import subprocess

import pytest
from support import damaged_files, material, outcomes
from support.farm import Farm
from support.forged import Edited, NotPossible
from support.material import Scenario

CHAOS = Scenario(
    "train",
    (*material.TRAINING, "--augment", "--treatments=A2B,R3B", "--steps=12", "--workdir=run"),
    ("run", "data"), ("run",), limit=120,
)  # fmt: skip
KILLS = 30
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def farm():
    with Farm() as farm:
        yield farm


@pytest.fixture(scope="module")
def undisturbed(farm, tmp_path_factory):
    """The values of a run that nothing disturbs."""
    folder = new(tmp_path_factory.mktemp("undisturbed"))
    run(farm, folder)
    return values(folder)


def new(folder):
    """Makes a folder in which the experiment can begin, with files of somebody else beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "data").mkdir()
    damaged_files.plant_outside(folder)
    return folder


def values(folder):
    """Gives all that counts of a folder: not what was said on the way."""
    found = material.results(folder, CHAOS, "")
    assert len({name.split("/")[1] for name in found if "row.json" in name}) == 4, found.keys()
    return found


def start(farm, folder, **settings):
    return farm.run(CHAOS.program, *CHAOS.flags, cwd=folder, **{"limit": CHAOS.limit} | settings)


def run(farm, folder, **settings):
    """Runs to the end."""
    ended = start(farm, folder, **settings)
    assert ended.status == 0, ended.err[-3000:]
    return ended


def refusal(ended):
    """Gives the one line of a program that has refused to go on."""
    assert ended.status == 2, (ended.status, ended.err[-3000:])
    lines = outcomes.refusal_lines(ended)
    assert len(lines) == 1, lines
    return lines[0]


OPERATIONS = [
    lambda rng: ("flip a bit", rng.random(), rng.randrange(8)),
    lambda rng: ("truncate", rng.random()),
    lambda rng: ("zeros", rng.random(), 4096),
    lambda rng: ("become", rng.choice(["", "null", "\udcff", "[]"])),
    lambda rng: ("remove",),
    lambda rng: ("a folder",),
    lambda rng: ("a link", rng.choice(["file", "nothing", "itself"])),
    lambda rng: (
        "json",
        (rng.random(), rng.random()),
        "replace",
        rng.choice(["null", "NaN", "-1"]),
    ),
]


def damage(folder, rng):
    """Damages a file anywhere in the workdir or the prepared data; gives its path and what did."""
    files = [p for name in CHAOS.reads for p in (folder / name).rglob("*") if p.is_file()]
    while files:
        path = rng.choice(sorted(files)).relative_to(folder)
        operation = rng.choice(OPERATIONS)(rng)
        try:
            damaged_files.apply(folder, str(path), operation)
        except (Edited, NotPossible, ValueError):
            continue
        return path, operation
    return None


def test_kills_and_damage(farm, undisturbed, tmp_path):
    """After a refusal the damaged file is put back as it was, and the run goes on."""
    rng, kills, said = random.Random(0), 0, []
    while kills < KILLS:
        folder = new(tmp_path / f"{kills}")
        outside = damaged_files.snapshot(folder / damaged_files.OUTSIDE)
        status = None
        while status != 0:
            limit = rng.uniform(0.2, 4) if kills < KILLS else CHAOS.limit
            ended = start(farm, folder, limit=limit)
            status = ended.status
            if not ended.hung:
                assert status == 0, (said, ended.err[-3000:])
                break
            assert kills < KILLS, "a hang"
            kills += 1
            if kills % 3 == 0:
                status = go_on_with_damage(farm, folder, rng, said)
        assert values(folder) == undisturbed, said
        assert damaged_files.snapshot(folder / damaged_files.OUTSIDE) == outside, said
        shutil.rmtree(folder)


def go_on_with_damage(farm, folder, rng, said):
    """Damages a file and starts the program; gives its status if that was its end, else none."""
    spare = folder.with_name("spare")
    shutil.copytree(folder, spare, symlinks=True)
    damaged = damage(folder, rng)
    said.append(damaged)
    if damaged is None:
        shutil.rmtree(spare)
        return None
    path = damaged[0].as_posix()
    before = damaged_files.snapshot(folder)
    ended = start(farm, folder)
    assert not ended.hung, said
    if ended.status:
        line = refusal(ended)
        assert outcomes.names(line, path), (line, said)
        shutil.rmtree(folder)
        spare.rename(folder)
        return None
    if before.get(path) == damaged_files.snapshot(folder).get(path):  # It was not needed again.
        damaged_files.put_back(folder / path, spare / path)
    shutil.rmtree(spare)
    return 0


@pytest.mark.parametrize("limits", [(64, 2_000, 400_000), (700, 60_000, 2_000_000)])
def test_files_that_cannot_be_written_to_their_end(farm, undisturbed, tmp_path, limits):
    """The system refuses to let a file grow beyond some size, as a quota does."""
    folder = new(tmp_path / "folder")
    for size in limits:
        line = refusal(start(farm, folder, environment={"FARM_FILE_SIZE": str(size)}))
        assert re.search("File too large|space|written", line), line
        assert not list(folder.rglob("*partial*")), list(folder.rglob("*"))
    run(farm, folder)
    assert values(folder) == undisturbed


@pytest.fixture
def disk(tmp_path):
    """Mounts a small file system, where this process may; gives what makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size, how="remount,"):
        command = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}k", "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    mounted = resize(200, "")
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder, resize
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills(farm, undisturbed, disk):
    """Each time that there is a little more room the run goes a little further."""
    folder, resize = disk
    new(folder)
    rng, size, refused, status = random.Random(1), 200, 0, None
    while status != 0:
        ended = start(farm, folder)
        status = ended.status
        if status:
            line = refusal(ended)
            assert re.search("No space left|space", line), line
            refused += 1
            size += rng.randrange(100, 2500)
            resize(size)
    assert refused >= 3
    assert values(folder) == undisturbed


def test_two_at_once(farm, undisturbed, tmp_path):
    """Both begin in an empty folder, and one of them is killed; then both begin again."""
    rng = random.Random(2)
    with Farm() as other, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number in range(3):
            folder = new(tmp_path / f"{number}")
            for limits in ((rng.uniform(1, 4), CHAOS.limit), (CHAOS.limit, CHAOS.limit)):
                both = [
                    pool.submit(start, each, folder, limit=limit)
                    for each, limit in zip((farm, other), limits, strict=True)
                ]
                for ended, limit in zip([one.result() for one in both], limits, strict=True):
                    assert not ended.hung or limit < CHAOS.limit
                    if not ended.hung and ended.status:
                        assert "in use by process" in refusal(ended)
            run(farm, folder)
            assert values(folder) == undisturbed
