"""How well estimates without training choose a cut, for `benchmark_advice.py`.

Each estimate of `advise` takes the n with its highest score, of those that the grid has frozen.
What that loses is held against what is lost by always taking all units.
"""

import json
import math
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence

import advice_pairs


def print_estimates(
    pairs: Sequence[advice_pairs.Pair],
    folder: pathlib.Path,
    frozen: Mapping[str, Mapping[int, float]],
) -> None:
    """Prints the regret of each estimate, in points, and its rank correlation with the truth.

    Args:
        pairs: of a donor and pictures.
        folder: where scores are kept.
        frozen: name of a pair -> n -> the top-1 that frozen units reach, by the grid.
    """
    from scipy import stats

    from transfer_keras.config import align_columns

    names = ["linear", "neighbours", "logme", "cka"]
    lines = [("pair", "n", "always all", *names)]
    regrets, correlations = {name: [] for name in ("all", *names)}, {name: [] for name in names}
    for pair in pairs:
        truth, scores = frozen[pair.name], _scores(pair, folder)
        ns = sorted(truth)
        best = max(truth.values())
        regrets["all"].append(100 * (best - truth[max(ns)]))
        cells = []
        for name in names:
            values = [scores[str(n)][name] for n in ns]
            known = [-math.inf if math.isnan(value) else value for value in values]
            taken = max(ns, key=lambda n, known=known, ns=ns: (known[ns.index(n)], n))
            regrets[name].append(100 * (best - truth[taken]))
            rank = float(stats.spearmanr(known, [truth[n] for n in ns]).statistic)
            correlations[name].append(0.0 if math.isnan(rank) else rank)
            cells.append(f"{regrets[name][-1]:.1f} ({correlations[name][-1]:+.2f})")
        taken = ", ".join(map(str, ns))
        lines.append((pair.name, taken, f"{regrets['all'][-1]:.1f}", *cells))
    mean = (
        f"{statistics.mean(regrets[name]):.1f} ({statistics.mean(correlations[name]):+.2f})"
        for name in names
    )
    lines.append(("mean", "", f"{statistics.mean(regrets['all']):.1f}", *mean))
    print(align_columns(lines))


def _scores(pair: advice_pairs.Pair, folder: pathlib.Path) -> dict[str, dict[str, float]]:
    """Computes the scores of a pair, n -> estimate -> value, or reads them."""
    path = folder / "estimates" / f"{pair.name}.json"
    if not path.exists():
        from transfer_keras.advice import Budget
        from transfer_keras.advice.first_answer import estimate
        from transfer_keras.config import make_experiment
        from transfer_keras.experiments import describe_donor, read_data

        experiment = make_experiment(
            ["baseB"], donor=str(pair.donor), dataset=f"folder:{pair.pictures}",
            units=pair.units, describe_donor=describe_donor,
        )  # fmt: skip
        budget = Budget(3600.0, time.monotonic())
        scores, _ = estimate(experiment, read_data(experiment), budget, lambda line: None)
        values = {str(score.n): score._asdict() for score in scores}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return json.loads(path.read_text())
