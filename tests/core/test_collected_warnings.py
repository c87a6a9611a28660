import warnings

from mindeye2.core.collected_warnings import with_warnings


def test_warnings_are_returned_beside_the_result():
    def run():
        warnings.warn("not z-scored", stacklevel=1)
        return 3

    assert with_warnings(run) == (3, ["not z-scored"])
