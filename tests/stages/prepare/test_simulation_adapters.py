from mindeye2.core.artifacts import read_manifest
from mindeye2.data.prepared import open_prepared
from mindeye2.data.scenes import load_photographs
from mindeye2.stages.prepare import ScenePreparation, prepare


def test_the_splits_have_the_images_asked_for(prepared):
    train, validation, test = (prepared.images_of(s) for s in ("train", "validation", "test"))
    assert train.max() < 60 <= validation.min()  # not everything is shown to somebody
    assert validation.max() < 72
    assert test.tolist() == list(range(72, 82))
    assert prepared.images.shape == (82, 96, 96, 3)
    assert len(prepared.captions) == len(prepared.categories) == 82
    assert set(prepared.kinds) == {"object", "setting", "number", "light"}
    assert {len(kinds) for kinds in prepared.kinds.values()} == {82}
    assert "mountain" in prepared.kinds["setting"]
    alone = {
        f"{shown.credit.caption} {behind.credit.preposition} {behind.credit.caption}"
        for photographs in (load_photographs(split=split) for split in ("train", "test"))
        for shown in photographs.cutouts
        for behind in photographs.backgrounds
    }
    ones = [kind == "one" for kind in prepared.kinds["number"]]
    assert ones == [caption in alone for caption in prepared.captions]
    assert all(60 <= n <= 90 for n in prepared.n_voxels.values())


def test_all_subjects_are_shown_every_test_image_as_often_as_asked(prepared):
    for subject in prepared.subjects:
        counts = prepared.trials_of(subject, "test")["image"].value_counts()
        assert counts.to_dict() == dict.fromkeys(range(72, 82), 2)


def test_simulated_responses_are_recorded_as_simulated(data):
    manifest = read_manifest(data, stage="prepare")
    assert manifest["simulated"] is True
    assert "no subject was scanned" in manifest["label"]


def test_scenes_alone_are_prepared_without_subjects(tmp_path):
    settings = ScenePreparation(
        n_train=3, n_validation=0, n_test=0, scene_size=64, encoders=("lite0",)
    )
    prepare(settings, out=tmp_path)
    scenes = open_prepared(tmp_path)
    assert (scenes.subjects, scenes.images.shape) == ([], (3, 64, 64, 3))
    assert scenes.manifest["simulated"] is False
