"""Published state dicts: loaded with every entry accounted for."""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["count_indices", "entries_under", "entry_shape", "fill_network"]

_SHOWN = 8
"""Number of names in a message; further ones are only counted."""


def fill_network(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    rename: Callable[[str], str | None] = str,
    what: str,
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Load a published state dict into a network, strictly.

    Parameters
    ----------
    network
        Built on the meta device: its tensors are replaced, not copied into.
    state
        Published names and values, without the entries that are known to be left out.
    rename
        Returns the network's own name of a published one, or None where there is none. By default
        the names are the same.
    what
        Name of the network, for messages.
    dtype
        Type of floating-point entries after loading; those that have it already are not copied.
        None keeps each as it is.

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
        State dict of the network, for names and shapes.
    found
        Entries of the checkpoint under the network's names.
    released
        The network's name -> the published one, for messages.
    unknown
        Published names without a counterpart in the network.
    what
        Name of the network, for messages.

    Raises
    ------
    ValueError
        If the two do not agree. The message names entries and shapes.
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


def entries_under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the entries of a state dict that start with a prefix, and remove it."""
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def count_indices(state: Mapping[str, Tensor], pattern: str) -> int:
    """Count the layers of a state dict: the different values of a pattern's group."""
    return len({m[1] for name in state if (m := re.fullmatch(pattern, name))})


def entry_shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """Return the shape of an entry, or raise a ``ValueError`` that lists the entries."""
    if name not in state:
        raise ValueError(
            f"{name!r}, which gives a size, is missing; the file has {sorted(state)[:_SHOWN]} and "
            f"{max(len(state) - _SHOWN, 0)} more. This is a file of another kind."
        )
    return tuple(state[name].shape)


def _listed(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return str(names)
    return f"{names[:_SHOWN]} and {len(names) - _SHOWN} more"
