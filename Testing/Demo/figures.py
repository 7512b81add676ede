"""The results of the demonstration: the curves of its training and the table of its metrics."""

from __future__ import annotations

from pathlib import Path

from MedDeepLib.evaluation.report import read_table
from MedDeepLib.jobs.events import EventReader


def draw_curves(events_file: Path, picture: Path) -> None:
    """Draw the loss and the validation metric of a training over its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves: dict[str, list[tuple[int, float]]] = {}
    for event in EventReader(events_file).read():
        if event["event"] == "metrics":
            for name, value in event["values"].items():
                curves.setdefault(name, []).append((event["step"], value))
    figure, axes = pyplot.subplots(figsize=(7, 4))
    validation = axes.twinx()
    for name, points in curves.items():
        steps, values = zip(*points, strict=True)
        if name == "loss":
            axes.plot(steps, values, color="tab:blue", label=name)
        else:
            validation.plot(steps, values, "o-", color="tab:orange", label=f"{name} (synthetic cases)")
    axes.set(xlabel="step", ylabel="loss (Dice + cross-entropy)")
    validation.set(ylabel="Dice", ylim=(0, 1))
    figure.legend(loc="upper center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)


def print_table(report: Path) -> None:
    """Print the metrics of each structure, and the mean Dice."""
    header, rows = read_table(report)
    columns = [header.index(name) for name in ("structure", "dice", "hd95_mm", "assd_mm", "volume_error_percent")]
    print(f"{'structure':28}{'Dice':>8}{'HD95 mm':>10}{'ASSD mm':>10}{'volume error %':>16}")
    for row in rows:
        name, dice, hd95, assd, volume = (row[column] for column in columns)
        print(f"{name:28}{_number(dice, 3):>8}{_number(hd95, 1):>10}{_number(assd, 2):>10}{_number(volume, 0):>16}")
    scores = [float(row[columns[1]] or 0) for row in rows]
    print(f"{'mean of ' + str(len(rows)) + ' structures':28}{sum(scores) / len(scores):>8.3f}")


def _number(text: str, digits: int) -> str:
    return f"{float(text):.{digits}f}" if text else "-"
