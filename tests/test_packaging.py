"""What a stranger installs: the wheel's contents and what its extras pull."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from the sdist, as an index would have it."""
    subprocess.run([ROOT / "scripts" / "build-page"], check=True)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_the_packages_and_the_device_files_and_no_tests(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    data = [n.split("/firmware-config/")[1] for n in names if "/share/edgeflock/firmware-config/" in n]
    given = [p for p in (ROOT / "firmware-config").rglob("*") if p.is_file()]
    assert sorted(data) == sorted(str(p.relative_to(ROOT / "firmware-config")) for p in given)
    tops = {n.split("/")[0] for n in names if not n.startswith("edgeflock-")}
    assert tops == {"wire", "launcher", "edge", "converter", "fleet", "demo", "edgeflock.py"}
    assert {f"{p}/py.typed" for p in ("wire", "launcher", "edge", "converter", "fleet", "demo")} <= set(names)


def test_it_holds_the_page_and_where_npm_is_the_scripts_of_others(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if name.startswith("fleet/web/")}
    web = ROOT / "fleet" / "web"
    own = [p for folder in ("templates", "static") for p in (web / folder).iterdir() if p.is_file()]
    assert {f"fleet/web/{p.relative_to(web)}" for p in own} <= names
    if not (web / "static" / "vendor").is_dir():
        pytest.skip("npm is not here, or could not fetch: the page shows text and tables")
    vendor = {"htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
    assert {f"fleet/web/static/vendor/{name}" for name in vendor} <= names


def test_no_script_of_others_is_committed_and_the_lock_names_no_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not [name for name in listed.stdout.splitlines() if "vendor/" in name or name.endswith(".min.js")]
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert "http" not in lock


def test_a_device_installs_no_workstation_or_server_library(wheel: zipfile.ZipFile) -> None:
    (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
    needs = email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist") or []
    of_device = {
        need.split(">")[0].split("=")[0].split("<")[0] for need in needs if 'extra == "edge"' in need
    }
    trust = {"tuf", "securesystemslib", "cryptography"}
    assert of_device == {"numpy", "paho-mqtt", "psutil", "ai-edge-litert", "tflite-runtime"} | trust
