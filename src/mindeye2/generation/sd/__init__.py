"""Stable Diffusion XL: noise schedule, networks, sampling, files and refinement."""
