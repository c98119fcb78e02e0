"""Child processes: what may crash, hang or print its heart out does so apart from us.

The parent side is `run_child`, the child side `answer`. They share a folder: big arrays travel as
files in it, and the child's last act is to write `answer.json` there. Standard output is no channel
for that: TensorFlow and its kind write to it as they please. A child without an answer has failed,
whatever its exit code says.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from wire.adapters.processes import python_environment, python_module, tied
from wire.deadline import Deadline
from wire.errors import DataError, EdgeflockError, ModelError, UnavailableError

_ANSWER: Final = "answer.json"
_PROGRESS: Final = "progress.txt"
_LOOK_EVERY_S: Final = 0.2
_ERRORS: Final[Mapping[str, type[EdgeflockError]]] = {
    kind.__name__: kind for kind in (DataError, ModelError, UnavailableError)
}
#: What native libraries log around the one line that matters.
_NOISE: Final = re.compile(r"^(WARNING|INFO|[IWE]\d{4} |\s*\^|\s+File |Extension modules|Current thread)")


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make the folder that parent and child share, for the time of the block."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgeflock-") as name:
            yield Path(name)
    except OSError as error:  # a full disk, nearly always
        why = error.strerror or "not all was written, is the disk full?"  # numpy gives no errno
        raise UnavailableError(f"temporary files in {tempfile.gettempdir()}: {why}") from error


def run_child(
    module: str,
    folder: Path,
    *arguments: str,
    doing: str,
    time_limit_s: float,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Run `module`'s main with `folder` and `arguments`; return its answer.

    `progress` is called with the share that the child reports as done, several times a second. Raises
    the error that the child gave, or ModelError, beginning with `doing`, when it crashed or took longer
    than `time_limit_s`. The child ends when this process does.
    """
    watching = watch_child(module, folder, *arguments, doing=doing, time_limit_s=time_limit_s)
    while True:
        try:
            progress(next(watching))
        except StopIteration as ended:
            result: dict[str, Any] = ended.value
            return result


def watch_child(
    module: str, folder: Path, *arguments: str, doing: str, time_limit_s: float
) -> Generator[float, None, dict[str, Any]]:
    """Do what `run_child` does, and yield the share that is done again and again while the child runs.

    Closing the generator ends the child.
    """
    for name in (_ANSWER, _PROGRESS):
        (folder / name).unlink(missing_ok=True)
    deadline = Deadline.after(time_limit_s)
    with subprocess.Popen(
        tied(python_module(module, str(folder), *arguments), how="KILL"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    ) as child:
        try:
            while (stderr := _ended(child, min(_LOOK_EVERY_S, deadline.left_s))) is None:
                if deadline.passed:
                    raise ModelError(f"{doing}: not done after {time_limit_s:.0f} s, stopped")
                yield _share_done(folder / _PROGRESS)
        except BaseException:  # also a closed generator: whatever happens here ends the child
            child.kill()
            raise
    return _read_answer(folder / _ANSWER, child.returncode, stderr, doing)


def report_progress(folder: Path, done: float) -> None:
    """Tell the parent, as the child, which share of the work is done (0 to 1)."""
    unfinished = folder / f"{_PROGRESS}.new"  # a file that is being written reads as nothing done
    unfinished.write_text(f"{done:.4f}")
    unfinished.rename(folder / _PROGRESS)


def answer(folder: Path, work: Callable[[], dict[str, Any]]) -> int:
    """Be the child: do `work`, write its result or its error as the answer, return the exit code."""
    try:
        said: dict[str, Any] = {"result": work()}
    except EdgeflockError as error:
        said = {"kind": type(error).__name__, "error": str(error)}
    except ImportError as error:
        missing = (error.name or "").split(".")[0] or str(error)
        said = {
            "kind": "UnavailableError",
            "error": f"{missing} cannot be imported: pip install 'edgeflock[converter]'",
        }
    except MemoryError:
        said = {"kind": "ModelError", "error": "not enough memory"}
    except Exception as error:  # the outermost loop: three foreign libraries raise what they like
        traceback.print_exc()
        said = {"kind": "ModelError", "error": one_line(error)}
    (folder / _ANSWER).write_text(json.dumps(said))
    return 0 if "result" in said else 1


def one_line(error: BaseException) -> str:
    """Return the line of an error's text that says most: the one marked `error:`, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "error:" in line]
    return (marked or lines or [type(error).__name__])[0][:300]


def _ended(child: subprocess.Popen[bytes], wait_s: float) -> bytes | None:
    """Return the standard error of a child that has ended; None when it has not within `wait_s`."""
    try:
        return child.communicate(timeout=wait_s)[1]
    except subprocess.TimeoutExpired:
        return None


def _share_done(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # nothing said yet, or just being written
        return 0.0


def _read_answer(path: Path, code: int, stderr: bytes, doing: str) -> dict[str, Any]:
    if code < 0:
        raise ModelError(
            f"{doing}: the process was ended by {signal.Signals(-code).name}{_last_words(stderr)}"
        )
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{doing}: the process ended with code {code}{_last_words(stderr)}") from error
    if "result" not in said:
        raise _ERRORS.get(said["kind"], ModelError)(f"{doing}: {said['error']}")
    result: dict[str, Any] = said["result"]
    return result


def _last_words(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    useful = [line.strip() for line in lines if not _NOISE.match(line)]
    return f" ({useful[-1][:200]})" if useful else ""


def _environment() -> dict[str, str]:
    """Return the environment of a child: quiet, without a GPU, and the same numbers on every run."""
    return python_environment() | {
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
