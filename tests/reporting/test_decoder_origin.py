from mindeye2.core.artifacts import write_manifest
from mindeye2.reporting.decoder_origin import decoder_name, model_manifests, own_runs


def run(folder, **config):
    folder.mkdir()
    (folder / "steps.jsonl").write_text("{}\n")
    write_manifest(folder, stage="train", config=config)


def test_a_run_comes_with_the_pretrained_run_that_it_started_from(tmp_path):
    run(tmp_path / "pretrained", recipe="demo", init=None)
    run(tmp_path / "adapted", recipe="adapt", init="../pretrained")
    (tmp_path / "decoded").mkdir()
    reconstructed = {"config": {"init": "../adapted"}}
    found = own_runs(reconstructed, tmp_path / "decoded")
    assert {name: path.resolve() for name, path in found.items()} == {
        "demo": (tmp_path / "pretrained").resolve(),
        "adapt": (tmp_path / "adapted").resolve(),
    }
    assert list(found) == ["demo", "adapt"]
    [manifest] = model_manifests(reconstructed, tmp_path / "decoded")
    assert decoder_name(manifest) == "adapt"


def test_outputs_of_others_have_no_run(tmp_path):
    facts = {"source_files": {"a.pt": "f" * 64}, "mindeye2": "0.1.0"}
    reconstructed = {"config": {"init": "evals/final_subj01"}, **facts}
    [manifest] = model_manifests(reconstructed, tmp_path)
    assert decoder_name(manifest) == "final_subj01"
    assert own_runs(reconstructed, tmp_path) == {}
