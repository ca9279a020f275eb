"""The line of an image."""

import pytest

from passband.sessions.contact_sheet import caption
from passband.sessions.image_run import COLUMNS

ROW = dict.fromkeys(COLUMNS) | {"file": "a.tif", "dice": 0.89, "dice_low": 0.79, "dice_high": 0.95}


@pytest.mark.parametrize(
    ("answer", "relative_loss", "line"),
    [
        ("no", 2.4, "a.tif: no, loss 2.4 × in-domain (works up to 1.5 ×), Dice 0.89 (0.79–0.95)"),
        # Its Dice says why.
        ("no", 1.2, "a.tif: no, Dice 0.89 (0.79–0.95)"),
        ("yes", 1.2, "a.tif: yes, Dice 0.89 (0.79–0.95)"),
        ("no", None, "a.tif: no, Dice 0.89 (0.79–0.95)"),
    ],
)
def test_a_no_beside_a_large_dice_says_why(answer, relative_loss, line):
    assert caption(ROW | {"verdict": answer, "relative_loss": relative_loss}) == line
