"""What the networks of one target truly reach, inferred together: a normal hierarchical model.

Each network's top-1 on few pictures says little alone; all of them together say more. The true
top-1 of a family is a smooth curve over n, plus a part of each n alone, whose size is learnt too;
what is measured differs from it by the seed, and by the pictures, which all networks share. The
sizes of all these parts are averaged over (a grid, see below), so nothing is tuned to a study.
See Gelman et al. (2013), "Bayesian Data Analysis", chapter 5, and Rasmussen and Williams (2006),
"Gaussian Processes for Machine Learning", chapter 2.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from transfer_keras.results.comparison import Runs
from transfer_keras.results.roles import (
    BASE,
    FROZEN_TRANSFER,
    LINEAR_TRANSFER,
    TUNED_TRANSFER,
    Role,
)
from transfer_keras.results.selection import DIGITS
from transfer_keras.results.statistics import Interval, differ_by_seed, pool_seed_variance

DRAWS = 4000
_POINT = 0.01
_FAMILIES = (FROZEN_TRANSFER, TUNED_TRANSFER, LINEAR_TRANSFER)
# Standard deviations of what is known beforehand, in fractions of the pictures: of the level of
# all, and of each family.
_LEVEL, _FAMILY = 30 * _POINT, 10 * _POINT
# The grid. A curve over n: its size, and how far apart two n are that know little of each other,
# as a part of the most n. The part of each n alone. The seed.
_CURVE = _POINT * np.array([0.5, 1, 2, 4, 8, 16])
_LENGTH = np.array([0.25, 0.6, 1.5])
_OWN = _POINT * np.array([0.1, 0.25, 0.5, 1, 2, 4, 8])
_SEED = _POINT * np.array([0.4, 0.7, 1.2, 1.7, 2.5, 4, 6])
# The seed is what small sets of pictures make it, until several seeds say more. Of the sizes of a
# curve each is as likely as the others; of what is of an n alone the larger ones are somewhat more
# so, since few networks do not show it, and to take it for small promises too much. The exponent is
# that at which promises held best in simulated studies, smooth and rough.
_ROUGH = 0.5
_USUAL_SEED, _SEED_SPREAD = 1.7 * _POINT, 0.6  # The spread is of the logarithm.


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of what roles truly reach, with other seeds and on other pictures of the same kind.

    Attributes:
        roles: they are.
        means: float (roles,), what was measured: the mean top-1 of each over its seeds.
        gain: float (roles, roles); see `expect`.
        draws: float (draws, roles), top-1 in fractions.
        seed_variance: of one network's top-1 from seed to seed, in squared fractions; the mean.
    """

    roles: tuple[Role, ...]
    means: np.ndarray
    gain: np.ndarray
    draws: np.ndarray
    seed_variance: float

    def of(self, role: Role) -> np.ndarray:
        """Gives float (draws,), those of a role."""
        return self.draws[:, self.roles.index(role)]

    def expect(self, means: np.ndarray) -> np.ndarray:
        """Gives the expected levels of the roles where these means had been measured.

        Each mean is drawn towards those of similar networks, the more so the less is known of it.

        Args:
            means: float (roles,), of the same pictures or of a sample of them.

        Returns:
            Float (roles,), with the sizes of all parts as they are inferred.
        """
        return means.mean() + self.gain @ (means - means.mean())

    def choose(self, roles: Sequence[Role], means: np.ndarray) -> Role:
        """Chooses the role that is expected to reach most, of equals the first.

        Args:
            roles: those that can be chosen.
            means: see `expect`.
        """
        levels = np.round(self.expect(means), DIGITS)
        return max(roles, key=dict(zip(self.roles, levels, strict=True)).get)

    def regret(self, role: Role) -> float:
        """Gives the mean of what is lost from the best of all roles, in fractions."""
        return float((self.draws.max(axis=1) - self.of(role)).mean())

    def risk(self, role: Role, than: Role, margin: float) -> float:
        """Gives the probability that a role loses more than a margin from another."""
        return float((self.of(than) - self.of(role) > margin).mean())

    def difference(self, role: Role, than: Role, *, confidence: float = 0.9) -> Interval:
        """Gives the mean of role - than, in fractions, and its interval of so much probability."""
        values = self.of(role) - self.of(than)
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(float(values.mean()), float(low), float(high))


