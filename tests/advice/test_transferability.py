"""Against the network in NumPy and the oracles of the two measures."""

import itertools

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from support.cka_oracle import oracle as cka_oracle
from support.logme_oracle import oracle as logme_oracle

from transfer_keras.advice import classifiers, transferability
from transfer_keras.advice.transferability import Agreement, RankCorrelation, Score
from transfer_keras.results import BALANCED


def pictures(count, seed=0, side=6):
    """Makes pictures of three classes, which are in the means of the channels, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 3)
    images = rng.normal(120, 40, (count, side, side, 3)) + 15 * np.eye(3)[labels][:, None, None]
    return images.clip(0, 255).astype(np.uint8), labels


def network():
    """Builds three units: one that keeps the colours, with BatchNorm and dropout, a hidden one, and
    one that is blind; weights and moving statistics are not those that fresh layers have."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 64)(inputs)
    x = keras.layers.Conv2D(4, 1, name="colours")(x)
    x = first = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = second = keras.layers.Dense(5, activation="relu", name="hidden")(x)
    x = third = keras.layers.Dense(2, name="blind")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(5)
    for weight in model.weights:
        values = rng.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    model.get_layer("blind").kernel.assign(np.zeros((5, 2)))
    return model, [("colours", first), ("hidden", second), ("blind", third)]


def answers(model, images):
    """Computes the features of the three units."""
    kernel, bias = (np.array(w, np.float64) for w in model.get_layer("colours").weights)
    gamma, beta, mean, variance = (np.array(w) for w in model.get_layer("norm").weights)
    x = images.astype(np.float64) / 64 @ kernel[0, 0] + bias
    x = (x - mean) / np.sqrt(variance + model.get_layer("norm").epsilon) * gamma + beta
    kernel, bias = (np.array(w, np.float64) for w in model.get_layer("hidden").weights)
    hidden = np.maximum(x.mean(axis=(1, 2)) @ kernel + bias, 0)
    return [x.reshape(len(x), -1), hidden, np.ones((len(x), 2))]


def estimate(model, cuts, train, test, **settings):
    """Scores the features of pictures, both kinds in one pass."""
    images = np.concatenate([train[0], test[0]])
    outputs = [output for _, output in cuts]
    features = transferability.compute_features(model, outputs, images, **settings)
    features, others = zip(*(np.split(x, [len(train[1])]) for x in features), strict=True)
    return transferability.score_features(
        [name for name, _ in cuts], (features, train[1]), (others, test[1])
    )


@pytest.fixture(scope="module")
def made():
    model, cuts = network()
    images, labels = pictures(40)
    scores = estimate(model, cuts, (images, labels), pictures(30, seed=1), batch_size=16)
    return model, cuts, images, labels, scores


def test_against_numpy_and_the_papers(made):
    model, _, images, labels, scores = made
    assert [(score.unit, score.n) for score in scores] == [
        ("colours", 1),
        ("hidden", 2),
        ("blind", 3),
    ]
    features = answers(model, images)
    for score, x in zip(scores[:2], features[:2], strict=True):
        assert score.logme == pytest.approx(logme_oracle(x, labels), abs=1e-4)
        assert score.cka == pytest.approx(cka_oracle(x, np.eye(3)[labels], 40), abs=1e-4)
        assert 0.05 < score.cka < 0.95
    least = [(labels == label).var(ddof=1) for label in range(3)]
    least = -np.mean(1 + np.log(2 * np.pi * np.array(least))) / 2 * 39 / 40
    assert scores[2].logme == pytest.approx(least, abs=1e-6)
    assert np.isnan(scores[2].cka)
    assert min(scores[0].logme, scores[1].logme) > least + 0.05


def test_what_does_not_matter(made):
    model, cuts, images, labels, scores = made
    before = [np.array(weight) for weight in model.weights]
    trainable = [layer.trainable for layer in model.layers]
    for batch, dtype in [(7, np.uint8), (40, np.float32), (100, np.uint8)]:
        test_images, test_labels = pictures(30, seed=1)
        again = estimate(
            model, cuts, (images.astype(dtype), labels), (test_images.astype(dtype), test_labels),
            batch_size=batch,
        )  # fmt: skip
        for score, other in zip(scores, again, strict=True):
            assert score[2:] == pytest.approx(other[2:], abs=1e-4, nan_ok=True)
    assert [layer.trainable for layer in model.layers] == trainable
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_what_is_left_out_and_what_was_enough(made):
    model, cuts, images, *_ = made
    counted = []

    def is_enough(count):
        counted.append(count)
        return len(counted) == 2

    outputs = [output for _, output in cuts]
    features = transferability.compute_features(
        model, outputs, images, batch_size=15, is_enough=is_enough
    )
    assert counted == [15, 15]
    assert [x.shape for x in features] == [(30, 144), (30, 5), (30, 2)]
    whole = transferability.compute_features(model, outputs, images, batch_size=15)
    for one, other in zip(features, whole, strict=True):
        np.testing.assert_array_equal(one, other[:30])


