"""Parts of the curation by name: built in, or registered by an installed package as a Python entry point."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from elysium.errors import UserError

Part = TypeVar("Part")


def find(setting: str, group: str, name: str, built_in: Mapping[str, Callable[[str], Part]]) -> Callable[[str], Part]:
    """What makes the part `name` from its checkpoint; the setting is `tracker`, say, the group `elysium.trackers`.

    Raises UserError, with the known names, if there is no such part.
    """
    if name in built_in:
        return built_in[name]
    registered = {point.name: point for point in entry_points(group=group)}
    if name in registered:
        make: Callable[[str], Part] = registered[name].load()
        return make
    known = ", ".join(sorted({*built_in, *registered}))
    raise UserError(f"{setting} {name!r} is not known; choose one of {known} (curation.inputs.*.{setting})")
