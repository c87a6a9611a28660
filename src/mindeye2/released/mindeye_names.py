"""Names of the published MindEye2 parameters and ours, translated in both directions."""

import re
from collections.abc import Sequence

__all__ = ["PRIOR", "own_name", "released_name"]

PRIOR = "diffusion_prior.net."
"""Prefix of the prior's released parameters."""


def _upsampler(released: str, ours: str) -> tuple[str, str]:
    return f"backbone.bupsampler.{released}", f"lowlevel.upsampler.{ours}"


def _prior(released: str, ours: str) -> tuple[str, str]:
    return PRIOR + released, f"prior.{ours}"


def _layer(released: str, ours: str) -> tuple[str, str]:
    return f"{PRIOR}causal_transformer.layers.#.{released}", f"prior.network.{ours}"


_NAMES: tuple[tuple[str, str], ...] = (
    # Released name <-> ours; "#" is a number, "*" is the rest. The first line that fits holds.
    ("backbone.mixer_blocks1.*", "backbone.trunk.latent_blocks.*"),
    ("backbone.mixer_blocks2.*", "backbone.trunk.sequence_blocks.*"),
    ("backbone.backbone_linear.*", "backbone.output.*"),
    ("backbone.clip_proj.*", "projector.layers.*"),
    ("backbone.blin1.*", "lowlevel.linear.*"),
    ("backbone.bnorm.*", "lowlevel.norm.*"),
    ("backbone.b_maps_projector.*", "lowlevel.maps.*"),
    _upsampler("conv_in.*", "input.*"),
    _upsampler("conv_norm_out.*", "output.0.*"),
    _upsampler("conv_out.*", "output.2.*"),
    _upsampler("mid_block.resnets.0.*", "middle.0.*"),
    _upsampler("mid_block.resnets.1.*", "middle.2.*"),
    _upsampler("mid_block.attentions.0.group_norm.*", "middle.1.norm.*"),
    _upsampler("mid_block.attentions.0.to_q.*", "middle.1.query.*"),
    _upsampler("mid_block.attentions.0.to_k.*", "middle.1.key.*"),
    _upsampler("mid_block.attentions.0.to_v.*", "middle.1.value.*"),
    _upsampler("mid_block.attentions.0.to_out.0.*", "middle.1.output.*"),
    # Two residual blocks and the doubling of the size come before the convolution.
    _upsampler("up_blocks.#.upsamplers.0.conv.*", "levels.#.3.*"),
    _upsampler("up_blocks.#.resnets.#.conv_shortcut.*", "levels.#.#.shortcut.*"),
    _upsampler("up_blocks.#.resnets.#.*", "levels.#.#.*"),
    _prior("learned_query", "network.learned_query"),
    _prior("null_brain_embeds", "null_condition"),
    _prior("null_image_embed", "null_target"),
    _prior("to_time_embeds.0.1.net.0.0.*", "network.time_mlp.0.*"),
    _prior("to_time_embeds.0.1.net.1.0.*", "network.time_mlp.2.*"),
    _prior("to_time_embeds.0.1.net.2.*", "network.time_mlp.4.*"),
    _prior(
        "causal_transformer.rel_pos_bias.relative_attention_bias.weight",
        "network.relative_bias.weight",
    ),
    _prior("causal_transformer.norm.g", "network.norm.weight"),
    _prior("causal_transformer.project_out.weight", "network.output.weight"),
    _layer("0.null_kv", "attentions.#.null"),
    _layer("0.norm.g", "attentions.#.norm.weight"),
    _layer("0.to_q.*", "attentions.#.query.*"),
    _layer("0.to_kv.*", "attentions.#.key_value.*"),
    _layer("0.to_out.0.*", "attentions.#.output.0.*"),
    _layer("0.to_out.1.g", "attentions.#.output.1.weight"),
    _layer("1.0.g", "feed_forwards.#.norm.weight"),
    _layer("1.1.*", "feed_forwards.#.input.*"),
    _layer("1.5.*", "feed_forwards.#.output.*"),
)


def _rule(source: str, target: str) -> tuple[re.Pattern[str], str]:
    """Compile one direction of a line of `_NAMES`: a pattern and the template of its matches."""
    pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.*)")
    return re.compile(pattern), re.sub(r"[#*]", "{}", target)


_FROM_RELEASED = [_rule(released, ours) for released, ours in _NAMES]
_TO_RELEASED = [_rule(ours, released) for released, ours in _NAMES]


def own_name(name: str, subjects: Sequence[str]) -> str | None:
    """Return our name of a released parameter, or None where there is none."""
    ridge = re.fullmatch(r"ridge\.linears\.(\d+)\.(weight|bias)", name)
    if ridge is not None and int(ridge[1]) < len(subjects):
        return f"ridge.maps.{subjects[int(ridge[1])]}.{ridge[2]}"
    return _translate(name, _FROM_RELEASED)


def released_name(name: str, subjects: Sequence[str]) -> str | None:
    """Return the released name of one of our parameters, or None where there is none."""
    ridge = re.fullmatch(r"ridge\.maps\.(.+)\.(weight|bias)", name)
    if ridge is not None:
        return f"ridge.linears.{list(subjects).index(ridge[1])}.{ridge[2]}"
    return _translate(name, _TO_RELEASED)


def _translate(name: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    matches = ((pattern.fullmatch(name), template) for pattern, template in rules)
    return next((template.format(*m.groups()) for m, template in matches if m), None)
