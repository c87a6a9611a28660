"""Conventions that no tool checks."""

import ast
import re
from pathlib import Path

WITHOUT_MIRROR: dict[str, str] = {
    "analysis_steps.py": "stages/analyse/test_run.py, end_to_end/test_analyses.py",
    "cli/analyse_command.py": "stages/analyse/test_run.py",
    "cli/app_command.py": "app/test_layout.py",
    "cli/weight_commands.py": "released/test_importing.py, released/test_exporting.py",
    "core/axes.py": "architecture/test_vocabulary.py",
    "data/kriegeskorte92/kriegeskorte92_files.py": "same folder, test_kriegeskorte92_reader.py",
    "data/source_dataset.py": "fields only; the tests of each adapter fill them",
    "data/nsd/nsd_settings.py": "fields only; test_nsd_reader.py",
    "data/laion_fmri/laion_fmri_facts.py": "constants only; test_laion_fmri_reader.py",
    "data/laion_fmri/laion_fmri_settings.py": "fields only; test_laion_fmri_reader.py",
    "data/things_fmri/things_settings.py": "fields only; test_things_reader.py",
    "data/mindeye2_release/release_settings.py": "fields only; test_release_reader.py",
    "controls.py": "stages/evaluate/test_battery.py",
    "cli/study_command.py": "study/test_study_folder.py, architecture/test_public_names.py",
    "study/study_settings.py": "study/test_study_check.py",
    "stages/compare/arm_scores.py": "stages/compare/test_arms.py",
    "stages/compare/arm_tables.py": "stages/compare/test_arms.py",
    "stages/compare/compare_settings.py": "fields only; stages/compare/test_arms.py",
    "stages/compare/comparison_page.py": "stages/compare/test_arms.py",
    "stages/compare/scored_run.py": "stages/compare/test_run.py",
    "stages/evaluate/battery_checks.py": "stages/evaluate/test_battery.py",
    "stages/evaluate/battery_controls.py": "stages/evaluate/test_battery.py",
    "stages/evaluate/battery_findings.py": "stages/evaluate/test_battery.py",
    "stages/analyse/analysis.py": "fields only; stages/analyse/test_run.py",
    "stages/evaluate/decoded.py": "stages/evaluate/test_token_scores.py",
    "stages/evaluate/evaluate_settings.py": "fields only; stages/evaluate/test_run.py",
    "stages/prepare/preparation.py": "fields only; stages/prepare/test_adapters.py",
    "stages/train/brain.py": "stages/train/test_run.py",
    "stages/reconstruct/reconstruct_settings.py": "fields only; stages/reconstruct/test_run.py",
}
"""Modules without a test file of the same name, each with where it is tested instead."""


def test_nothing_in_the_package_refers_to_files_that_a_wheel_lacks(root):
    lacking = re.compile(r"docs/[\w-]+\.md|constraints\.txt|\.ci/")
    files = [*root.glob("src/**/*.py"), *root.glob("src/**/*.md"), *root.glob("src/**/*.j2")]
    found = {(f.name, name) for f in files for name in lacking.findall(f.read_text())}
    assert found == set()


def test_the_process_is_never_seeded(calls):
    """`process_rng` restores what it seeds; everything else takes a generator."""
    seeding = {
        (str(path), name)
        for path, name, _ in calls
        if name.rpartition(".")[0]
        in {"torch", "torch.cuda", "torch.random", "np.random", "random"}
        and name.rpartition(".")[2] in {"manual_seed", "manual_seed_all", "seed"}
    }
    assert seeding == {("core/runtime.py", "torch.manual_seed")}


def test_no_pickle_is_written_and_none_is_trusted(trees, calls):
    imported = {
        (str(path), alias.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    picklers = {n for n in imported if n[1] in {"pickle", "joblib", "dill", "cloudpickle"}}
    assert picklers == {("data/glmsingle/pickled_npy.py", "pickle")}  # a reader that runs nothing
    used = re.findall(r"pickle\.(\w+)", ast.unparse(trees[Path("data/glmsingle/pickled_npy.py")]))
    assert set(used) == {"Unpickler", "UnpicklingError"}
    writers = {"torch.save", "to_pickle", "save_state"}
    assert [(str(p), n) for p, n, _ in calls if {n, n.rpartition(".")[2]} & writers] == []
    for path, name, node in calls:
        given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if name == "torch.load":
            assert given.get("weights_only") is True, f"{path}: torch.load without weights_only"
        assert given.get("allow_pickle") is not True, f"{path}: {name} trusts a pickle"


def test_every_module_lists_its_public_names(trees):
    missing = [
        str(path)
        for path, tree in trees.items()
        if path.name not in {"__init__.py", "__main__.py"}
        and not any(ast.unparse(node).startswith("__all__") for node in tree.body)
    ]
    assert missing == []


def test_every_public_name_exists(trees):
    """Names bound at the top of the module: definitions, assignments, imports."""
    for path, tree in trees.items():
        bound: set[str] = set()
        listed: list[str] = []
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                bound |= {ast.unparse(target) for target in targets}
                if "__all__" in map(ast.unparse, targets):
                    listed = ast.literal_eval(node.value)
        if "__getattr__" not in bound:  # a package that imports on demand
            assert set(listed) - bound == set(), path


def test_every_module_has_a_test_file_of_the_same_name(trees, root):
    missing = {
        str(path)
        for path in trees
        if path.name not in {"__init__.py", "__main__.py"}
        and not (root / "tests" / path.parent / f"test_{path.name}").exists()
    }
    assert missing == set(WITHOUT_MIRROR)


def test_one_base_name_means_one_thing(trees):
    """Each package has its own `__init__`, and each stage its `run`."""
    names = [path.name for path in trees if path.name not in {"__init__.py", "run.py"}]
    assert [name for name in names if names.count(name) > 1] == []


def test_no_test_file_outlives_its_module(root, source):
    tests = root / "tests"
    apart = {"architecture", "numerics", "end_to_end", "golden", "tools", "benchmarks"}
    orphans = [
        str(path.relative_to(tests))
        for path in tests.rglob("test_*.py")
        if path.relative_to(tests).parts[0] not in apart
        and not (source / path.relative_to(tests).parent / path.name[5:]).exists()
        and not (source / path.relative_to(tests).parent / Path(path.stem[5:])).is_dir()
    ]
    assert orphans == []
