"""The child that converts a scikit-learn estimator: `python -m converter.adapters.sklearn_child FOLDER`."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.own_code import import_code
from converter.adapters.sklearn_estimators import readings, split_pipeline
from converter.adapters.sklearn_graph import to_tflite
from converter.adapters.source_child import Answered, Job, be_child
from converter.estimators import Trees, first_alike
from converter.source import Array, InputSpec, Trait
from wire.errors import ModelError, UnavailableError

#: On so many rows a reading of an estimator must answer as the estimator itself.
_COMPARED_ROWS: Final = 64
_INPUT: Final = "input"


def work(job: Job) -> Answered:
    """Load, run and convert the estimator that `job` names."""
    model, versions, notes = _load(job)
    steps, estimator = split_pipeline(model)
    columns = getattr(model, "n_features_in_", None) or getattr(estimator, "n_features_in_", None)
    if columns is None:
        raise ModelError(f"{type(model).__name__} is not fitted, or does not say how many columns it takes")
    specs = (InputSpec(_INPUT, "float32", (int(columns),)),)
    (rows,) = job.bound(specs)
    answers, output = _answers(model, rows)
    classifies = hasattr(estimator, "classes_")
    plans = readings(estimator, steps, classifies=classifies)
    plan = first_alike(plans, rows[:_COMPARED_ROWS], answers[:_COMPARED_ROWS])
    if plan is None:
        raise ModelError(
            f"{type(estimator).__name__} is not supported: it computes more than its coefficients"
        )
    trait: Trait = "trees" if isinstance(plan, Trees) else "normalizes"
    return Answered(
        tflite=to_tflite(plan, int(columns), _INPUT, output),
        inputs=specs,
        outputs=(output,),
        rows=(rows,),
        answers=(answers.astype(np.float32),),
        traits=frozenset({trait} if steps or trait == "trees" else ()),
        versions=versions,
        notes=(*notes, *_notes_on(estimator, output)),
    )


def _load(job: Job) -> tuple[Any, dict[str, str], list[str]]:
    """Return the object in the file, the versions of the packages, and what is to be noted about them."""
    try:
        import joblib
        import sklearn
        from sklearn.exceptions import InconsistentVersionWarning
    except ImportError as error:
        raise UnavailableError("scikit-learn is not installed: pip install 'edgeflock[sklearn]'") from error
    for name, value in import_code(job.options.code).items():
        setattr(sys.modules["__main__"], name, value)  # where a script's own classes are looked for
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(job.path)
        except Exception as error:  # unpickling runs whatever the file says
            raise ModelError(_not_loaded(error)) from error
    if not hasattr(model, "predict"):
        raise ModelError(f"it holds a {type(model).__name__}, not a scikit-learn estimator")
    older = [w.message for w in caught if isinstance(w.message, InconsistentVersionWarning)]
    saved_by = {warning.original_sklearn_version for warning in older}
    notes = [f"saved by scikit-learn {v}, read by {sklearn.__version__}" for v in sorted(saved_by)]
    return model, {"scikit-learn": sklearn.__version__, **_tensorflow_version()}, notes


def _not_loaded(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the module {error.name}, which is not installed here"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return f"it needs code of the script that saved it ({one_line(error)}): give it with --code FILE.py"
    return f"it is no pickle, or one that cannot be read here: {one_line(error)}"


def _tensorflow_version() -> dict[str, str]:
    import tensorflow as tf

    return {"tensorflow": tf.__version__}


def _answers(model: Any, rows: Array) -> tuple[Array, str]:
    """Return what scikit-learn answers, [n, outputs] float64, and what that is."""
    exact = rows.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # feature names, which arrays do not have
        try:
            for method, name in (("predict_proba", "probabilities"), ("decision_function", "decision")):
                if hasattr(model, "classes_") and hasattr(model, method):
                    return _two_dimensional(getattr(model, method)(exact), decides=name == "decision"), name
            return _two_dimensional(model.predict(exact), decides=False), "prediction"
        except Exception as error:  # an estimator that is not fitted, of another version, of anyone's making
            raise ModelError(f"{type(model).__name__} cannot predict: {one_line(error)}") from error


def _two_dimensional(given: Any, *, decides: bool) -> Array:
    if isinstance(given, list):
        raise ModelError("it predicts several targets: train one model for each")
    numbers = np.asarray(given, np.float64)
    if numbers.ndim == 1:
        numbers = numbers[:, np.newaxis]
        # One number for two classes: the other's is 0, as in the model that is made of it.
        return np.hstack([np.zeros_like(numbers), numbers]) if decides else numbers
    return numbers


def _notes_on(estimator: Any, output: str) -> list[str]:
    notes = []
    if output == "decision":
        notes.append(f"{type(estimator).__name__} has no probabilities: its outputs are decision values")
    classes = getattr(estimator, "classes_", None)
    if classes is not None and list(classes) != list(range(len(classes))):
        notes.append(f"its outputs are the classes {', '.join(map(str, classes))}, in this order")
    return notes


def main(arguments: list[str]) -> int:
    """Be the child."""
    return be_child(arguments, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
