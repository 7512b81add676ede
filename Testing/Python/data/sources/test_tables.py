"""Tables, matrices and signals: names are kept, missing values are reported, errors name file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.data.sources.matrix import read_matrix
from MedDeepLib.data.sources.signals import read_signals
from MedDeepLib.data.sources.table import read_table
from MedDeepLib.errors import UserError


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_row_for_a_case(tmp_path):
    table = read_table(write(tmp_path, "Age,MMSE,sex\n71.5,,f\n"))
    assert table.columns == ("Age", "MMSE") and table.texts == {"sex": ("f",)}
    np.testing.assert_array_equal(table.values, [[71.5, np.nan]])
    assert table.missing == "t.csv lacks values in MMSE (1)."
    assert table.column("Age") == [71.5]
    with pytest.raises(KeyError):
        table.column("age")


def test_several_rows_in_a_german_spreadsheet(tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes("Größe;Fläche;Läsion\r\n1,5;2;a\r\nn/a;3,25;b\r\n".encode("cp1252"))
    table = read_table(file)
    assert table.columns == ("Größe", "Fläche") and table.texts == {"Läsion": ("a", "b")}
    np.testing.assert_array_equal(table.values, [[1.5, 2], [np.nan, 3.25]])


def test_tabs_and_numbers_with_exponents(tmp_path):
    table = read_table(write(tmp_path, "a\tb\n1e-3\t-2\n", "t.tsv"))
    np.testing.assert_array_equal(table.values, [[0.001, -2]])
    assert table.missing == ""


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b\n1,2\n1.5x,2\n2,3\n", "t.csv, line 3: '1.5x' in the column 'a' is not a number"),
        ('a,b\n"1,234",2\n1,2\n1,3\n', "line 2: '1,234' in the column 'a' is not a number"),
        ("a,b\n1,2\n1_000,2\n2,3\n", "'1_000' in the column 'a' is not a number"),
        ("a,b\n1,inf\n1,2\n1,2\n", "'inf' in the column 'b' is not a number"),
        ("a,b\n1,2,3\n", "t.csv, line 2: there are 3 cells, but 2 in the first line"),
        ("a,b\n1\n", "t.csv, line 2: there are 1 cells, but 2"),
        ("a,a\n1,2\n", "has the column 'a' twice"),
        ("a,\n1,2\n", "has no name for column 2"),
        ("1,2\n3,4\n", "begins with numbers"),
        ("a,b\n", "has no row"),
        ("", "has no row"),
    ],
)
def test_mistakes_in_a_table(tmp_path, text, words):
    assert words in sentence(read_table, write(tmp_path, text))


SQUARE = np.array([[1.0, 0.5, 0.25], [0.5, 1, 0.75], [0.25, 0.75, 1]])


@pytest.mark.parametrize(
    "text, rows, columns",
    [
        ("1,.5,.25\n.5,1,.75\n.25,.75,1\n", (), ()),
        ("A,B,C\n1,.5,.25\n.5,1,.75\n.25,.75,1\n", (), ("A", "B", "C")),
        (",A,B,C\nA,1,.5,.25\nB,.5,1,.75\nC,.25,.75,1\n", ("A", "B", "C"), ("A", "B", "C")),
        ("region,A,B,C\nA,1,.5,.25\nB,.5,1,.75\nC,.25,.75,1\n", ("A", "B", "C"), ("A", "B", "C")),
        (",0,1,2\n0,1,.5,.25\n1,.5,1,.75\n2,.25,.75,1\n", ("0", "1", "2"), ("0", "1", "2")),
        ("A;B;C\n1;0,5;0,25\n0,5;1;0,75\n0,25;0,75;1\n", (), ("A", "B", "C")),
    ],
    ids=["plain", "header", "names", "corner", "pandas", "german"],
)
def test_a_square_matrix(tmp_path, text, rows, columns):
    matrix = read_matrix(write(tmp_path, text))
    np.testing.assert_array_equal(matrix.values, SQUARE)
    assert (matrix.rows, matrix.columns, matrix.missing) == (rows, columns, "")


def test_an_empty_diagonal_is_missing_and_no_header(tmp_path):
    matrix = read_matrix(write(tmp_path, ",.5\n.5,\n"))
    np.testing.assert_array_equal(matrix.values, [[np.nan, 0.5], [0.5, np.nan]])
    assert matrix.missing == "t.csv lacks values in 1 (1), 2 (1)."


def test_matrices_need_not_be_square(tmp_path):
    assert read_matrix(write(tmp_path, "1,2,3\n4,5,6\n")).values.shape == (2, 3)
    np.save(tmp_path / "m.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    assert read_matrix(tmp_path / "m.npy").values.shape == (3, 2)


@pytest.mark.parametrize(
    "text, words",
    [
        ("1,2\n3\n", "t.csv, line 2: there are 1 cells, but 2"),
        ("1,2\n3,x\n", "t.csv, line 2: 'x' in the column '2' is not a number"),
        ("A,B,C\n1,2\n", "names 3 columns, but line 2 has 2"),
        ("", "contains no numbers"),
    ],
)
def test_mistakes_in_a_matrix(tmp_path, text, words):
    assert words in sentence(read_matrix, write(tmp_path, text))


def test_numpy_files_that_are_no_matrix(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros(3))
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "d.npy").write_bytes(b"no array")
    assert "has the shape (3,)" in sentence(read_matrix, tmp_path / "v.npy")
    assert "cannot be read" in sentence(read_matrix, tmp_path / "o.npy"), "nothing is unpickled"
    assert "cannot be read" in sentence(read_matrix, tmp_path / "d.npy")


def test_signals(tmp_path):
    signals = read_signals(write(tmp_path, "Time,Hippocampus L,Hippocampus R\n0,1,2\n2,3,\n4,5,6\n"))
    assert signals.regions == ("Hippocampus L", "Hippocampus R") and signals.interval == 2
    np.testing.assert_array_equal(signals.values, [[1, 2], [3, np.nan], [5, 6]])
    assert signals.missing == "t.csv lacks values in Hippocampus R (1)."


def test_signals_without_names(tmp_path):
    signals = read_signals(write(tmp_path, "1\t2\n3\t4\n", "s.tsv"))
    assert (signals.regions, signals.interval, signals.values.shape) == (("1", "2"), None, (2, 2))


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b\n1,2\n", "need at least two lines of numbers"),
        ("a,b\n1,2\n1,x\n", "t.csv, line 3: 'x' in the column 'b' is not a number"),
        ("a,b\n1,2\n1\n", "t.csv, line 3: there are 1 cells"),
        ("a,a\n1,2\n1,2\n", "have the column 'a' twice"),
        ("time,a\n0,1\n1,1\n5,1\n", "are not evenly spaced"),
        ("time\n0\n1\n", "only a column of times"),
    ],
)
def test_mistakes_in_signals(tmp_path, text, words):
    assert words in sentence(read_signals, write(tmp_path, text))


@pytest.mark.parametrize("reader", [read_table, read_matrix, read_signals])
def test_files_that_cannot_be_read(tmp_path, reader):
    assert "cannot be read as" in sentence(reader, tmp_path / "t.xlsx")
    assert "cannot be read as CSV" in sentence(reader, tmp_path / "gone.csv")


def sentence(reader, file: Path) -> str:
    with pytest.raises(UserError) as caught:
        reader(file)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text
