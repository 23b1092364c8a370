"""The contents of TensorBoard's pages HParams and Custom Scalars."""

from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hp

from transfer_keras.training.monitors.units import METRICS

TOP1_TAG, DIFFERENCE_TAG = "result/top1", "result/difference_from_base"
PROBE_TAG = "probe_accuracy"  # After the name of a unit.


def custom_scalars_layout(units: Sequence[str], curves: Sequence[str]) -> Summary:
    """Makes the layout of Custom Scalars: a chart a metric, with a line a unit.

    The user chooses one run to see the units of one treatment.

    Args:
        units: names, from the input up.
        curves: tags of the transfer curve.
    """

    def chart(title: str, tags: Sequence[str]) -> layout_pb2.Chart:
        lines = layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
        return layout_pb2.Chart(title=title, multiline=lines)

    unit_charts = [
        chart(metric, [f"{unit}/{metric}" for unit in units]) for metric in (*METRICS, PROBE_TAG)
    ]
    score_charts = [
        chart("loss", ["loss/training", "loss/validation"]),
        chart("accuracy", ["accuracy/training", "accuracy/validation"]),
    ]
    layout = layout_pb2.Layout(
        category=[
            layout_pb2.Category(title="Units, a line each (choose one run)", chart=unit_charts),
            layout_pb2.Category(title="Scores", chart=score_charts),
            layout_pb2.Category(
                title="Transfer curve, top-1 against n",
                chart=[chart("top-1", [tag.replace("+", r"\+") for tag in curves])],
            ),
        ]
    )
    # TensorBoard's function gives the message in TensorFlow's class of it.
    return Summary.FromString(custom_scalar.pb(layout).SerializeToString())


def hparams_columns(
    choices: Mapping[str, Sequence], counts: Sequence[str], most_units: int
) -> Summary:
    """Makes the columns of HParams.

    Args:
        choices: setting -> its values, text.
        counts: settings that are whole numbers, 0 or more.
        most_units: the highest n.
    """
    columns = [hp.HParam(name, hp.Discrete(values)) for name, values in choices.items()]
    columns.insert(1, hp.HParam("n", hp.IntInterval(0, most_units)))
    columns += [hp.HParam(name, hp.IntInterval(0, 2**31 - 1)) for name in counts]
    metrics = [hp.Metric(TOP1_TAG, display_name="top-1")]
    metrics.append(hp.Metric(DIFFERENCE_TAG, display_name="difference from base"))
    return hp.hparams_config_pb(columns, metrics)


def hparams_row(name: str, settings: Mapping[str, str | int]) -> Summary:
    """Makes the row of one treatment in HParams.

    Args:
        name: identifies the row.
        settings: its value in each column.
    """
    return hp.hparams_pb(dict(settings), trial_id=name)
