import pandas as pd

from mindeye2.data.prepared import Prepared
from mindeye2.planning.data_size import nsd_size, prepared_size


def test_nsd_has_the_published_size():
    nsd = nsd_size()
    assert nsd.n_trials["subj01"] == 30_000
    assert sum(nsd.n_trials.values()) == 213_000
    # The released images' tokens, 256 x 1664 in float16: 62 GB.
    assert nsd.bytes_of_bank((256, 1664)) == 73_000 * 425_984 * 2
    assert nsd.of(["subj01"]).bytes_of_betas == 30_000 * 15_724 * 2


def test_given_voxels_name_the_subjects():
    assert nsd_size([100, 200]).n_voxels == {"subj01": 100, "subj02": 200}


def test_sessions_divide_the_trials():
    first = nsd_size().of(["subj01"]).first(4)
    assert (first.n_trials, first.n_sessions) == ({"subj01": 3000}, 4)


def test_a_prepared_data_set_is_counted(tmp_path):
    prepared = Prepared(folder=tmp_path, manifest={"subjects": {"a": 7, "b": 9}})
    table = pd.DataFrame({"subject": list("aaabb"), "session": [1, 1, 2, 1, 1]})
    vars(prepared).update(trials=table, images=range(40))
    size = prepared_size(prepared)
    assert (size.n_voxels, size.n_trials) == ({"a": 7, "b": 9}, {"a": 3, "b": 2})
    assert (size.n_sessions, size.n_images) == (2, 40)
