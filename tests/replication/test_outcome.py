"""Tables of the pages."""

import re

from replication.outcome import table


def test_bars_in_header_and_cells_do_not_part_columns():
    lines = table(["task", "|Δdefocus|"], [["columns", "|a|"]]).splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3]
    assert lines[0] == r"| task | \|Δdefocus\| |"
