import re
from pathlib import Path

import pytest

from mindeye2.choices import ANALYSES, KINDS, RECIPES
from mindeye2.core.settings import dotted_names, load_settings
from mindeye2.core.settings_listing import commented_yaml, list_settings
from mindeye2.settings_guide import (
    describe_recipes,
    describe_settings,
    settings_page,
    start_settings,
)

STARTS = [
    *({"stage": "prepare", "kind": kind} for kind in KINDS),
    *({"stage": "train", "recipe": recipe} for recipe in RECIPES),
    *({"stage": "analyse", "kind": kind} for kind in ANALYSES),
    {"stage": "reconstruct"},
    {"stage": "reconstruct", "recipe": "released"},
    *({"stage": stage} for stage in ("evaluate", "report", "compare", "demo")),
]


@pytest.mark.parametrize("start", STARTS, ids=lambda s: " ".join(s.values()))
def test_the_yaml_file_of_every_stage_loads_as_the_same_settings(start, tmp_path):
    settings = start_settings(**start)
    file = tmp_path / "a.yaml"
    file.write_text(commented_yaml(settings, title="all"))
    # Started from the defaults of the class, so that each value must come from the file.
    assert load_settings(type(settings)(), file=file) == settings


@pytest.mark.parametrize("start", STARTS, ids=lambda s: " ".join(s.values()))
def test_every_setting_is_listed_with_a_meaning(start):
    settings = start_settings(**start)
    rows = list_settings(settings)
    listed = {row.name for row in rows}
    assert {n for n in dotted_names(type(settings)) if n.rpartition(".")[2] != "kind"} <= listed
    assert [row.name for row in rows if not row.meaning.endswith((".", "..."))] == []
    assert describe_settings(settings).count("\n    ") >= len(rows)


def test_the_page_of_settings_is_up_to_date():
    """Otherwise: python tools/write_settings.py."""
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text() == settings_page()


def test_documents_and_messages_name_settings_by_their_full_path():
    root = Path(__file__).parents[1]
    known = {n for start in STARTS for n in dotted_names(type(start_settings(**start)))}
    files = [*root.glob("docs/*.md"), root / "README.md", *root.glob("src/**/*.py")]
    used = {
        (file.name, name)
        for file in files
        for name in re.findall(r"--set ['\"]?([a-z_0-9.]+)=", file.read_text())
    }
    assert len(used) > 10
    # Entries of a mapping have its name in front; key.path stands for any name.
    assert [u for u in sorted(used) if not {u[1], u[1].rpartition(".")[0]} & known] == [
        ("index.md", "key.path")
    ]


def test_the_page_names_what_a_recipe_changes():
    page = settings_page()
    assert "`subjects=[subj08]`" in page
    assert "`refine={}`" in page
    assert "`refine.input_size=256`" in page


def test_recipes_are_grouped_by_what_they_train():
    brain, _, image = describe_recipes().partition("Image decoders:")
    assert "\n  adapt\n" in brain
    assert "\n  autoencoder\n" in image
