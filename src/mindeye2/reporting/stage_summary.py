"""A few lines about a finished folder, and the command that usually follows."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.reporting.first_screen import HEADLINE_SCORES

__all__ = ["summarize_folder"]

Manifest = Mapping[str, Any]

_HEADLINE = (
    *HEADLINE_SCORES,
    "two_way_blended",
    "two_way_refined",
    "two_way_unclip",
    "alexnet5_blended",
    "alexnet5_refined",
    "clip_blended",
    "clip_refined",
    "pixcorr_blended",
    "pixcorr_refined",
)
"""Scores to show, in this order; four at most of those that were computed."""

_RECIPES = {
    "kriegeskorte92": "kriegeskorte92",
    "nsd": "standard",
    "released": "standard",
    "simulated": "laptop",
}
"""First recipe for several subjects, by kind; ridge, which takes seconds, for other data."""

_FEW = 20
"""Test images below which intervals are too wide to tell most decoders from chance."""


def summarize_folder(out: Path, *, source: Path | None = None) -> list[str]:
    """Describe what a stage left in a folder.

    Parameters
    ----------
    out
        A finished folder.
    source
        Prepared data set that the stage read, for a run and for reconstructions.

    Returns
    -------
    list of str
        Three to six lines; the last is the command that usually follows.
    """
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    describe: dict[str, Callable[[], list[str]]] = {
        "prepare": lambda: _prepared(out),
        "train": lambda: _run(out, manifest, source=source),
        "reconstruct": lambda: _reconstruction(out, manifest),
        "evaluate": lambda: _scores(out, manifest),
        "analyse": lambda: _analysis(out, manifest),
        "report": lambda: _page(out),
    }
    return describe[str(manifest["stage"])]()


def _next(*words: object) -> str:
    return "Next: " + shlex.join(["mindeye2", *map(str, words)])


def _prepared(out: Path) -> list[str]:
    data = open_prepared(out)
    lines = [f"{out}: {_describe_subjects(data)}, {data.n_images} images"]
    if not data.subjects:
        return [
            *lines,
            f"targets: {', '.join(sorted(p.name for p in (out / 'targets').glob('*')))}",
            _next("train", "--recipe", "autoencoder", "--source", out, "--out", out.parent / "ae"),
        ]
    trials = data.trials
    sessions = trials.groupby("subject")["session"].nunique()
    fewest, most = sessions.min(), sessions.max()
    lines.append(
        f"sessions: {fewest if fewest == most else f'{fewest} to {most}'} per subject; "
        f"trials: {_by_split(trials)}"
    )
    distinct = trials.drop_duplicates(["split", "image"])
    lines.append(f"images shown: {_by_split(distinct)}")
    converted = _conversions(data.manifest.get("converted_images", {}))
    lines += [converted] if converted else []
    if data.known_images:
        lines.append("design: known images; test trials show images of the training trials")
    warning = _few_tested(data, distinct)
    lines += [f"warning: {warning}"] if warning else []
    recipe = _RECIPES.get(data.manifest["config"].get("kind", ""), "ridge")
    recipe = recipe if len(data.subjects) > 1 else "ridge"
    recipe = recipe if data.has_images else "embeddings"
    lines.append(_next("train", "--recipe", recipe, "--source", out, "--out", out.parent / "run"))
    return lines


def _few_tested(data: Prepared, distinct: pd.DataFrame) -> str:
    """Warn of few test images, or with known images of few test trials, and name the setting."""
    if data.known_images:
        n_test = int((data.trials["split"] == "test").groupby(data.trials["subject"]).sum().min())
        what = "trials"
    else:
        n_test, what = int((distinct["split"] == "test").sum()), "images"
    if n_test >= _FEW:
        return ""
    few = (
        f"with {n_test} test {what} scores have wide intervals"
        if n_test > 1 or data.known_images
        else f"1 test {what[:-1]} is too few for 'mindeye2 evaluate', which needs 2"
    )
    text = f"{few}; raise their fraction with {_splits_setting(data)}"
    kind, n_images = data.manifest["config"].get("kind", ""), distinct["image"].nunique()
    repeated = len(data.trials) >= 3 * len(data.trials.drop_duplicates(["subject", "image"]))
    if "design" in (data.manifest["config"].get(kind) or {}) and repeated and what == "images":
        text += (
            f"; to ask which of the {n_images} images was seen, test on other trials of the same "
            f"images with --set {kind}.design=known_images"
        )
    return text


def _describe_subjects(data: Prepared) -> str:
    n_voxels = data.n_voxels
    if not n_voxels:
        return "no subjects"
    if len(n_voxels) > 3:
        fewest, most = min(n_voxels.values()), max(n_voxels.values())
        return f"{len(n_voxels)} subjects of {fewest} to {most} voxels"
    named = ", ".join(f"{name}: {count} voxels" for name, count in n_voxels.items())
    return f"{len(n_voxels)} subject{'s' if len(n_voxels) > 1 else ''} ({named})"


def _by_split(rows: pd.DataFrame) -> str:
    counts = rows["split"].value_counts()
    return ", ".join(f"{counts[s]} {s}" for s in ("train", "validation", "test") if s in counts)


def _splits_setting(data: Prepared) -> str:
    kind = data.manifest["config"].get("kind", "")
    has = "splits" in (data.manifest["config"].get(kind) or {})
    if not has:
        return "a setting of its kind, if it has one"
    return f"--set {kind}.splits.test=..., or in the column 'split' if the trial table has one"


def _conversions(facts: Manifest) -> str:
    """Describe how image files were converted."""
    parts = []
    if facts.get("not_square"):
        changed = {"crop": "cut to the middle", "pad": "padded with grey", "stretch": "distorted"}
        parts.append(
            f"{facts['not_square']} of {facts['files']} not square, now {changed[facts['fit']]} "
            f"({facts['setting']}.fit={facts['fit']})"
        )
    for key, text in (
        ("gray", "gray, now RGB of equal channels"),
        ("transparent", "with transparent parts, now grey"),
    ):
        if facts.get(key):
            parts.append(f"{facts[key]} {text}")
    return f"images changed: {'; '.join(parts)}" if parts else ""


def _run(out: Path, manifest: Manifest, *, source: Path | None) -> list[str]:
    config = manifest["config"]
    lines = [f"{out}: recipe {config['recipe']}, task {config['task']}"]
    if config["task"] not in {"shared", "adapt"} or source is None:
        log = out / "steps.jsonl"
        if log.exists():
            last = json.loads(log.read_text().splitlines()[-1])
            lines.append(f"last step: {last['step'] + 1}, loss {last['loss']:.4g}")
        lines.append("Reconstruct with it: --set decoder=" + shlex.quote(str(out)))
        return lines
    data = open_prepared(source)
    subjects = _trained_subjects(config, data)
    whole = sum(len(data.trials_of(subject)) for subject in subjects)
    sessions = config["sessions"]
    asked = "all sessions" if sessions is None else f"sessions {', '.join(map(str, sessions))}"
    lines.append(
        f"subjects: {', '.join(subjects)}; trials: {manifest['trials']} of {whole} "
        f"(splits {', '.join(config['train_on'])}; {asked})"
    )
    if "level" in manifest:
        lines.append(f"adaptation level: {manifest['level']}")
    lines += _validation(manifest, data, subjects)
    follow = ["reconstruct", "--source", source, "--init", out, "--out", out.parent / "decoded"]
    if len(data.subjects) > 1:
        follow += ["--subject", subjects[-1]]
    lines.append(_next(*follow))
    return lines


def _trained_subjects(config: Manifest, data: Prepared) -> list[str]:
    if config["task"] == "adapt":
        return [str(config["subject"])]
    return list(config["subjects"] or data.subjects)


def _validation(manifest: Manifest, data: Prepared, subjects: list[str]) -> list[str]:
    """Describe retrieval of images that were not trained on, with its chance level."""
    config = manifest["config"]
    if "held_out" in manifest and manifest["level"] in manifest["held_out"]:
        sizes = [manifest["held_out_images"]]
        scores, name = manifest["held_out"][manifest["level"]], "held-out training images"
    elif "validation" in manifest:
        held = [data.trials_of(s, "validation", sessions=config["sessions"]) for s in subjects]
        sizes = [t["image"].nunique() for t in held if len(t)]
        scores, name = manifest["validation"], "validation images"
    else:
        return ["validation: none; all images of the splits above were trained on"]
    chance = float(np.mean([1 / n for n in sizes]))
    return [
        f"validation: top-1 retrieval {scores['top1']:.0%} among {round(1 / chance)} {name} "
        f"(chance {chance:.0%}), two-way identification {scores['two_way']:.0%} (chance 50%)"
    ]


def _reconstruction(out: Path, manifest: Manifest) -> list[str]:
    items = pd.read_parquet(out / "items.parquet")
    config = manifest["config"]
    images = "1 image" if len(items) == 1 else f"{len(items)} images"
    lines = [f"{out}: {images} of {manifest['subject']}, split {config.get('split', 'test')}"]
    if "n_repeats" in items:
        lines.append(f"trials averaged for each: {items['n_repeats'].mean():.1f}")
    files = sorted(p.stem for p in out.glob("*.npy"))
    lines.append(f"images: {', '.join(files) if files else 'none, tokens only'}")
    if "caption" in items and len(items):
        lines.append(f"first caption: {items['caption'].iloc[0]}")
    lines.append(_next("evaluate", "--source", out, "--out", out.parent / "scores"))
    return lines


def _scores(out: Path, manifest: Manifest) -> list[str]:
    rows = {row["name"]: row for row in json.loads((out / "summary.json").read_text())}
    n = max((row["n"] for row in rows.values()), default=0)
    chosen = [rows[name] for name in _HEADLINE if name in rows][:4] or list(rows.values())[:4]
    width = max((len(row["title"]) for row in chosen), default=0)
    lines = [f"{out}: {n} test images of {manifest['subject']}, 95 % intervals"]
    for row in chosen:
        beside = [
            f"{name} {_number(row[name], row)}"
            for name in ("chance", "floor")
            if row.get(name) is not None
        ]
        lines.append(
            f"  {row['title']:<{width}}  {_number(row['value'], row)} "
            f"[{_number(row['low'], row)}, {_number(row['high'], row)}]  {', '.join(beside)}"
        )
    lines.append(_next("report", "--source", out, "--out", out.parent / "report"))
    return [line.rstrip() for line in lines]


def _number(value: float, row: Manifest) -> str:
    return f"{value:.1%}" if row["percent"] else f"{value:.3f}"


def _analysis(out: Path, manifest: Manifest) -> list[str]:
    tables = ", ".join(sorted(p.name for p in out.glob("*.csv")))
    return [
        f"{out}: {manifest['title']}, {manifest['subject']}",
        *(f"  {line}" for line in manifest["lines"]),
        f"Figure: {out / 'figure.svg'}; tables: {tables}",
    ]


def _page(out: Path) -> list[str]:
    page = out / "index.html"
    return [
        f"{page}: {page.stat().st_size / 1e6:.1f} MB, self-contained",
        f"Open it in a browser: {page.resolve().as_uri()}",
    ]