@pytest.mark.parametrize(("scale", "offset"), [(1e30, 0), (1e-30, 0), (1, 1e6)])
def test_scale_is_nothing_to_cka(scale, offset):
    """The features are so few sixteenths that float32 holds them beside a million."""
    rng = np.random.default_rng(0)
    features = np.round(16 * rng.normal(size=(20, 1, 1, 5))).astype(np.float32) / 16
    labels = np.arange(20) % 3

    def score(scale, offset):
        inputs = keras.Input((1, 1, 5))
        output = keras.layers.Rescaling(scale, offset)(inputs)
        model = keras.Model(inputs, output)
        (one,) = estimate(model, [("unit", output)], (features, labels), (features, labels))
        return one

    plain = score(1, 0)
    assert abs(plain.cka) > 0.01
    assert score(scale, offset).cka == pytest.approx(plain.cka, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [(40, np.zeros(40, int), "two classes"), (3, np.arange(3), "at least 4")],
)
def test_what_cannot_be_scored(made, count, labels, message):
    model, cuts, images, *_ = made
    with pytest.raises(ValueError, match=message):
        estimate(model, cuts, (images[:count], labels), (images, np.zeros(40, int)))


def test_the_linear_classifier_against_numpy_by_brute_force():
    """Each penalty leaves each picture out in turn; the best of them is tried on other pictures."""
    rng = np.random.default_rng(3)
    labels, others = rng.integers(0, 3, 40), rng.integers(0, 3, 500)
    x, y = (np.eye(3)[which] @ np.eye(3, 8) * 1.5 for which in (labels, others))
    x, y = (values * 9 + 4 + 9 * rng.normal(size=values.shape) for values in (x, y))

    def fit(features, targets, penalty):
        centre, mean = features.mean(axis=0), targets.mean(axis=0)
        gram = (features - centre).T @ (features - centre) + penalty * np.eye(features.shape[1])
        weights = np.linalg.solve(gram, (features - centre).T @ (targets - mean))
        return lambda new: (new - centre) @ weights + mean

    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    targets = 2 * np.eye(3)[labels] - 1
    everyone = np.arange(40)

    def left_out(penalty):
        return np.array([
            fit(standard[everyone != i], targets[everyone != i], penalty)(standard[i])
            for i in everyone
        ])  # fmt: skip

    best = min(np.logspace(-1, 6, 15), key=lambda p: np.sum((left_out(p) - targets) ** 2))
    answers = fit(standard, targets, best)((y - x.mean(axis=0)) / x.std(axis=0)).argmax(axis=1)
    right = np.concatenate([answers == others, left_out(best).argmax(axis=1) == labels])
    top1 = classifiers.linear_top1(x, labels, y, others)
    assert top1 == pytest.approx(right.mean(), abs=0.004)
    assert 0.5 < top1 < 0.95


def test_of_two_classes_the_linear_classifier_leaves_each_picture_out_too():
    """On noise, what is not left out is remembered, and what is has chance at the most."""
    rng = np.random.default_rng(6)
    x, labels = rng.normal(size=(60, 200)), np.tile([0, 1], 30)
    others, truth = rng.normal(size=(4, 200)), np.tile([0, 1], 2)
    assert classifiers.linear_top1(x, labels, others, truth) < 0.65
    x[:, 0] += np.where(labels == 1, 99, -99)
    others[:, 0] += np.where(truth == 1, 99, -99)
    assert classifiers.linear_top1(x[:, :1], labels, others[:, :1], truth) == 1


def test_the_linear_classifier_of_what_is_no_number():
    x = np.ones((6, 2))
    x[0, 0] = np.inf
    assert np.isnan(classifiers.linear_top1(x, np.arange(6) % 2, np.ones((2, 2)), [0, 1]))


