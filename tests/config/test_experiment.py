import pytest

from transfer_keras.config import make_experiment
from transfer_keras.config.errors import UserError
from transfer_keras.config.treatments import parse_treatment

A3B = (parse_treatment("A3B"),)


def test_defaults_follow_the_network():
    small, paper = make_experiment(A3B), make_experiment(A3B, network="alexnet")
    assert small.training.network == "alexnet_mini"
    assert (small.image_size, small.resize, small.training.optimizer) == (32, 32, "adamw")
    assert small.training.learning_rate_warm_up == 84  # Six in a hundred of 1400 steps.
    assert (paper.image_size, paper.resize, paper.training.optimizer) == (227, 256, "sgd")
    assert (paper.training.steps, paper.training.batch_size, paper.training.learning_rate) == (
        450_000,
        256,
        0.01,
    )
    assert make_experiment(A3B, steps=7).training.steps == 7
    assert not small.data.augment
    assert make_experiment(A3B, dataset="cifar10").data.augment


def test_identity_holds_the_classes_of_a_split_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("tulip\nrose\n")
    one = make_experiment(A3B, split=str(path)).identity
    path.write_text("rose\ntulip  # again\n")
    assert make_experiment(A3B, split=str(path)).identity == one
    path.write_text("rose\ndaisy\n")
    assert make_experiment(A3B, split=str(path)).identity != one


def test_identity_leaves_out_what_makes_no_number():
    one = make_experiment(A3B)
    other = make_experiment(["B1B"], data_dir="elsewhere")
    assert one.identity == other.identity
    for change in ({"seed": 1}, {"split": "1"}, {"steps": 5}, {"image_size": 48}):
        assert make_experiment(A3B, **change).identity != one.identity


def test_tests_are_of_the_identity_where_they_end_a_training():
    assert make_experiment(A3B, validations=5).identity == make_experiment(A3B).identity
    early = make_experiment(A3B, early_stopping=3)
    assert early.replace(validations=5).identity != early.identity


@pytest.mark.parametrize("path", ["/some/set", "set", "~", "../a b"])
def test_identity_leaves_out_the_slash_after_a_folder(path):
    one, other = (make_experiment(A3B, dataset=f"folder:{path}{slash}") for slash in ("", "//"))
    assert one.identity == other.identity
    assert one.data.dataset == f"folder:{path}"
    assert make_experiment(A3B, dataset="folder:/").data.dataset == "folder:/"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network": "alexnett"},
            r"--network=alexnett: expected one of alexnet, alexnet_mini, alexnet_small",
        ),
        ({"image_size": 8}, r"--image_size=8: alexnet_mini needs at least 13 pixels"),
        ({"network": "alexnet", "image_size": 60}, r"alexnet needs at least 67 pixels"),
        ({"steps": 0}, r"--steps=0: must be positive"),
        ({"batch_size": -1}, r"--batch_size=-1: must be positive"),
        ({"learning_rate": float("inf")}, r"--learning_rate=inf: must be positive and finite"),
        ({"weight_decay": float("nan")}, r"--weight_decay=nan: expected 0 or more"),
        ({"seed": -1}, r"--seed=-1"),
        ({"split": "nowhere"}, r"--split=nowhere"),
        ({"donor_weights": "none"}, r"--donor_weights=none: is about a --donor, and none is given"),
        ({"donor_pixels": "0..1"}, r"--donor_pixels=0\.\.1: is about a --donor"),
        ({"units": "block"}, r"--units=block: is about a --donor"),
        ({"scratch_learning_rate": 0.1}, r"--scratch_learning_rate=0\.1: is about a --donor"),
        ({"batch_norm": "train"}, r"--batch_norm=train: is about a --donor"),
        ({"treatments": ()}, r"--treatments: none"),
        ({"treatments": (parse_treatment("A9B"),)}, r"--treatments=A9B: .* 8 units, so 1 to 7"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(UserError, match=message):
        make_experiment(**{"treatments": A3B, **change})


def test_settings_are_replaced_together():
    """A section is not checked half changed: 50 steps of warm-up are too many for 12 alone."""
    experiment = make_experiment(A3B, steps=100, warm_up_head=50)
    short = experiment.replace(steps=12, warm_up_head=0, split="1")
    assert (short.training.steps, short.training.warm_up_head, short.data.split) == (12, 0, "1")
    assert (experiment.training.steps, experiment.data.split) == (100, "0")
    with pytest.raises(UserError, match=r"--warm_up_head=50: .* less than the 12 steps"):
        experiment.replace(steps=12)
    with pytest.raises(TypeError, match="stepps"):
        experiment.replace(stepps=12)


def test_the_last_image_size_that_fits_builds():
    from transfer_keras import networks

    for name, size in (("alexnet_mini", 13), ("alexnet_small", 15), ("alexnet", 67)):
        assert networks.build(name, image_size=size, classes=2).output.shape == (None, 2)
        with pytest.raises(ValueError, match=str(size)):
            networks.build(name, image_size=size - 1, classes=2)
