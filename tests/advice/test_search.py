"""The program that finds what to freeze: from flags to the network and its card."""

import json
import re
import time

import keras
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures
from support.picture_folders import names_of, validation_files

from transfer_keras.advice import budget, search
from transfer_keras.advice.budget import Budget
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.config import Interrupted, parse_treatment
from transfer_keras.config.errors import UserError
from transfer_keras.results import Role, Workdir, mean_top1, roles_to_choose
from transfer_keras.results.study import read_study

CHOSEN = ("steps", "warm_up_head", "learning_rate", "transferred_learning_rate")
FOREVER = 1e6


def ask(folder, **settings):
    write_pictures(folder / "pictures")
    classifier(perturbed=False).save(folder / "own.keras")
    facts = {"steps": 40, "batch_size": 8, "validations": 2, "metrics_every": 0}
    facts |= {"learning_rate": 0.01, **settings}
    pictures = f"folder:{folder / 'pictures'}"
    return ask_donor(folder / "own.keras", "baseB", dataset=pictures, **facts)


def run(experiment, folder, *, seconds=FOREVER, elapsed=0.0, seeds=2, fixed=CHOSEN, logged=None):
    logged = [] if logged is None else logged
    budget = Budget(seconds, time.monotonic() - elapsed, seeds)
    search.advise(
        experiment, folder, budget, fixed=fixed,
        flags=lambda experiment, workdir: "", log=logged.append,
    )  # fmt: skip
    return "\n".join(logged)


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """All is in question, so all is repeated that a seed changes."""
    folder = tmp_path_factory.mktemp("advised")
    experiment = ask(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "contenders", lambda runs, than: list(mean_top1(runs)))
        patch.setattr(search, "best_linear", lambda scores, experiment: scores[1])
        return experiment, folder, run(experiment, folder / "advice")


def test_every_n_is_tried_frozen_and_fine_tuned_and_then_another_seed(advised):
    _, folder, log = advised
    done = {w.name: set(Workdir(w).done) for w in (folder / "advice").glob("split*")}
    everything = {"baseB", *(f"A{n}B{plus}" for n in (1, 2, 3) for plus in ("", "+"))}
    assert done["splitdonor-seed0"] == {*everything, "A2B-linear"}
    assert "baseB" in done["splitdonor-seed1"] <= everything
    (runs,) = read_study(folder / "advice").runs.values()
    fitted = {role for *_, role, result in runs.networks() if result.fitted}
    assert fitted == {Role("AnB", 3), Role("AnB-linear", 2)}
    assert fitted <= {*roles_to_choose(runs)}  # Though others were repeated.
    assert re.search(r"\n2 +\S+ +with a linear classifier +[\d.]+ of 1 ", log)
    assert "Seed 1: " in log
    assert len(read_study(folder / "advice").networks) == sum(map(len, done.values()))


def test_the_network_does_what_its_card_states(advised, monkeypatch):
    _, folder, log = advised
    advice = folder / "advice"
    card = (advice / "MODEL_CARD.md").read_text()
    with_package, with_pillow = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    (command,) = re.findall(r"```bash\n(.*?)\n```", card, re.DOTALL)
    from_here = command.replace("=best.keras ", f"={advice / 'best.keras'} ")
    assert f"\n{from_here}\n" in log
    name, network = re.search(r"^# (\S+) of (\w+)$", card, re.MULTILINE).groups()
    seed = re.search(r"- `seed`: (\d+)", card)[1]
    assert network == "own"
    workdir = advice / f"splitdonor-seed{seed}"
    row = Workdir(workdir).row(name)
    right = round(row.top1 * row.test_images)
    low, high = stats.binomtest(right, row.test_images).proportion_ci(0.95, "wilson")
    assert f"| {row.top1:.3f} (95 % {low:.3f} to {high:.3f}, over the 6 pictures) |" in card
    expected = re.search(
        r"\*\*([\d.]+) \(95 % ([\d.]+) to ([\d.]+)\)\*\*: the choice repeated", card
    )
    assert float(expected[2]) <= float(expected[1]) <= float(expected[3])
    assert f"On other pictures of this kind, top-1 {expected[1]} (95 % " in log
    assert f"{3 * (12 - 2)} pictures to train, {row.test_images} to validate" in card
    files = validation_files(folder / "pictures")
    monkeypatch.chdir(advice)
    every = []
    for code in (with_package, with_pillow):
        changed = code.replace("print(picture.path, ", "answers.append((").replace(
            "picture.probabilities)", "))")  # fmt: skip
        changed = changed.replace("print(", "answers.append(").replace('"picture.jpg"', "path")
        answers = []
        for path in files:
            exec(changed, {"path": str(path), "answers": answers})
        every.append([answer[0] if isinstance(answer, tuple) else answer for answer in answers])
    assert every[0] == every[1]
    label, predicted = Workdir(workdir).predictions(name)
    names = json.loads((advice / "classes.json").read_text())
    assert sorted(zip(names_of(files), every[0], strict=True)) == sorted(
        (names[a], names[b]) for a, b in zip(label, predicted, strict=True)
    )
    assert sum(a == b for a, b in zip(names_of(files), every[0], strict=True)) == right
    counts = re.findall(r"^\| (\w+) \| (\d+) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert [(name, int(images)) for name, images, _ in counts] == [
        (name, 2) for name in ("left", "right", "top")
    ]
    assert sum(round(2 * float(recall)) for *_, recall in counts) == right