LINEAR = [0.5, 0.6, 0.7, 0.8, 0.9]
NEAR = [0.3, 0.4, 0.2, 0.1, 0.5]
LOGME, CKA = [-0.5, 0.25, 0.5, np.inf, 0.0], [0.1, 0.2, 0.9, 0.3, np.nan]
MADE = [
    Score(f"conv{n}", n, *each)
    for n, each in enumerate(zip(LINEAR, NEAR, LOGME, CKA, strict=True), 1)
]


def test_agreement_is_the_correlation_of_ranks():
    top1 = {1: 0.4, 2: 0.6, 3: 0.5, 4: 0.7, 9: 0.1}
    ranks = [
        np.argsort(np.argsort(x[:4])) for x in ([0.4, 0.6, 0.5, 0.7], LINEAR, NEAR, LOGME, CKA)
    ]
    expected = [np.corrcoef(ranks[0], other)[0, 1] for other in ranks[1:]]
    assert expected == pytest.approx([0.8, -0.4, 0.8, 0.4])
    agreed = transferability.compare_with_results(MADE, top1)
    assert agreed.n == (1, 2, 3, 4)
    found = agreed.correlations
    assert list(found) == ["linear", "neighbours", "logme", "cka"]
    assert [each.value for each in found.values()] == pytest.approx(expected)
    # Of the 24 orders of four, so many have a correlation as far from 0.
    orders = [np.corrcoef(order, range(4))[0, 1] for order in itertools.permutations(range(4))]
    p = [np.mean(np.abs(orders) >= abs(value) - 1e-9) for value in expected]
    assert [each.p_value for each in found.values()] == pytest.approx(p)


def test_no_agreement_to_speak_of():
    assert transferability.compare_with_results(MADE, {}) is None
    assert transferability.compare_with_results(MADE, {1: 0.4, 2: 0.6, 7: 0.5}) is None
    assert transferability.compare_with_results(MADE, {1: 0.5, 2: 0.5, 3: 0.5}) is None
    assert transferability.compare_with_results(MADE, {1: 0.4, 2: 0.6, 5: 0.7}) == Agreement(
        (1, 2, 5),
        {
            "linear": RankCorrelation(1.0, pytest.approx(1 / 3)),
            "neighbours": RankCorrelation(1.0, pytest.approx(1 / 3)),
            "logme": RankCorrelation(0.5, 1.0),
            "cka": None,
        },
    )
    alike = [score._replace(logme=1.0) for score in MADE]
    assert (
        transferability.compare_with_results(alike, {1: 0.1, 2: 0.2, 3: 0.3}).correlations["logme"]
        is None
    )


