"""
What the doctor finds
=====================

Errors that raise no exception: here betas of which one session was shifted by one trial, as a
wrong event file does.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mindeye2
from mindeye2.data.prepared import open_prepared

broken = Path(tempfile.mkdtemp()) / "data"
shutil.copytree("runs/demo/data", broken)
trials = open_prepared(broken).trials_of("subj08")
first = np.flatnonzero(trials["session"] == trials["session"].min())
file = broken / "betas" / "subj08.npy"
betas = np.load(file)
betas[first] = np.roll(betas[first], 1, axis=0)
np.save(file, betas)

for name, folder in {"as it was": "runs/demo/data", "shifted": broken}.items():
    done = subprocess.run(
        ["mindeye2", "doctor", str(folder), "--json"], capture_output=True, text=True, check=False
    )
    errors = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
    print(f"{name}: {len(errors)} errors")
    for error in errors:
        print(f"  {error['check']}: {error['found']}".replace(str(broken), "DATA"))

# %%
# Why it matters: the responses to repeats of an image no longer resemble each other.
figure, axes = plt.subplots(figsize=(5, 3))
for name, folder in {"as it was": "runs/demo/data", "shifted": broken}.items():
    train = mindeye2.load(folder, subject="subj08", split="train")
    twice = ~np.isnan(train.betas[:, :2, 0]).any(axis=1)
    a, b = train.betas[twice, 0], train.betas[twice, 1]
    axes.hist(
        [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)],
        bins=20,
        alpha=0.6,
        label=name,
    )
axes.set(xlabel="correlation of two responses to one image", ylabel="images")
axes.legend()
figure.tight_layout()
