"""
Your own betas in four commands
===============================

A trial table, a folder of images and a matrix of betas are all that is needed. The arrays come
from the demo here; put your own in their place.
"""

import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

import mindeye2

source = Path(tempfile.mkdtemp())
(source / "images").mkdir()
rows, betas, n_images = [], [], 0
for split in ("train", "test"):
    part = mindeye2.load("runs/demo/data", subject="subj08", split=split)
    for image, repeats in zip(part.images, part.betas, strict=True):
        name = f"{n_images:04}.png"
        Image.fromarray(image).save(source / "images" / name)
        n_images += 1
        for response in repeats[~np.isnan(repeats[:, 0])]:
            rows.append({"session": 1, "image": name, "split": split})
            betas.append(response)
pd.DataFrame(rows).to_csv(source / "trials.csv", index=False)
np.save(source / "betas.npy", np.stack(betas).astype(np.float32))
print(pd.DataFrame(rows).head(3))

# %%
# The four commands; in a terminal without the list and the quotes.
for command in (
    "mindeye2 prepare table --source {0} --out {0}/data",
    "mindeye2 train --recipe ridge --source {0}/data --out {0}/run",
    "mindeye2 reconstruct --source {0}/data --init {0}/run --out {0}/decoded",
    "mindeye2 evaluate --source {0}/decoded --out {0}/scores",
):
    done = subprocess.run(
        command.format(source).split(), check=True, capture_output=True, text=True
    )
    print(done.stdout.replace(str(source), "mydata"))

# %%
# Every score is there for every image.
scores = pd.read_parquet(source / "scores" / "scores.parquet")
figure, axes = plt.subplots(figsize=(5, 3))
axes.hist(scores["two_way_tokens"], bins=12)
axes.axvline(0.5, color="black", linestyle=":", label="chance")
axes.set(xlabel="two-way identification by tokens", ylabel="test images")
axes.legend()
figure.tight_layout()
