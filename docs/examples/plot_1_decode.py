"""
Decode in three lines
=====================

Betas of test images are decoded to images and captions, and the seen image is looked for among all
test images.
"""

import matplotlib.pyplot as plt

import mindeye2

test = mindeye2.load("runs/demo/data", subject="subj08")
decoder = mindeye2.Decoder.from_run("runs/demo/adapted")
seen = decoder.decode(test.betas[:6], subject="subj08")

figure, axes = plt.subplots(figsize=(9, 3))
axes.imshow(seen.show(test.images[:6]))
axes.set_title("seen (above) and reconstructed")
axes.axis("off")

# %%
# Retrieval ranks a gallery of images by how well they explain the response.
found = decoder.retrieve(test.betas, gallery=test.images, subject="subj08", k=3)
hits = sum(best == shown for shown, best in enumerate(found.indices[:, 0]))
print(f"{hits} of {len(test)} seen images found, by chance 1")
