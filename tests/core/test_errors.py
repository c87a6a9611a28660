import re
import sys

import pytest

from mindeye2.core.errors import MissingExtraError, check_choice, require


def test_an_accepted_value_is_returned_unchanged():
    assert check_choice("--recipe", "demo", {"demo", "standard"}) == "demo"


def test_a_refused_value_is_shown_with_the_accepted_ones_and_the_nearest():
    message = (
        "--recipe must be one of ['demo', 'standard'], got 'standart'. Did you mean 'standard'?"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_choice("--recipe", "standart", ["standard", "demo"])


def test_no_name_is_suggested_where_none_is_near():
    with pytest.raises(ValueError, match=r"got 'xyzzy'\.$"):
        check_choice("--recipe", "xyzzy", ["standard", "demo"])


def test_require_returns_the_module():
    assert require("json", extra="demo", purpose="This test") is sys.modules["json"]


def test_require_names_purpose_package_and_command():
    message = (
        r"^The decoder needs the package 'no_such_package', .*pip install 'mindeye2\[sdxl\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        require("no_such_package.part", extra="sdxl", purpose="The decoder")


def test_require_does_not_hide_a_broken_package(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import what_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_lacks") as caught:
        require("half_installed", extra="sdxl", purpose="The decoder")
    assert not isinstance(caught.value, MissingExtraError)
