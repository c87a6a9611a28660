"""
92 photographs with measured fMRI
=================================

Inferior temporal cortex of four subjects (Kriegeskorte et al. 2008), of whom every session is a
subject of its own here. This script needs the published files (4 MB, see
:doc:`/kriegeskorte92`), so it does not run on this page; it takes some minutes.
"""

import subprocess

import matplotlib.pyplot as plt
import pandas as pd

import mindeye2

for command in (
    "prepare kriegeskorte92 --source kriegeskorte92 --out k92/data --resume",
    "train --recipe kriegeskorte92 --source k92/data --out k92/run --resume",
):
    subprocess.run(["mindeye2", *command.split()], check=True)

# %%
# One decoder was trained for all; each session is decoded and scored.
scores = {}
for session in mindeye2.Decoder.from_pretrained("k92/run").subjects:
    for command in (
        f"reconstruct --source k92/data --init k92/run --subject {session} --set images=false "
        f"--out k92/{session} --resume",
        f"evaluate --source k92/{session} --out k92/{session}-scores --resume",
    ):
        subprocess.run(["mindeye2", *command.split()], check=True)
    table = pd.read_parquet(f"k92/{session}-scores/scores.parquet")
    scores[session] = table["two_way_tokens"]

figure, axes = plt.subplots(figsize=(7, 3))
table = pd.DataFrame(scores)
axes.bar(range(len(scores)), table.mean(), yerr=table.sem(), capsize=3)
axes.set_xticks(range(len(scores)), list(scores), rotation=30, ha="right")
axes.axhline(0.5, color="black", linestyle=":", label="chance")
axes.set(ylabel="two-way identification", ylim=(0.4, 1))
axes.legend()
figure.tight_layout()
