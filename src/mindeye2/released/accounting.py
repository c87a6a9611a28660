"""Every entry of a published checkpoint is accounted for: used, known and left out, or refused."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["check_complete", "fill_network"]

_SHOWN = 8
"""Names that a message lists before it only counts the rest."""


def fill_network(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    rename: Callable[[str], str | None],
    what: str,
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Give every parameter and buffer of a network its entry of a published state dict.

    Parameters
    ----------
    network
        Built on the meta device: its tensors are replaced, not copied into.
    state
        Published names and values, without entries that are known to be left out.
    rename
        Returns the network's own name of a published one, or None where there is none.
    what
        What the network is, for messages.
    dtype
        What floating-point entries become; those that have it already are not copied. None keeps
        each as it is.

    Raises
    ------
    ValueError
        If an entry is unknown, missing or of another shape. The message names them.
    """
    ours: dict[str, Tensor] = {}
    released: dict[str, str] = {}
    unknown = []
    for name, value in state.items():
        renamed = rename(name)
        if renamed is None:
            unknown.append(name)
        else:
            released[renamed] = name
            ours[renamed] = value.to(dtype) if value.is_floating_point() and dtype else value
    check_complete(network.state_dict(), ours, released=released, unknown=unknown, what=what)
    network.load_state_dict(ours, assign=True)


def check_complete(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    released: Mapping[str, str],
    unknown: Iterable[str] = (),
    what: str,
) -> None:
    """Refuse entries that are unknown, missing or of another shape, all in one message.

    Parameters
    ----------
    wanted
        The network's own names, with values of the right shapes.
    found
        What the checkpoint gives, under the network's names.
    released
        The network's name -> the published one, for messages.
    unknown
        Published names that have no place in the network.
    what
        What the network is, for messages.

    Raises
    ------
    ValueError
        If the two do not agree. The message names entries and sizes.
    """
    extra = sorted([*unknown, *(released.get(n, n) for n in found if n not in wanted)])
    problems = [f"unknown entries {_listed(extra)}"] if extra else []
    if missing := sorted(set(wanted) - set(found)):
        problems.append(f"nothing for {_listed(missing)} (names of this package)")
    shapes = [
        f"{released.get(name, name)} of shape {tuple(found[name].shape)} "
        f"instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]
    problems += shapes[:_SHOWN]
    if len(shapes) > _SHOWN:
        problems.append(f"and {len(shapes) - _SHOWN} more of another shape")
    if problems:
        raise ValueError(f"the checkpoint does not fit {what}: {'; '.join(problems)}.")


def _listed(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return str(names)
    return f"{names[:_SHOWN]} and {len(names) - _SHOWN} more"