def test_the_network_gives_probabilities_without_this_package(advised, program):
    _, folder, _ = advised
    code = (
        "import keras, numpy; n = keras.saving.load_model('best.keras');"
        "p = n.predict(numpy.zeros((2, 24, 24, 3)), verbose=0); print(p.shape, p.sum(axis=1))"
    )
    done = program("-c", code, cwd=folder / "advice", environment={"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert re.match(r"\(2, 3\) \[(1\.|0\.99999)", done.stdout), done.stdout


def test_estimates_come_first_and_are_held_against_the_results(advised):
    *_, log = advised
    estimated = "These are estimates, from the donor's features of 30 pictures"
    assert log.index(estimated) < log.index("First answer, after ") < log.index("Best so far: ")
    assert log.index("Best so far: ") < log.index("Seed 1: ") < log.index("top-1 frozen")
    assert log.count(estimated) == 2


def test_run_again_it_goes_on_where_it_was(advised, monkeypatch):
    experiment, folder, _ = advised
    before = {p: p.stat().st_mtime_ns for p in (folder / "advice").glob("split*/*/row.json")}
    monkeypatch.setattr(budget, "describe_stage", lambda *_: pytest.fail("was planned before"))
    log = run(experiment, folder / "advice")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "top-1" in log
    assert f"Going on with what is in {folder / 'advice'}: 40 steps a network" in log


def test_uneven_classes_count_the_same_in_all_that_is_said(tmp_path):
    experiment = ask(tmp_path, steps=8)
    for path in sorted((tmp_path / "pictures" / "left").iterdir())[:7]:
        path.unlink()
    log = run(experiment, tmp_path / "advice", seeds=1)
    assert "They are uneven: all count the same in training and in what is compared." in log
    assert "a linear classifier on top: balanced accuracy " in log
    assert ", balanced accuracy " in log[log.index("Best so far") :]
    study = read_study(tmp_path / "advice")
    facts = Workdir(tmp_path / "advice" / "splitdonor-seed0").read_facts()["settings"]
    assert facts["class_weights"] == "balanced"
    table = log[log.index("n  up to unit") :].splitlines()
    assert "  balanced accuracy  regret " in table[0]
    trained = [network for network in study.networks if network.trained]
    assert trained
    for network in trained:
        label, predicted = network.workdir.predictions(network.row.treatment)
        expected = balanced_accuracy_score(label, predicted)
        kind = {"base": "from scratch", "frozen": "frozen", "fine_tune": "fine-tuned",
                "linear": "with a linear classifier"}  # fmt: skip
        (line,) = [line for line in table if re.match(
            rf"{network.row.n}\s.*{kind[network.row.mode]}\s", line)]  # fmt: skip
        assert f" {expected:.3f} " in line
    card = (tmp_path / "advice" / "MODEL_CARD.md").read_text()
    assert "| balanced accuracy on the validation pictures | " in card
    assert "| balanced accuracy on other pictures of this kind | " in card
    assert "top-1" not in card
    run(experiment, tmp_path / "advice", seeds=1)
    with pytest.raises(UserError, match="class_weights"):
        run(experiment, tmp_path / "advice", fixed=[*CHOSEN, "class_weights"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seed": 7},
            r"was begun as splitdonor-seed0, and this is splitdonor-seed7\. Give another",
        ),
        (
            {"examples_per_class": 4},
            r"was begun as splitdonor-seed0, .* splitdonor-4perclass-seed0",
        ),
        ({"learning_rate": 0.02}, r"learning_rate is 0\.01 in .* and 0\.02 in what is asked for"),
        ({"steps": 50}, r"steps is 40 in splitdonor-seed0 and 50 in what is asked for"),
    ],
)
def test_a_folder_belongs_to_what_it_was_begun_with(advised, change, message):
    experiment, folder, _ = advised
    before = sorted((folder / "advice").rglob("*"))
    with pytest.raises(UserError, match=message):
        run(experiment.replace(**change), folder / "advice")
    assert sorted((folder / "advice").rglob("*")) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    experiment = ask(tmp_path)
    with pytest.raises(UserError, match=r"holds other files and no plan\.json\. Give a new or"):
        run(experiment, tmp_path / "pictures")
    assert not (tmp_path / "pictures" / "plan.json").exists()


def test_a_plan_outlives_a_stop_in_the_first_training(tmp_path):
    """The plan is read as it was made, even before any network is done."""
    experiment, folder = ask(tmp_path), tmp_path / "advice"
    with pytest.raises(UserError, match="did not suffice"):
        run(experiment, folder, seconds=60, elapsed=70)
    planned = budget.SearchPlan.read(folder)
    ((first, *_),) = planned.stages  # The least that can be planned.
    assert first == "A3B"
    experiment = experiment.replace(views=planned.views)
    _, again, _ = make_plan(tmp_path, FOREVER, CHOSEN, experiment=experiment)  # Another would be.
    assert again == planned


@pytest.mark.slow
def test_stopped_among_the_seeds_it_names_the_network_and_its_card(tmp_path, monkeypatch):
    """All is in question, so that there are other seeds whatever the few pictures say."""
    monkeypatch.setattr(search, "contenders", lambda runs, than: list(mean_top1(runs)))
    experiment = ask(tmp_path)
    trained = search.run_experiment

    def run_one_seed(experiment, *arguments, **more):
        if experiment.training.seed:
            raise Interrupted("step 3 of 40")
        return trained(experiment, *arguments, **more)

    monkeypatch.setattr(search, "run_experiment", run_one_seed)
    logged = []
    with pytest.raises(Interrupted, match="step 3"):
        run(experiment, tmp_path / "advice", logged=logged)
    assert "The network and its card" in "\n".join(logged)
    assert (tmp_path / "advice" / "best.keras").exists()


def test_few_pictures_have_no_estimates(tmp_path, monkeypatch):
    experiment = ask(tmp_path, batch_size=1)
    monkeypatch.setattr(search, "make_plan", stop)
    for path in (tmp_path / "pictures").rglob("*.png"):
        if int(path.stem) > 1:
            path.unlink()
    logged = []
    with pytest.raises(Planned):
        run(experiment, tmp_path / "advice", fixed=(), logged=logged)
    says = "No transferability estimates: they need 4 pictures of two classes, or more."
    assert says in logged


def test_too_little_time_is_an_error_and_nothing_is_lost(tmp_path, monkeypatch):
    """The time is over in the middle of the first training, seconds after its beginning."""
    experiment, trained, given = ask(tmp_path, steps=10**6), search.run_experiment, []

    def run_until_soon(*arguments, deadline, **more):
        given.append(deadline)
        return trained(*arguments, deadline=time.monotonic() + 8, **more)

    monkeypatch.setattr(search, "run_experiment", run_until_soon)
    fixed = [*CHOSEN, "fit_head"]
    with pytest.raises(UserError, match=r"--budget=1 min: did not suffice .* run the same command"):
        run(experiment, tmp_path / "advice", seconds=60, elapsed=70, fixed=fixed)
    assert not list((tmp_path / "advice").glob("*.keras"))
    (saved,) = (tmp_path / "advice").glob("*/checkpoints/*/[0-9]*.safetensors")
    assert int(saved.stem) >= 1
    (deadline,) = given
    assert deadline < time.monotonic() < deadline + 60


class Planned(Exception):
    pass


def stop(*_, **__):
    raise Planned


def make_plan(tmp_path, seconds, fixed=(), logged=None, experiment=None, linear=None, **settings):
    experiment = experiment or ask(tmp_path, **settings)
    cost = TrainingCost(
        overhead=0.5, forward=0.01, train=30, test=6, feature_bytes=dict.fromkeys(range(1, 4), 9)
    )
    folder = tmp_path / "advice"
    log = ([] if logged is None else logged).append
    planned, plan = budget.make_plan(
        experiment, folder, Budget(seconds, time.monotonic()), cost, fixed=fixed, linear=linear,
        log=log,
    )  # fmt: skip
    return planned, plan, cost


def test_heads_that_are_fitted_come_first(tmp_path):
    """The linear classifier that the estimates found is one of them, unless it is the head."""
    logged = []
    _, plan, _ = make_plan(tmp_path / "below", 4000, logged=logged, linear=2, fit_head=True)
    assert plan.stages[:2] == (("A3B", "A2B-linear"), ("A2B", "A1B"))
    assert "linear classifiers at n = 2, frozen at n = 3; then frozen at n = 2, 1; " in logged[0]
    _, plan, _ = make_plan(tmp_path / "top", 4000, linear=3, fit_head=True)
    assert plan.stages[0] == ("A3B",)
    _, plan, _ = make_plan(tmp_path / "trained", 4000, linear=2)
    assert plan.stages[0] == ("A3B", "A2B", "A1B")


@pytest.mark.parametrize(
    ("seconds", "stages"),
    [
        (18, [["A3B"]]),
        (30, [["A3B"], ["A3B+"]]),
        (38, [["A3B", "A2B", "A1B"], ["A3B+"]]),
        (82, [["A3B", "A2B", "A1B"], ["A3B+", "A1B+"]]),
        (4000, [["A3B", "A2B", "A1B"], ["A3B+", "A2B+", "A1B+"], ["baseB"]]),
    ],
)
def test_what_is_tried_first_follows_from_the_time(tmp_path, seconds, stages):
    logged = []
    planned, plan, cost = make_plan(tmp_path, seconds, logged=logged)
    assert plan.stages == tuple(map(tuple, stages))
    assert planned.training.steps == plan.steps
    epoch = 30 // 8
    assert plan.steps % epoch == 0
    assert plan.steps <= 60 * epoch
    assert plan.validations == min(2, plan.steps // epoch)
    needed = sum(cost.seconds(planned, list(map(parse_treatment, stage))) for stage in stages)
    assert needed < seconds - 12
    (says,) = [line for line in logged if " steps (" in line]
    assert f"{plan.steps} steps ({plan.steps * 8 / 30:.1f} epochs)" in says
    left_out = [line for line in logged if "--scratch to insist" in line]
    assert len(left_out) == (seconds < 4000)


def test_scratch_is_added_to_a_plan_that_left_it_out(tmp_path):
    _, plan, _ = make_plan(tmp_path, 50)
    assert ("baseB",) not in plan.stages
    experiment = ask(tmp_path / "again")
    for _ in range(2):
        _, again, _ = make_plan(tmp_path, 50, fixed=["scratch"], experiment=experiment)
        assert again.stages == (*plan.stages, ("baseB",))
        assert budget.SearchPlan.read(tmp_path / "advice") == again


def test_scratch_is_tried_where_one_insists_and_not_where_one_does_not_want_it(tmp_path):
    logged = []
    _, plan, _ = make_plan(tmp_path / "60", 60, fixed=["scratch"], logged=logged)
    assert plan.stages[-1] == ("baseB",)
    planned, plan, _ = make_plan(
        tmp_path / "4000", 4000, fixed=["scratch"], logged=logged, scratch=False
    )
    assert plan.stages[-1] == ("A3B+", "A2B+", "A1B+")
    assert [treatment.name for treatment in planned.all_treatments] == ["A3B", "A2B", "A1B"]
    assert not [line for line in logged if "--scratch to insist" in line]


def test_too_little_time_for_one_epoch_of_one_network(tmp_path):
    message = r"--budget=13 s: one epoch with all but the head frozen, .* 13 s here .* --budget=30s"
    with pytest.raises(UserError, match=message):
        make_plan(tmp_path, 13)
    assert not (tmp_path / "advice").exists()


def test_costs_by_hand(tmp_path):
    """Of steps, tests, the frozen part and the tracing; then corrected."""
    experiment = ask(tmp_path, steps=40, validations=4, augment=False)
    cost = TrainingCost(2.0, 0.01, 30, 6, feature_bytes=dict.fromkeys(range(1, 4), 2**20))
    macs = np.array([size.macs for size in experiment.architecture.sizes(24, 3)])
    below = macs[:2].sum() / macs.sum()
    frozen, tuned = parse_treatment("A2B"), parse_treatment("A2B+")
    each = 3.2 * 40 * 8 + 4 * 6
    assert cost.seconds(experiment, [tuned]) == pytest.approx(1.5 * 2 * 2 + 0.01 * each)
    above = 1 - below
    by_hand = 1.5 * 2 * (1 + above) + 0.01 * (below * 36 + above * each)
    assert cost.seconds(experiment, [frozen]) == pytest.approx(by_hand)
    both = 1.5 * 2 * (2 + above) + 0.01 * (below * 36 + (1 + above) * each)
    assert cost.seconds(experiment, [frozen, tuned]) == pytest.approx(both)
    again = 1.5 * 2 * (1 + above) + 0.01 * (below * (40 * 8 + 4 * 6) + above * each)
    no_room = experiment.replace(features_memory=0.03)
    for not_kept in (experiment.replace(augment=True), no_room):
        assert cost.seconds(not_kept, [frozen]) == pytest.approx(again)
    assert cost.seconds(experiment, []) == 0
    cost.correct(10, 20)
    assert cost.seconds(experiment, [frozen]) == pytest.approx(2 * by_hand)


def test_classes_are_written_in_the_order_of_the_outputs(advised):
    _, folder, _ = advised
    classes = json.loads((folder / "advice" / "classes.json").read_text())
    assert classes == ["left", "right", "top"]
    model = keras.saving.load_model(folder / "advice" / "best.keras")
    assert model.output_shape == (None, 3)
