"""Top-1 on the straight line between the weights of two networks."""

import pathlib
from collections.abc import Sequence

from matplotlib import pyplot

from transfer_keras.results.analyses import Interpolation
from transfer_keras.results.figures import drawing

_LINES = ("-", "--", ":", "-.")


def draw(records: Sequence[Interpolation], paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws a panel of the pairs with a common beginning, and one of those without.

    Args:
        records: one or more.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    panels = {
        "some lower units began equal": [r for r in records if r.shared_units],
        "nothing began equal": [r for r in records if not r.shared_units],
    }
    panels = {name: group for name, group in panels.items() if group}
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.8 * len(panels), 5), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, (name, group) in zip(axes[0], panels.items(), strict=True):
        for number, record in enumerate(group):
            label = f"{record.first} to {record.second}"
            if shared := record.shared_units:
                label += f" ({shared} unit{'s' * (shared > 1)})"
            axis.plot(
                record.positions, record.top1, marker=".", label=label,
                linestyle=_LINES[number // 7 % len(_LINES)],
                color=drawing.COLOURS[number % len(drawing.COLOURS)],
            )  # fmt: skip
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("place on the line (0: first, 1: second)")
        axis.grid(alpha=0.3)
        drawing.draw_legend(axis)
    axes[0][0].set_ylabel("top-1")
    axes[0][0].set_ylim(bottom=0)
    drawing.save(figure, paths, title=title)
