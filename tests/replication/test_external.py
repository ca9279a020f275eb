"""Tables of others: read, predicted from what is kept, refused."""

import json

import numpy as np
import pytest

from passband.base.errors import BadInputError
from replication import external
from support.shell import run_here

DOSES = "train_dose,test_dose,n_networks,median_loss"


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_agreement_is_that_of_what_the_table_holds():
    loss = np.array([0.1, 0.3, 0.2, 0.5])
    other = external.OtherTable("dose", [30.0, 30.0, 75.0, 75.0], [30.0, 75.0, 75.0, 30.0], loss)
    assert other.agreement(np.log(loss) - 3) == pytest.approx({"rank": 1.0, "r2": 1.0})
    assert other.agreement(-np.log(loss))["rank"] == pytest.approx(-1.0)
    assert other.agreement(np.zeros(4)) == {"rank": None, "r2": None}
    # The level comes from rows tested as trained: 0.1 and 0.2.
    predicted = np.log([0.1, 0.1, 0.2, 0.2])
    expected = 1 - (np.log(3) ** 2 + np.log(2.5) ** 2) / ((np.log(loss) - np.log(loss).mean()) ** 2).sum()
    assert other.agreement(predicted)["r2"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("train_C1_angstrom,test_C1_angstrom,median_loss", [-100, 0, 112.5]),
        (DOSES, [30, 75, 260]),
        ("train,test,median_loss", ["w_CdSe_small", "fcc_Cu_small", "fcc_Cu_large"]),
    ],
)
def test_a_table_of_any_kind_is_answered_from_what_is_kept(tmp_path, header, names):
    rows = [
        (a, b, *([9] if "n_networks" in header else []), 0.1 + 0.1 * i * j)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    table = write(tmp_path / "table.csv", header, rows)
    code, out, _ = run_here(table, "--json", app=external.external_app)
    answer = json.loads(out)
    assert code == 0
    assert answer["rows"] == 9
    assert -1 <= answer["prediction"]["rank"] <= 1
    assert "separability of the test" in answer["baselines"]
    assert len(answer["baselines"]) >= 3
    text = run_here(table, app=external.external_app)[1]
    assert "rank correlation" in text


def test_the_prediction_of_a_table_made_from_it_is_perfect(tmp_path):
    names = [30.0, 150.0, 600.0]
    seen = external._kept("dose", names)
    errors = external.log_errors(seen, seen).numpy()
    assert errors.argmin(1).tolist() != errors.argmax(1).tolist()
    rows = [(a, b, 1, float(np.exp(0.1 * errors[i, j]))) for i, a in enumerate(names) for j, b in enumerate(names)]
    other = external.read_other(write(tmp_path / "table.csv", DOSES, rows))
    assert external.compare(other)["reader"]["rank"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("train,median_loss", [("a", 1)], "has the columns train, median_loss; expected are"),
        (DOSES, [(30, 75, 1, 0.1), (30, 30, 1, 0.2)], "three rows or more"),
        (DOSES, [(30, 75, 1, 0.1), (30, 30, 1, 0.2), (75, 30, 1, -1)], "loss above 0"),
        (DOSES, [(30, 75, 1, 0.1), (30, 30, 1, 0.2), ("x", 30, 1, 1)], "is no number"),
        (DOSES, [(30, 75, 1, 0.1), (30, 30, 1, 0.2), (9000, 30, 1, 1)], "dose 9000.0 lies outside 15.0 to 1500.0"),
        ("train,test,median_loss", [("w_CdSe_small", "hcp_Co_small", 0.1)] * 3, "hcp_Co_small was not simulated"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, header, rows, message):
    table = write(tmp_path / "table.csv", header, rows)
    code, out, error = run_here(table, app=external.external_app)
    assert (code, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="cannot be read"):
        external.read_other(tmp_path / "none.csv")
