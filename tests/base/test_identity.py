from passband.base.identity import content_id, seed_from


def test_ids_do_not_depend_on_key_order():
    assert content_id({"a": 1, "b": [2.0, None]}) == content_id({"b": [2.0, None], "a": 1})
    assert content_id({"a": 1}) != content_id({"a": 2})


def test_seeds_are_stable_and_differ_by_name_and_order():
    # A changed value here would silently change every simulated specimen.
    assert seed_from("specimen", 1, 0) == 7185912011683079410
    names = [("specimen", 1, 0), ("specimen", 0, 1), ("phonons", 1, 0), ("specimen", 1, 10), ("specimen", 11, 0)]
    assert len({seed_from(*n) for n in names}) == len(names)
    assert all(0 <= seed_from("x", i) < 2**63 for i in range(100))
