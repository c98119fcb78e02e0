"""The child that fine-tunes: `python -m converter.adapters.finetune_child FOLDER`.

- Master weights stay float. What the model computes with, forward and backward, is their projection:
  after each step the kernels are set to it, and gradients go to the masters ("straight through").
- It learns from the model itself as it was in the file: what that answers to the training rows, mixed
  with the truth. It needs no labels then, and learns more from those it has.
- Frozen layers are trained too: all weights have to bear what is taken away.
- Every level starts from the same state, seeds included, so that what came before does not matter.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import answer, report_progress
from converter.adapters.keras_model import fed, layers, load_model, to_tflite
from converter.compression import Compression
from converter.lessons import Form, Lesson, lesson
from converter.projection import Array, Kernel, Target, project, sparsity_at, targets
from converter.source import InputSpec
from converter.task import Task
from wire.errors import ModelError

_BATCH: Final = 64
_EPOCHS: Final = 30
_LEAST_STEPS, _MOST_STEPS = 600, 2500
_LEARNING_RATE: Final = 1e-3
#: How often it is found anew which weights are kept, and where their clusters are.
_PLANS: Final = 60
#: Kernels of fewer weights cost little and matter much.
_SMALL: Final = 500
#: A moving average that is slower than this would not arrive in so few steps.
_MOMENTUM: Final = 0.95
_LEAST: Final = 1e-12
#: The steps between which a level's pace is taken; the first ones also compile.
_UNTIMED, _TIMED = 5, 25


@dataclass(frozen=True)
class Projected:
    """A kernel of the model and its float master; the rest is as in `projection.Kernel`."""

    kernel: Any
    master: Any
    channels: int | None
    simplified: bool


@dataclass(frozen=True)
class Student:
    """A model in training. `step` learns from the rows with the given numbers and returns the loss.

    `state` is every variable of model, masters and optimizer with its first value.
    """

    projected: Sequence[Projected]
    state: Sequence[tuple[Any, Array]]
    step: Callable[[Array], float]


def work(folder: Path) -> dict[str, Any]:
    """Make a file of each level that the job in `folder` lists, or a line that says why there is none."""
    import keras
    import tensorflow as tf

    job = json.loads((folder / "job.json").read_text())
    keras.utils.set_random_seed(job["seed"])
    tf.config.experimental.enable_op_determinism()
    model = load_model(Path(job["source"]), [Path(path) for path in job["code"]])
    specs = [InputSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in job["inputs"]]
    rows = [np.load(folder / f"input-{position}.npy") for position in range(len(specs))]
    truth = np.load(folder / "truth.npy") if (folder / "truth.npy").exists() else None
    batches = Batches(len(rows[0]), _batch_rows(model), job["epochs"], job["seed"])
    student = _student(model, rows, _lessons(model, rows, job["task"], truth), batches.steps)
    compressions = [Compression.parse(name) for name in job["compressions"]]
    for position, compression in enumerate(compressions):

        def tell(done: float, before: int = position) -> None:
            report_progress(folder, (before + done) / len(compressions))

        ending, made = "tflite", b""
        try:
            _tune(student, compression, batches, tell, job["time_limit_s"])
            made = to_tflite(model, specs)
        except ModelError as error:
            ending, made = "error", str(error).encode()
        unfinished = folder / "unfinished"
        unfinished.write_bytes(made)
        unfinished.rename(folder / f"{position}.{ending}")
    return {}


@dataclass(frozen=True)
class Batches:
    """Which rows each step learns from: all of them in an order by chance, and then in another."""

    rows: int
    size: int
    epochs: int | None
    seed: int

    @property
    def steps(self) -> int:
        """How many steps a level takes: `epochs` passes, else what most models need to settle."""
        each = -(-self.rows // self.size)
        if self.epochs is not None:
            return max(1, self.epochs * each)
        return min(max(_EPOCHS * each, _LEAST_STEPS), _MOST_STEPS)

    def __iter__(self) -> Iterator[Array]:
        generator = np.random.default_rng(self.seed)
        waiting = np.empty(0, np.int64)
        for _ in range(self.steps):
            while len(waiting) < self.size:
                waiting = np.concatenate([waiting, generator.permutation(self.rows)])
            yield waiting[: self.size]
            waiting = waiting[self.size :]


def _tune(
    student: Student,
    compression: Compression,
    batches: Batches,
    tell: Callable[[float], None],
    time_limit_s: float,
) -> None:
    """Train from the first state until the kernels are what `compression` wants.

    Raises ModelError when the loss is no number any more, and early when `time_limit_s` will not do.
    """
    for variable, value in student.state:
        variable.assign(value)
    every = max(1, batches.steps // _PLANS)
    plan: list[Target] = []
    for number, batch in enumerate(batches):
        if number % every == 0:
            done = (number + 1) / batches.steps
            tell(done)
            plan = _plan(student, compression, done)
            _apply(student, plan)
        loss = student.step(batch)
        if not np.isfinite(loss):
            raise ModelError(
                f"{compression.name}: the training diverged after {number} steps: "
                "are the training rows scaled as they were when the model was made?"
            )
        _apply(student, plan)
        if number == _UNTIMED:
            started = time.monotonic()
        if number == _TIMED:
            pace_s = (time.monotonic() - started) / (_TIMED - _UNTIMED)
            check_pace(compression.name, batches.steps, pace_s, time_limit_s)


def check_pace(name: str, steps: int, pace_s: float, time_limit_s: float) -> None:
    """Raise ModelError when `steps` of `pace_s` will take longer than `time_limit_s`."""
    if steps * pace_s > time_limit_s:
        raise ModelError(
            f"{name} would take {steps * pace_s / 60:.0f} minutes ({steps} steps), "
            f"the limit is {time_limit_s / 60:.0f}: give fewer epochs"
        )


def _plan(student: Student, compression: Compression, done: float) -> list[Target]:
    kernels = [Kernel(one.master.numpy(), one.channels, one.simplified) for one in student.projected]
    return targets(kernels, compression, sparsity_at(done, compression.sparsity))


def _apply(student: Student, plan: Sequence[Target]) -> None:
    for one, target in zip(student.projected, plan, strict=True):
        one.kernel.value.assign(project(one.master.numpy(), target))


def _student(model: Any, rows: Sequence[Array], lessons: Sequence[Lesson], steps: int) -> Student:
    import keras
    import tensorflow as tf

    losses = _losses(lessons)
    _prepare(model)
    projected = _projected(model)
    if not any(one.simplified for one in projected):
        raise ModelError(
            f"no layer has the {_SMALL} weights that are worth compressing: it is small as it is"
        )
    held = {id(one.kernel) for one in projected}
    others = [variable for variable in model.trainable_variables if id(variable) not in held]
    seen = [variable.value for variable in (*(one.kernel for one in projected), *others)]
    trained = [*(one.master for one in projected), *others]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps))
    optimizer.build(trained)

    def learn(given: list[Any], wanted: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            answers = keras.tree.flatten(model(fed(model, given), training=True))
            parts = [
                tf.reduce_mean(loss_of(one, answered))
                for loss_of, one, answered in zip(losses, wanted, answers, strict=True)
            ]
            loss = tf.add_n(parts)
        optimizer.apply(tape.gradient(loss, seen), trained)
        return loss

    compiled = tf.function(learn)

    def step(batch: Array) -> float:
        given = [tf.constant(array[batch]) for array in rows]
        wanted = [tf.constant(learned.wanted[batch]) for learned in lessons]
        return float(compiled(given, wanted))

    variables = [*model.variables, *(one.master for one in projected), *optimizer.variables]
    return Student(projected, [(variable, np.array(variable)) for variable in variables], step)


def _prepare(model: Any) -> None:
    """Thaw all layers, and let moving averages arrive within the training."""
    import keras

    for layer in layers(model):
        layer.trainable = True
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, _MOMENTUM)


def _projected(model: Any) -> list[Projected]:
    """Return the weights that are matrices or more, each with a master."""
    import keras

    of = keras.layers
    found: dict[int, Projected] = {}
    for layer in layers(model):  # a layer comes before those inside of it, which know better
        channels = -2 if "Transpose" in type(layer).__name__ else -1
        for variable in layer.trainable_variables:
            if len(variable.shape) < 2:
                continue
            depthwise = (
                isinstance(layer, (of.DepthwiseConv1D, of.DepthwiseConv2D)) or "depthwise" in variable.name
            )
            found[id(variable)] = Projected(
                kernel=variable,
                master=keras.Variable(variable.numpy()),
                channels=None if isinstance(layer, of.Embedding) else channels,
                simplified=not depthwise and np.prod(variable.shape) >= _SMALL,
            )
    return list(found.values())


def _lessons(model: Any, rows: Sequence[Array], task: Task, truth: Array | None) -> list[Lesson]:
    """Return what each output is to learn; truth is about the first one."""
    import keras

    given = model.predict(fed(model, list(rows)), batch_size=_batch_rows(model), verbose=0)
    first, *rest = (np.asarray(array, np.float32) for array in keras.tree.flatten(given))
    return [lesson(first, task, truth), *(lesson(own, "unlabelled", None) for own in rest)]


def _losses(lessons: Sequence[Lesson]) -> list[Callable[[Any, Any], Any]]:
    """Return the loss of each lesson, from what is wanted and what is answered."""
    import keras

    many, yes = keras.losses.categorical_crossentropy, keras.losses.binary_crossentropy
    by_form: dict[Form, Callable[[Any, Any], Any]] = {
        "classes": many,
        "class_logits": partial(many, from_logits=True),
        "binary": yes,
        "binary_logits": partial(yes, from_logits=True),
    }

    def squares(scale: float, wanted: Any, answered: Any) -> Any:
        return keras.ops.square((wanted - answered) * scale)

    # Outputs in units of their own weigh the same.
    return [
        by_form.get(learned.form) or partial(squares, 1 / (float(learned.wanted.std()) + _LEAST))
        for learned in lessons
    ]


def _batch_rows(model: Any) -> int:
    """Return how many rows a step takes; some models accept one number only."""
    fixed = [tensor.shape[0] for tensor in getattr(model, "inputs", None) or [] if tensor.shape[0]]
    return fixed[0] if fixed else _BATCH


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder = Path(arguments[0])
    return answer(folder, lambda: work(folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
