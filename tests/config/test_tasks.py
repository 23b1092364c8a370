import hashlib

import pytest
import tensorflow_datasets as tfds

from transfer_keras.config import tasks
from transfer_keras.config.errors import UserError

# From the authors' published class lists (see the docstring of `tasks`).
PAPER_MD5 = [
    "0b8df30d3dbc201b482c55609120084e",
    "3ad1e27c8481c08da08879b40f80b524",
    "6d705216deeb7abe91e962c943867ba1",
    "9779ce7b18e23b57a021dfe64ddb9e7f",
]
ILSVRC = sorted(tfds.builder("imagenet2012").info.features["label"].names)


@pytest.mark.parametrize("split", range(4))
def test_the_papers_tasks(split):
    names = [f"class {i}" for i in range(1000)]
    a, b = tasks.split_classes(names, str(split))
    assert hashlib.md5(",".join(map(str, a.labels)).encode()).hexdigest() == PAPER_MD5[split]
    assert sorted(a.labels + b.labels) == list(range(1000))
    assert a.labels == tuple(sorted(a.labels))
    assert b.class_names == tuple(names[i] for i in b.labels)


def test_wnids_get_the_papers_index_whatever_the_datasets_order():
    assert len(ILSVRC) == 1000
    shuffled = ILSVRC[500:] + ILSVRC[:500]
    for split in ("0", "natural"):
        expected, _ = tasks.split_classes(ILSVRC, split)
        task, _ = tasks.split_classes(shuffled, split)
        assert task.class_names == expected.class_names
        assert [shuffled[i] for i in task.labels] == list(expected.class_names)


def test_natural_split_of_imagenet():
    a, b = tasks.split_classes(ILSVRC, "natural")
    assert (len(a), len(b)) == (449, 551)
    assert {"n01440764", "n02099601", "n12057211", "n09835506"} <= set(a.class_names)
    assert {"n02690373", "n04552348", "n03063599"} <= set(b.class_names)


def test_wnids_outside_ilsvrc_go_with_their_neighbours():
    natural, made = ["n01443538", "n01443539"], ["n03000001", "n03000002"]
    assert not {*natural, *made} & {*ILSVRC}
    a, b = tasks.split_classes([*made, *natural], "natural")
    assert (a.class_names, b.class_names) == (tuple(natural), tuple(made))


def test_natural_splits_of_other_datasets():
    drawn = ["fractal_00", "fractal_01", "contour_00", "contour_01"]
    assert tasks.split_classes(drawn, "natural")[0].labels == (0, 1)
    cifar10 = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    a, b = tasks.split_classes(cifar10, "natural")
    assert set(a.class_names) == {"bird", "cat", "deer", "dog", "frog", "horse"}
    assert b.labels == (0, 1, 8, 9)
    with pytest.raises(UserError, match=r"--split=natural.*'rose'"):
        tasks.split_classes(["rose", "tulip"], "natural")


def test_a_file_lists_a(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("tulip  # the nicest\n\nrose\n")
    a, b = tasks.split_classes(["daisy", "rose", "tulip", "lily"], str(path))
    assert (a.labels, b.labels) == ((1, 2), (0, 3))
    path.write_text("tulpi\n")
    with pytest.raises(UserError, match=r"tulpi.*Near 'tulpi': tulip"):
        tasks.split_classes(["daisy", "tulip"], str(path))
    path.write_text("daisy\n")
    with pytest.raises(UserError, match=r"1 of 3 classes. Expected at least two"):
        tasks.split_classes(["daisy", "tulip", "rose"], str(path))
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        tasks.check_split(str(path))


def test_check_split(tmp_path):
    tasks.check_split("0")
    tasks.check_split("natural")
    with pytest.raises(UserError, match="--split=halves: expected a number"):
        tasks.check_split("halves")


def test_the_whole_is_one_task_in_sorted_order():
    (a,) = tasks.split_classes(ILSVRC[500:] + ILSVRC[:500], "whole")
    assert a.name == "A"
    assert a.class_names == tuple(ILSVRC)
    assert a.labels == (*range(500, 1000), *range(500))
