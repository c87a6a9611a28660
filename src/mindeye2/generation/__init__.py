"""Generation of images and captions from image tokens."""
