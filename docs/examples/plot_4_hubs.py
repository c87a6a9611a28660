"""
Hubs in retrieval
=================

Predicted tokens are shrunken towards their mean, so cosine retrieves the same typical images for
many responses. Centring and CSLS, calibrated on training trials, remove these hubs.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import mindeye2
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.training_bank import load_training_bank

run = Path("runs/demo/adapted")
test = mindeye2.load("runs/demo/data", subject="subj08")
bank = load_training_bank(run, "subj08")
preds = mindeye2.Decoder.from_run(run).predict(test.betas, subject="subj08")
values = np.load("runs/demo/data/targets/lite0/values.npy", mmap_mode="r")
targets = torch.from_numpy(values[test.image_rows].astype(np.float32))
arms = {
    "cosine": similarity(preds, targets),
    "calibrated": similarity(preds, targets, fit_calibration(bank.preds, bank.targets)),
}

figure, axes = plt.subplots(figsize=(6, 3))
for name, scores in arms.items():
    counts = np.bincount(scores.argmax(dim=1).numpy(), minlength=len(test))
    found = (scores.argmax(dim=1) == torch.arange(len(test))).float().mean()
    axes.plot(np.sort(counts)[::-1], label=f"{name}: {found:.0%} found")
axes.set(xlabel="gallery images, most retrieved first", ylabel="times retrieved first")
axes.legend()
figure.tight_layout()