def noisy(count, classes, dimensions, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return np.eye(classes, dimensions)[labels] * 2 + rng.normal(size=(count, dimensions)), labels


@pytest.mark.parametrize("dimensions", [5, 90])  # Fewer than pictures, and more.
def test_the_log_loss_is_that_of_a_plain_cross_validation(dimensions):
    x, labels = noisy(60, 3, dimensions)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(x, labels)
    folds, losses = list(folds), []
    for c in (0.003, 0.01, 0.03):
        loss = 0
        for train, test in folds:
            model = LogisticRegression(C=c, tol=1e-8, max_iter=5000)
            answers = model.fit(standard[train], labels[train]).predict_proba(standard[test])
            loss -= sum(np.log(answer[k]) for answer, k in zip(answers, labels[test], strict=True))
        losses.append(loss / 60)
    assert classifiers.logistic_log_loss(x, labels) == pytest.approx(min(losses), abs=2e-3)


def test_the_log_loss_where_classes_are_uneven_few_or_no_numbers():
    x, labels = noisy(60, 3, 5)
    kept = np.flatnonzero((labels != 2) | (np.arange(60) < 12))
    even = classifiers.logistic_log_loss(x[kept], labels[kept], BALANCED)
    plain = classifiers.logistic_log_loss(x[kept], labels[kept])
    assert even != pytest.approx(plain, abs=1e-2)
    assert np.isnan(classifiers.logistic_log_loss(x[:4], labels[:4]))
    x[0, 0] = np.nan
    assert np.isnan(classifiers.logistic_log_loss(x, labels))


def test_the_log_loss_of_the_eight_best_that_can_be_cut():
    features = [noisy(40, 2, 4, seed)[0] for seed in range(12)]
    labels = np.arange(40) % 2
    train = [x[:20] for x in features], labels[:20]
    test = [x[20:] for x in features], labels[20:]
    names = [f"u{n}" for n in range(1, 13)]
    scores = transferability.score_features(names, train, test, cuts=range(2, 13))
    known = [score for score in scores if not np.isnan(score.log_loss)]
    worst_known = min(score.linear for score in known)
    assert len(known) == 8
    assert scores[0] not in known
    assert all(score.linear <= worst_known for score in scores[1:] if score not in known)
    for score in known:
        expected = classifiers.logistic_log_loss(features[score.n - 1], labels)
        assert score.log_loss == pytest.approx(expected)
    text = transferability.describe(scores, pictures=20)
    assert f"{known[0].log_loss:.3f}" in text
    assert "log loss" not in transferability.describe(scores[:1], pictures=20).lower()


def test_the_nearest_neighbours_against_numpy():
    rng = np.random.default_rng(4)
    labels, others = rng.integers(0, 3, 60), rng.integers(0, 3, 200)
    x, y = (
        2 * np.eye(3, 6)[which] + rng.normal(size=(len(which), 6)) for which in (labels, others)
    )
    x, y = (values * np.exp(rng.normal(size=(len(values), 1))) for values in (x, y))  # Any length.
    similar = (y / np.linalg.norm(y, axis=1)[:, None]) @ (x / np.linalg.norm(x, axis=1)[:, None]).T
    nearest = labels[np.argsort(-similar, axis=1)[:, :5]]
    unit = x / np.linalg.norm(x, axis=1)[:, None]
    among = labels[np.argsort(np.diag(np.full(60, 9.0)) - unit @ unit.T, axis=1)[:, :5]]
    answers = np.array([np.bincount(votes, minlength=3).argmax() for votes in (*nearest, *among)])
    truth = np.concatenate([others, labels])
    top1 = classifiers.neighbours_top1(x, labels, y, others)
    assert top1 == pytest.approx(np.mean(answers == truth))
    assert 0.5 < top1 < 0.95
    balanced = np.mean([np.mean(answers[truth == one] == one) for one in range(3)])
    assert classifiers.neighbours_top1(x, labels, y, others, BALANCED) == pytest.approx(balanced)
    x[0, 0] = np.nan
    assert np.isnan(classifiers.neighbours_top1(x, labels, y, others))


def test_balanced_the_linear_classifier_weighs_classes_in_the_fit():
    rng = np.random.default_rng(5)
    labels, others = np.repeat([0, 1], [90, 6]), np.repeat([0, 1], [500, 500])
    x, y = (np.eye(2, 3)[which] + rng.normal(size=(len(which), 3)) for which in (labels, others))
    plain = classifiers.linear_top1(x, labels, y, others)  # The test has as many of both.
    assert classifiers.linear_top1(x, labels, y, others, BALANCED) > plain + 0.05


def test_the_description():
    assert transferability.describe(MADE[:2], pictures=500) == (
        "n  unit   linear  neighbours  LogME   CKA\n"
        "-------------------------------------------\n"
        "1  conv1  0.500   0.300       -0.500  0.100\n"
        "2  conv2  0.600   0.400        0.250  0.200\n"
        "These are estimates, from the donor's features of 500 pictures, without training; "
        "higher is better. Linear: top-1 of a linear classifier on the unit's features; "
        "neighbours: that of the five nearest pictures; each picture by others."
    )
    lines = transferability.describe(
        MADE, pictures=4000, reached={1: 0.4, 3: 0.5, 5: 0.45}
    ).splitlines()
    assert lines[0] == "n  unit   linear  neighbours  LogME   CKA    top-1 frozen"
    assert lines[2:7] == [
        "1  conv1  0.500   0.300       -0.500  0.100  0.400",
        "2  conv2  0.600   0.400        0.250  0.200",
        "3  conv3  0.700   0.200        0.500  0.900  0.500",
        "4  conv4  0.800   0.100        inf    0.300",
        "5  conv5  0.900   0.500        0.000  nan    0.450",
    ]
    assert " 4,000 pictures" in lines[7]
    assert lines[8:] == [
        "rank correlation with what frozen transfer reached at n = 1, 3, 5: linear +0.50 (p = "
        "1.00), neighbours -0.50 (p = 1.00), LogME +1.00 (p = 0.33), CKA none"
    ]
