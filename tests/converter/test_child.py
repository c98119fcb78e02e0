"""Whatever a child does, its parent has one line to say about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from converter.adapters.child import one_line, run_child, watch_child
from wire.deadline import Deadline, wait_until
from wire.errors import DataError, EdgeflockError, ModelError, UnavailableError

_CHILD = """
import sys
from pathlib import Path
from converter.adapters.child import answer
from wire.errors import DataError
def work():
    {work}
sys.exit(answer(Path(sys.argv[1]), work))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]  # a function
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run_work(work: str, time_limit_s: float = 60.0, **options: Any) -> dict[str, object]:
        (tmp_path / "the_child.py").write_text(_CHILD.format(work=work))
        return run_child("the_child", tmp_path, doing="m.keras", time_limit_s=time_limit_s, **options)

    return run_work


def test_a_result_comes_back_through_any_noise(run) -> None:  # type: ignore[no-untyped-def]
    assert run("print('{}', '\\n' * 3, flush=True); return {'a': 1}") == {"a": 1}


@pytest.mark.parametrize(
    ("work", "kind", "line"),
    [
        ("import os; os.kill(os.getpid(), 11)", ModelError, "the process was ended by SIGSEGV$"),
        ("import os; os._exit(3)", ModelError, "the process ended with code 3$"),
        (
            "import os; os.write(2, b'I0000 x\\ncannot do it\\nWARNING: y\\n'); os.abort()",
            ModelError,
            r"ended by SIGABRT \(cannot do it\)$",
        ),
        ("raise DataError('too wide')", DataError, "too wide$"),
        ("raise ValueError('first\\nsecond')", ModelError, "first$"),
        ("import no_such_library", UnavailableError, "no_such_library cannot be imported: pip install"),
        ("raise MemoryError", ModelError, "not enough memory"),
    ],
)
def test_each_end_is_one_line(run, work: str, kind: type[EdgeflockError], line: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=f"^m.keras: .*{line}|^m.keras: {line}") as caught:
        run(work)
    assert "\n" not in str(caught.value)


def test_a_child_that_never_ends_is_stopped(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match="not done after 0 s, stopped"):
        run("import signal; signal.pause()", time_limit_s=0.3)


def test_progress_is_heard_while_the_child_works(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    heard, folder = tmp_path / "heard", f"__import__('pathlib').Path({str(tmp_path)!r})"
    work = (
        "from converter.adapters.child import report_progress\n"
        f"    report_progress({folder}, 0.5)\n"
        f"    while not ({folder} / 'heard').exists(): pass\n"
        "    return {'done': 1}"
    )
    assert run(work, progress=lambda done: heard.touch() if done == 0.5 else None) == {"done": 1}


def test_a_child_ends_when_nobody_watches_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "the_child.py").write_text(
        "import os, signal, sys\nopen(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\nsignal.pause()"
    )
    pid = tmp_path / "pid"
    watching = watch_child("the_child", tmp_path, doing="m.keras", time_limit_s=60.0)
    while not pid.exists() or not pid.read_text():
        assert next(watching) == 0.0
    watching.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_marked_line_of_a_long_error_is_the_one_to_show() -> None:
    assert one_line(ValueError("a trace\n  x: error: 'tf.Svd' op is custom\nmore")).endswith("op is custom")
    assert one_line(ValueError()) == "ValueError"


def test_a_child_that_has_not_come_to_its_work_ends_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "the_child.py").write_text("import signal\nsignal.pause()\n")
    program = (
        "import sys\nfrom pathlib import Path\nfrom converter.adapters.child import run_child\n"
        "run_child('the_child', Path(sys.argv[1]), doing='m.keras', time_limit_s=60)"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    command, environment = [sys.executable, "-c", program, str(tmp_path)], os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment) as parent:
        found: list[psutil.Process] = []

        def starts() -> bool:
            found[:] = [
                c for c in psutil.Process(parent.pid).children() if c.cmdline()[:1] == [sys.executable]
            ]
            return bool(found)

        assert wait_until(starts, Deadline.after(30))
        parent.kill()
    assert wait_until(lambda: not found[0].is_running(), Deadline.after(10))


def test_the_parent_never_loads_what_may_crash() -> None:
    heavy = ["tensorflow", "keras", "litert_quantizer", "ai_edge_litert", "tflite_runtime"]
    code = f"import converter.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
