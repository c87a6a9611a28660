"""One axis has one name in the whole package."""

import ast
import re

from mindeye2.core.axes import AXES

KIND = re.compile(r"(Float|BFloat|Int|UInt|Bool|Complex|Shaped|Num|Real|Inexact|Integer)\d*$")
"""What takes an array type and a shape: Float[Tensor, "batch voxels"]."""


def shapes(tree):
    """Return the shape strings of a module's annotations."""
    return [
        node.slice.elts[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and KIND.match(ast.unparse(node.value).rpartition(".")[2])
        and isinstance(node.slice, ast.Tuple)
        and isinstance(node.slice.elts[1], ast.Constant)
    ]


def words(shape):
    """Return the names in a shape: "*batch 2*width n=3 ..." has batch, width and n.

    A number behind a word makes another axis of the same kind: "width2", "height16".
    """
    found = re.findall(r"[^\W\d]\w*", shape)
    return [word.rstrip("0123456789") for word in found if word != "_"]


def test_the_scan_reads_annotations():
    tree = ast.parse(
        'def f(x: Float[Tensor, "*batch 2*width16+1 3 ... _"]) -> UInt8[A, " voxels"]: ...'
    )
    assert sorted(words(shape) for shape in shapes(tree)) == [["batch", "width"], ["voxels"]]


def test_every_axis_is_in_the_vocabulary(trees):
    used = {(str(p), w) for p, tree in trees.items() for s in shapes(tree) for w in words(s)}
    assert len(used) > 30, "the scan found next to nothing, so it no longer reads annotations"
    assert {(path, word) for path, word in used if word not in AXES} == set()


def test_every_word_of_the_vocabulary_is_used_and_explained(trees):
    used = {word for tree in trees.values() for shape in shapes(tree) for word in words(shape)}
    assert set(AXES) - used == set()
    assert all(AXES.values())