def infer_levels(runs: Runs, *, draws: int = DRAWS) -> Posterior | None:
    """Infers what training from scratch and the transfers of a donor truly reach.

    Args:
        runs: of one target, with the answers of all networks to its pictures.
        draws: how many are made; they are always the same.

    Returns:
        None where there are no networks, or the answers of one are not known.
    """
    answers = _answers_by_role(runs)
    fitted = {role for _, _, role, result in runs.networks() if result.fitted}
    if not answers:
        return None
    roles = tuple(sorted(answers, key=lambda role: (role.n, role.family)))
    means = np.array([answers[role].mean() for role in roles])
    seeds = np.array([np.inf if role in fitted else len(answers[role]) for role in roles])
    images = _image_covariance([answers[role].mean(axis=0) for role in roles])
    pooled = pool_seed_variance(filter(differ_by_seed, answers.values()))

    # Every size of the parts: what is known beforehand, what is measured, and how well they agree.
    sizes = np.array(list(itertools.product(_CURVE, _LENGTH, _OWN, _SEED)))
    curve, length, own, seed = sizes.T
    prior = _prior(roles, curve, length, own)
    noise = images + seed[:, None, None] ** 2 * np.diag(1 / seeds)
    deviations = means - means.mean()
    log_weights = _log_normal(deviations, prior + noise)
    log_weights += _ROUGH * np.log(own)
    log_weights += -0.5 * (np.log(seed / _USUAL_SEED) / _SEED_SPREAD) ** 2
    if pooled:
        expected = seed**2 + pooled.within
        log_weights += -0.5 * pooled.freedom * (np.log(expected) + pooled.between / expected)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()

    rng = np.random.default_rng(0)
    parts, mean_gain = [], np.zeros((len(roles), len(roles)))
    for place, count in enumerate(rng.multinomial(draws, weights)):
        if count:
            gain = np.linalg.solve(prior[place] + noise[place], prior[place]).T
            covariance = prior[place] - gain @ prior[place]
            centre = means.mean() + gain @ deviations
            mean_gain += count / draws * gain
            parts.append(rng.multivariate_normal(centre, covariance, count, method="eigh"))
    seed_variance = float(weights @ seed**2)
    return Posterior(roles, means, mean_gain, np.concatenate(parts), seed_variance)


def _answers_by_role(runs: Runs) -> dict[Role, np.ndarray] | None:
    """Gives role -> bool (seeds, images); None where some are not known."""
    answers: dict[Role, list[np.ndarray]] = {}
    for _, _, role, result in runs.networks():
        if role == BASE or role.family in _FAMILIES:
            if result.right is None:
                return None
            answers.setdefault(role, []).append(result.right)
    return {role: np.array(right) for role, right in answers.items()}


def _image_covariance(answers: Sequence[np.ndarray]) -> np.ndarray:
    """Estimates the covariance of the roles' top-1 over pictures, (roles, roles).

    So that networks that never disagree are not taken for certain, the difference of any two has
    the variance of Bonett and Price; see `statistics.paired_difference`.
    """
    table = np.array(answers, float)
    count = table.shape[1] + 2
    return np.atleast_2d(np.cov(table, ddof=0)) / count + np.eye(len(table)) / count**2


def _prior(
    roles: Sequence[Role], curve: np.ndarray, length: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Makes the covariance of the true levels for each of the sizes, (sizes, roles, roles)."""
    n = np.array([role.n for role in roles], float) / max(1, *(role.n for role in roles))
    family = np.array([role.family for role in roles])
    same = (family[:, None] == family) & (family != BASE.family)
    apart = (n[:, None] - n) / length[:, None, None]
    smooth = curve[:, None, None] ** 2 * np.exp(-0.5 * apart**2)
    # The base is a family of one, which has no curve.
    shared = _LEVEL**2 + _FAMILY**2 * (family[:, None] == family)
    return shared + same * smooth + own[:, None, None] ** 2 * np.eye(len(roles))


def _log_normal(values: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Computes the logarithm of the normal density at values, for many covariances, but for a
    constant."""
    roots = np.linalg.cholesky(covariances)
    scaled = np.linalg.solve(roots, np.broadcast_to(values[:, None], (len(roots), len(values), 1)))
    logs = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    return -0.5 * (scaled[..., 0] ** 2).sum(axis=1) - logs
