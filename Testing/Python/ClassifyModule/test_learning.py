"""That each method learns what an untrained network cannot know, and nothing where the classes are dealt at random."""

from __future__ import annotations

import csv

import pytest
from toy_classes import FAST, write_matrices, write_table, write_volumes

pytestmark = pytest.mark.slow
NETS = ("--set", "network=alexnet", "--set", "features=6", "--set", "size=32,32,32", "--set", "steps=150")


def auc_of(classify, run, dataset, report) -> tuple[float, float, float]:
    """The AUC on the test cases with its 95 % interval."""
    arguments = ("--model", run, "--dataset", dataset, "--output", report, *FAST)
    code, _, errors = classify("evaluate", *arguments)
    assert code == 0, errors
    with report.with_name(f"{report.stem}.summary.csv").open(newline="", encoding="utf-8") as file:
        line = list(csv.DictReader(file))[-1]
    # Without an interval where all resamples agree.
    return tuple(float(line[name] or line["auc"]) for name in ("auc_low", "auc", "auc_high"))


def tables(folder, shuffled=False):
    """600 rows for training and 400 to test, with a signal that no single feature has."""
    file = write_table(folder / "table.csv", count=1000, features=10, shuffled=shuffled)
    header, *rows = file.read_text(encoding="utf-8").splitlines()
    split = [f"{'training' if n < 600 else 'test'},{row}" for n, row in enumerate(rows)]
    file.write_text("\n".join([f"split,{header}", *split]), encoding="utf-8")
    return file


def test_perceptrons_of_all_sizings_find_the_signal_of_a_table(train, classify, tmp_path):
    """Pruned to 15 % of its weights, a network is as good to .01; growth ends by itself and is as good to .01."""
    dataset = tables(tmp_path)
    found = {}
    for sizing in ("direct", "pruning", "growth"):
        more = ("--set", f"sizing={sizing}", "--set", "dropout=0.1")
        code, shown, errors = train(dataset, "mlp", tmp_path / sizing, *more)
        assert code == 0, errors
        found[sizing] = auc_of(classify, tmp_path / sizing, dataset, tmp_path / f"{sizing}.csv")[1]
        if sizing == "pruning":
            assert "weights are left (15%)" in shown
        if sizing == "growth":
            assert "more did not lower the validation loss" in shown
    assert found["direct"] > 0.85, found
    assert found["pruning"] > found["direct"] - 0.01 and found["growth"] > found["direct"] - 0.01, found


def test_brainnet_finds_planted_edges(train, classify, tmp_path):
    dataset = write_matrices(tmp_path, count=160, size=20, test=40)
    code, _, errors = train(dataset, "brainnet", tmp_path / "run", "--set", "steps=150")
    assert code == 0, errors
    assert auc_of(classify, tmp_path / "run", dataset, tmp_path / "report.csv")[1] > 0.85
    edges = ("--output-edges", tmp_path / "edges.csv", "--set", "explained=sick")
    inputs = ("--matrix", tmp_path / "1.npy", "--output", tmp_path / "answer.json", *edges, *FAST[:4])
    code, _, errors = classify("apply", "--model", tmp_path / "run", *inputs)
    assert code == 0, errors
    with (tmp_path / "edges.csv").open(newline="", encoding="utf-8") as file:
        rows = [[float(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    planted = sum(rows[2][n] for n in range(5, 10)) / 5
    others = [abs(rows[i][j]) for i in range(20) for j in range(i) if 2 not in (i, j)]
    assert planted > 3 * sum(others) / len(others), "the planted edges speak for the class"


def test_a_convolutional_network_finds_a_planted_block(train, classify, tmp_path):
    dataset = write_volumes(tmp_path, count=60, size=32, test=20)
    code, _, errors = train(dataset, "cnn", tmp_path / "run", *NETS)
    assert code == 0, errors
    assert auc_of(classify, tmp_path / "run", dataset, tmp_path / "report.csv")[1] > 0.9


@pytest.mark.parametrize("method", ["mlp", "brainnet", "cnn"])
def test_classes_at_random_stay_at_chance(train, classify, tmp_path, method):
    dataset = {
        "mlp": lambda: tables(tmp_path, shuffled=True),
        "brainnet": lambda: write_matrices(tmp_path, count=160, size=20, shuffled=True, test=80),
        "cnn": lambda: write_volumes(tmp_path, count=80, size=32, shuffled=True, test=40),
    }[method]()
    more = {"mlp": (), "brainnet": ("--set", "steps=150"), "cnn": NETS}[method]
    code, shown, errors = train(dataset, method, tmp_path / "run", *more)
    assert code == 0, errors
    low, auc, high = auc_of(classify, tmp_path / "run", dataset, tmp_path / "report.csv")
    assert low <= 0.5 <= high, (low, auc, high)
