"""Every public name has a caller outside its module and the tests."""

import ast
from collections import defaultdict

import pytest

GOLDEN = "compared with numbers of the released code"

WITHOUT_CALLER: dict[str, str] = {
    "cli.analyse_command.analyse": "a command",
    "cli.app_command.open_app": "a command",
    "cli.serve_command.serve": "a command",
    "cli.study_command.check": "a command",
    "cli.study_command.init": "a command",
    "cli.weight_commands.export": "a command",
    "cli.weight_commands.import_": "a command",
    "core.axes.AXES": "read by test_vocabulary.py",
    "study.study_folder.WORKFLOW": "included by the Snakefile of a study",
    "encoders.feature_extractors.metric_features": GOLDEN,
    "metrics.ranking.top_k_accuracy": GOLDEN,
    "training.brain_training.replay": GOLDEN,
    "training.losses.info_nce_loss": GOLDEN,
}
"""The rest of the public API: each name that nothing in the package uses, with the reason."""


def exported(tree):
    """Return the names in a module's `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def imports(tree):
    """Return what a module imports as (local name, (module, name)), also inside functions."""
    return [
        (alias.asname or alias.name, (node.module, alias.name))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]


def references(tree, *, package):
    """Return what a module uses of others, as (module, name); a package may only re-export."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found = {target for name, target in imports(tree) if name in used or not package}
    aliases = defaultdict(set)  # `losses.mse_loss` after `from mindeye2.training import losses`
    for name, (module, imported) in imports(tree):
        aliases[name].add(f"{module}.{imported}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {(module, node.attr) for module in aliases[node.value.id]}
    return found


def definition(target, origin):
    """Follow a name through the packages that re-export it."""
    passed = set()
    while target in origin and target not in passed:
        passed.add(target)
        target = origin[target]
    return target


def types_and_registered(tree):
    """Return the names in annotations, among base classes, and in the tables of a module."""
    used = set()
    for node in ast.walk(tree):
        parts = [node.value] if isinstance(node, ast.Assign) and node in tree.body else []
        if isinstance(node, ast.FunctionDef):
            arguments = (*node.args.args, *node.args.kwonlyargs)
            parts = [node.returns, *(a.annotation for a in arguments)]
        elif isinstance(node, ast.ClassDef):
            parts = node.bases
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation, node.value if node in tree.body else None]
        for part in filter(None, parts):
            used |= {n.id for n in ast.walk(part) if isinstance(n, ast.Name)}
    return used


@pytest.fixture(scope="module")
def modules(trees):
    """Return (syntax tree, whether it is a package) of each module by its dotted name."""
    named = {}
    for path, tree in trees.items():
        parts = ("mindeye2", *path.with_suffix("").parts)
        package = parts[-1] == "__init__"
        named[".".join(parts[:-1] if package else parts)] = (tree, package)
    return named


@pytest.fixture(scope="module")
def callers(modules, root):
    """Return, for each (module, name), the modules and scripts that use it."""
    origin = {
        (module, name): target
        for module, (tree, package) in modules.items()
        for name, target in imports(tree)
        if package
    }
    scripts = {
        str(path): (ast.parse(path.read_text(encoding="utf-8")), False)
        for folder in ("benchmarks", "tools")
        for path in (root / folder).rglob("*.py")
    }
    found = defaultdict(set)
    for user, (tree, package) in (modules | scripts).items():
        for target in references(tree, package=package):
            found[definition(target, origin)].add(user)
    return found


def test_the_scan_follows_packages_and_module_aliases():
    package = ast.parse("from p.a import f\nfrom p.b import g\ng()")
    user = ast.parse("def run():\n    from p import f as h\n    from p import b\n    b.g()")
    assert references(package, package=True) == {("p.b", "g")}
    assert {("p", "f"), ("p.b", "g")} <= references(user, package=False)
    origin = {("p", name): target for name, target in imports(package)}
    assert definition(("p", "f"), origin) == ("p.a", "f")


def test_every_public_name_has_a_caller(modules, callers):
    """One that has none goes, leaves `__all__`, or is listed above with the reason.

    Types in signatures and entries of tables count as called: their users need not import them.
    """
    without = {
        f"{module}.{name}".removeprefix("mindeye2.")
        for module, (tree, package) in modules.items()
        for name in exported(tree)
        if not (package and name in dict(imports(tree)))
        and not callers[module, name] - {module}
        and name not in types_and_registered(tree)
    }
    assert without == set(WITHOUT_CALLER)
