"""The configuration inside a `.keras` file: what of it Keras alone cannot build. Pure."""

from __future__ import annotations

from typing import Any, Final

_CODE: Final = ("Lambda", "__lambda__")
#: Losses and metrics: a model that is only run is loaded without them.
_TRAINING: Final = "compile_config"


def own_objects(config: Any) -> set[str]:
    """Return the names of classes and functions in `config` that are the model maker's own.

    Keras writes an object as its module, its class and the name it is registered by; what is
    registered or a plain function is not Keras'. A Lambda is code of the maker's too.
    """
    if isinstance(config, list):
        return set().union(*map(own_objects, config))
    if not isinstance(config, dict):
        return set()
    found = set().union(*(own_objects(value) for key, value in config.items() if key != _TRAINING))
    name = str(config.get("class_name", ""))
    module = str(config.get("module") or "")
    if name in _CODE or _is_code(config):
        found.add("a lambda")
    elif name == "function" and not module.startswith("keras"):
        found.add(str(config.get("config")))
    elif name and config.get("registered_name") and not module.startswith("keras"):
        found.add(str(config["registered_name"]))
    return found


def _is_code(config: dict[str, Any]) -> bool:
    """Tell whether this is a lambda given to a layer: its bytes, its defaults and what it encloses."""
    value = config.get("value")
    return (
        set(config) == {"value"} and isinstance(value, list) and [type(part) for part in value[:1]] == [str]
    )
