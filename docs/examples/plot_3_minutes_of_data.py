"""
How many trials of a new subject are needed
===========================================

A ridge regression of the new subject alone, fitted to more and more of its first trials.
"""

import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mindeye2

out = Path(tempfile.mkdtemp())
test = mindeye2.load("runs/demo/data", subject="subj08")
counts, ranks = [40, 80, 160], []
for n in counts:
    command = (
        f"mindeye2 train --recipe ridge --source runs/demo/data --out {out}/{n} --subject subj08 "
        f"--set n_trials={n} --set model.n_latent=200"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    decoder = mindeye2.Decoder.from_run(out / str(n))
    found = decoder.retrieve(test.betas, gallery=test.images, subject="subj08", k=len(test.images))
    rank = [int(np.flatnonzero(row == i)[0]) for i, row in enumerate(found.indices)]
    ranks.append(1 - np.array(rank) / (len(test.images) - 1))

figure, axes = plt.subplots(figsize=(5, 3))
mean = [r.mean() for r in ranks]
error = [r.std() / len(r) ** 0.5 for r in ranks]
axes.errorbar(counts, mean, yerr=error, marker="o", capsize=3)
axes.axhline(0.5, color="black", linestyle=":", label="chance")
axes.set(xlabel="trials of the new subject", ylabel="images ranked below the seen one")
axes.legend()
figure.tight_layout()
