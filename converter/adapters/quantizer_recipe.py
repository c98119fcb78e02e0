"""A plan (converter/planning.py) in the form that litert-quantizer takes; for its child only.

- The library searches expressions in the names of an operator's outputs. Of the entries that match, the
  last one counts that the operator can follow: so before each there is one for no quantizing.
- It keeps one entry for an expression and "all operators": another entry needs another spelling.
- Constant weights of BATCH_MATMUL have one scale: its kernels know no more, and answer garbage without
  a word (17 % of the answers right: as static int8 on every runtime, as dynamic int8 on 2.14).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from converter.graph import Graph
from converter.recipes import RECIPES, Recipe

#: Another spelling of ".*".
_EVERY: Final = "(?s:.*)"
#: The library cuts what it searches in.
_LONGEST: Final = 10_000


def library_recipe(graphs: Sequence[Graph], job: Mapping[str, Any]) -> Any:
    """Return the plan of `job`: its `recipe`, a recipe for each of its `calls`, which ends stay float32."""
    from litert_quantizer import qtyping, recipe_manager

    names: dict[str, list[str]] = {}
    for graph, recipes in zip(graphs, job["calls"], strict=True):
        for call, name in zip(graph.calls, recipes, strict=True):
            names.setdefault(name, []).append(_scope(graph, call.gives or call.takes))
    most = Counter({name: len(scopes) for name, scopes in names.items()}).most_common(1)[0][0]
    manager = recipe_manager.RecipeManager()
    _add(manager, ".*", RECIPES[most])
    for name, scopes in names.items():
        if name != most:
            expression = f"^(?:{'|'.join(map(re.escape, scopes))})$"
            _add_nothing(manager, expression)
            _add(manager, f"(?:{expression})", RECIPES[name])
    recipe, ends = RECIPES[job["recipe"]], qtyping.TFLOperationName
    main = graphs[0]
    for end, places, stays in (
        (ends.INPUT, main.inputs, job["float_inputs"]),
        (ends.OUTPUT, main.outputs, job["float_outputs"]),
    ):
        _add_nothing(manager, _EVERY, end)
        if recipe.calibrates and not stays:
            _add(manager, f"^{re.escape(_scope(main, places))}$", recipe, end)
    return manager.get_quantization_recipe()


def _scope(graph: Graph, places: Sequence[int]) -> str:
    """Return what the library searches its expressions in."""
    return "".join(f"{graph.tensors[place].name};" for place in places if place >= 0)[:_LONGEST]


def _add_nothing(manager: Any, expression: str, operation: Any = None) -> None:
    from litert_quantizer import algorithm_manager, qtyping

    operation = operation or qtyping.TFLOperationName.ALL_SUPPORTED
    nothing = algorithm_manager.AlgorithmName.NO_QUANTIZE
    manager.add_quantization_config(expression, operation, algorithm_key=nothing)


def _add(manager: Any, expression: str, recipe: Recipe, operation: Any = None) -> None:
    """Add the entries of one recipe, for one operator or for all."""
    from litert_quantizer import qtyping

    names, grains = qtyping.TFLOperationName, qtyping.QuantGranularity
    grain = grains.BLOCKWISE_32 if recipe.block else grains.CHANNELWISE
    _add_entry(manager, expression, recipe, operation or names.ALL_SUPPORTED, grain)
    if operation is None and (recipe.calibrates or recipe.dynamic) and not recipe.block:
        _add_entry(manager, expression, recipe, names.BATCH_MATMUL, grains.TENSORWISE)


def _add_entry(manager: Any, expression: str, recipe: Recipe, operation: Any, grain: Any) -> None:
    """Add one entry; float32 has none."""
    from litert_quantizer import algorithm_manager

    bits = 4 if recipe.weights == "int4" else 8
    if recipe.calibrates:
        activations = 16 if recipe.activations == "int16" else 8
        manager.add_static_config(expression, operation, activations, bits, grain)
    elif recipe.dynamic:
        manager.add_dynamic_config(expression, operation, bits, grain)
    elif recipe.weights == "float16":
        casting = algorithm_manager.AlgorithmName.FLOAT_CASTING
        manager.add_weight_only_config(expression, operation, 16, algorithm_key=casting)
    elif recipe.weights != "float32":
        manager.add_weight_only_config(expression, operation, bits, grain)
