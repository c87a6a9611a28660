from mindeye2.cli.options import completing


def test_completion_offers_the_names_that_begin_as_typed():
    assert completing({"ridge": 1, "released": 2, "adapt": 3})("r") == ["ridge", "released"]
