from mindeye2.released.imported import find_imported, find_networks, is_released


def test_an_import_and_a_folder_of_imports_are_recognised(weights, data, tmp_path):
    assert set(find_imported(weights)) == {"mindeye", "unclip", "lowlevel_vae", "clip_converter"}
    assert set(find_imported(weights / "unclip")) == {"unclip"}
    assert is_released(weights)
    assert is_released(weights / "brain")
    assert not any(is_released(p) for p in (data, weights / "unclip", tmp_path / "nowhere"))


def test_networks_are_found_without_brain_decoders_of_which_there_may_be_several(weights):
    assert set(find_networks(weights)) == {"unclip", "lowlevel_vae", "clip_converter"}
    assert find_networks(weights / "brain") == {}
