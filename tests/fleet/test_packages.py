"""Packages for devices without a network: the rules, and a package of a few small wheels."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from edgeflock import main
from fleet.packages import debian, resolve
from fleet.packages.adapters.pip import read_wheel
from fleet.packages.app import Wheels, keep_wheels, make_deb
from fleet.packages.resolve import Distribution, Wanted, lacking
from fleet.packages.targets import LITERT, TFLITE_RUNTIME, choose_backend, find
from wire.errors import SettingsError, UnavailableError

PI = find("bookworm-arm64")
OLD_PI = find("bookworm-armhf")
NEW_PI = find("trixie-arm64")
OURS = Distribution(
    "edgeflock",
    "0.1.0",
    (
        "tuf>=7,<8; extra == 'edge'",
        "numpy>=1.24; platform_machine != 'armv7l' and extra == 'edge'",
        "numpy>=1.24,<2; platform_machine == 'armv7l' and extra == 'edge'",
        "ai-edge-litert>=2.1.6,<3; platform_machine != 'armv7l' and extra == 'edge'",
        "tflite-runtime==2.14.0; platform_machine == 'armv7l' and extra == 'edge'",
        "edgeflock[edge]; extra == 'serve'",
        "uvicorn[standard]; extra == 'serve'",
        "tensorflow; extra == 'converter'",
    ),
)

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def names(wanted: Wanted, *held: Distribution) -> dict[str, str]:
    found = lacking(wanted, OURS, {each.name: each for each in held})
    return {name: str(versions) for name, (versions, _) in found.items()}


def test_markers_are_those_of_the_target_and_not_of_this_machine() -> None:
    assert names(Wanted(NEW_PI, LITERT)) == {"tuf": "<8,>=7", "numpy": ">=1.24", LITERT: "<3,>=2.1.6"}
    assert names(Wanted(OLD_PI, TFLITE_RUNTIME)) == {"tuf": "<8,>=7", TFLITE_RUNTIME: "==2.14.0"}
    old = Distribution("tuf", "7.0.1", ("backport; python_version < '3.13'", "extra-only; extra == 'x'"))
    assert "backport" in names(Wanted(PI, LITERT), old)
    assert "backport" not in names(Wanted(NEW_PI, LITERT), old)
    assert "extra-only" not in names(Wanted(PI, LITERT), old)


def test_the_other_interpreter_comes_in_its_place_with_the_numpy_that_it_can_use() -> None:
    chosen = Distribution(TFLITE_RUNTIME, "2.14.0", ("numpy>=1.23.2",))
    new = Distribution("numpy", "2.4.6")
    assert names(Wanted(PI, TFLITE_RUNTIME)) == {
        "tuf": "<8,>=7",
        "numpy": ">=1.24",
        TFLITE_RUNTIME: "==2.14.0",
    }
    assert names(Wanted(PI, TFLITE_RUNTIME), chosen, new)["numpy"] == "<2,>=1.23.2,>=1.24"


def test_what_an_interpreter_lists_and_never_imports_is_left_out() -> None:
    held = Distribution(LITERT, "2.3.0", ("numpy>=1.23.2", "protobuf", "tqdm"))
    assert set(names(Wanted(PI, LITERT), held)) == {"tuf", "numpy"}


def test_an_extra_of_ours_brings_what_the_extras_that_it_names_need() -> None:
    found = lacking(Wanted(PI, LITERT, ("edge", "serve")), OURS, {})
    assert set(found) == {"tuf", "numpy", LITERT, "uvicorn"}
    assert found["uvicorn"][1] == {"standard"}


def test_an_extra_that_there_is_not_is_refused() -> None:
    ours = Distribution("edgeflock", "0.1.0", extras=("edge", "serve"))
    resolve.check_extras(Wanted(PI, LITERT, ("edge", "serve")), ours)
    with pytest.raises(SettingsError, match=r"--extra 'sevre': choose edge, serve"):
        resolve.check_extras(Wanted(PI, LITERT, ("edge", "sevre")), ours)


def test_a_wheel_says_its_extras(tmp_path: Path) -> None:
    path = wheel_of(tmp_path, "Name: X\nVersion: 1\nProvides-Extra: a\nProvides-Extra: b\n")
    assert read_wheel(path) == Distribution("x", "1", extras=("a", "b"))


def test_a_wheel_without_a_name_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"is not a wheel: .* names no distribution"):
        read_wheel(wheel_of(tmp_path, "Version: 1\n"))


def wheel_of(folder: Path, about: str) -> Path:
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("x-1.dist-info/METADATA", about)
    return path


def test_a_system_whose_own_package_is_too_old_is_told() -> None:
    needy = Distribution("tuf", "7.0.1", ("numpy>=1.25",))
    with pytest.raises(UnavailableError, match=r"bookworm-armhf has python3-numpy 1\.24\.2, needed is numpy"):
        names(Wanted(OLD_PI, TFLITE_RUNTIME), needy)


def test_pins_are_read_for_the_target() -> None:
    lines = ["# why", "numpy==1.26.4; python_version < '3.12'", "numpy==2.4.6; python_version >= '3.12'", ""]
    assert str(resolve.pins(lines, PI)["numpy"]) == "==1.26.4"
    assert str(resolve.pins(lines, NEW_PI)["numpy"]) == "==2.4.6"
    with pytest.raises(SettingsError, match=r"constraint '-r more\.txt'"):
        resolve.pins(["-r more.txt"], PI)


def test_what_cannot_be_is_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package", "--target", "trixie-armhf"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("edgeflock: target trixie-armhf: no TFLite interpreter has wheels for 32-bit")
    with pytest.raises(SettingsError, match="choose bookworm-arm64, bookworm-armhf, trixie-arm64"):
        find("bullseye-arm64")
    with pytest.raises(SettingsError, match="'tflite-runtime' has no wheel for trixie-arm64"):
        choose_backend(NEW_PI, TFLITE_RUNTIME)


def test_depends_name_one_python_and_what_has_no_wheel() -> None:
    assert debian.depends(PI) == "python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2.36), libstdc++6"
    assert debian.depends(OLD_PI).endswith(
        "python3-numpy (>= 1.24.2), python3-psutil (>= 5.9.4), python3-cryptography (>= 38.0.4)"
    )
    assert debian.deb_name("0.1.0", NEW_PI) == "edgeflock_0.1.0+deb13_arm64.deb"


def test_only_what_development_needs_is_left_out() -> None:
    out = ("numpy/core/tests/test_x.py", "numpy/f2py/crackfortran.py",
           "ai_edge_litert/libLiteRtWebGpuAccelerator.so", "numpy/core/include/numpy/x.h",
           "a-1.dist-info/RECORD", "fleet/app.py")  # fmt: skip
    kept = ("numpy/core/_multiarray_umath.so", "numpy.libs/libopenblas.so", "a-1.dist-info/METADATA",
            "a-1.dist-info/licenses/LICENSE", "edge/agent.py", "edgeflock.py")  # fmt: skip
    assert all(debian.left_out(PurePosixPath(name)) for name in out)
    assert not any(debian.left_out(PurePosixPath(name)) for name in kept)


@pytest.mark.parametrize("name", ["preinst", "postinst", "prerm", "postrm"])
def test_the_scripts_are_shell(name: str) -> None:
    text = debian.scripts("0.1.0", PI)[name]
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.fixture
def wheels(tmp_path: Path) -> Wheels:
    """Our own wheel and another, of a file or two each."""
    folder = tmp_path / "made" / "wheels"
    folder.mkdir(parents=True)
    _wheel(folder / "edgeflock-0.1.0-py3-none-any.whl", {"edgeflock.py": "def main(): return 0\n"})
    _wheel(
        folder / "other-1-py3-none-any.whl",
        {"other/__init__.py": "", "other/tests/test_it.py": "", "other-1.data/purelib/more.py": "M = 1\n",
         "other-1.data/scripts/other": "#!python\n"},
    )  # fmt: skip
    return Wheels(folder, tuple(sorted(folder.iterdir())))


def _wheel(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


@needs_dpkg
def test_the_package_holds_an_environment_a_command_and_the_service(wheels: Wheels, tmp_path: Path) -> None:
    deb = make_deb(wheels, Wanted(PI, LITERT), "0.1.0", tmp_path, compression="none")
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", deb.path, root], check=True)
    venv = root / "opt/edgeflock/venv"
    site = venv / "lib/python3.11/site-packages"
    assert os.readlink(venv / "bin/python3") == "/usr/bin/python3"
    assert os.access(venv / "bin/edgeflock", os.X_OK)
    assert (root / "usr/lib/systemd/system/edgeflock.service").is_file()
    assert sorted(p.name for p in site.iterdir() if p.name != "__pycache__") == [
        "edgeflock.py",
        "more.py",
        "other",
    ]
    assert not (site / "other/tests").exists()
    assert (site / "__pycache__/edgeflock.cpython-311.pyc").is_file() == deb.compiled


def dpkg(root: Path, *arguments: str | Path) -> None:
    """Run the real dpkg on a root of its own, which need not be of this machine's processor."""
    force = ("architecture", "depends", "script-chrootless", "not-root", "bad-path")
    (root / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    command = ["dpkg", f"--root={root}", *(f"--force-{what}" for what in force), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_dpkg
def test_dpkg_installs_it_over_what_pip_left_and_upgrades_and_removes_it(
    wheels: Wheels, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    left = root / "opt/edgeflock/venv/lib/python3.11/site-packages/left_by_pip.py"
    left.parent.mkdir(parents=True)
    left.touch()
    word = root / "opt/edgeflock/installed"
    for version in ("0.1.0", "0.2.0", "0.2.0"):
        deb = make_deb(wheels, Wanted(PI, LITERT), version, tmp_path, compression="none")
        dpkg(root, "--install", deb.path)
        assert word.read_text() == f"deb {version}+deb12\n"
        assert left.with_name("edgeflock.py").is_file()
        assert not left.exists()
    dpkg(root, "--remove", "edgeflock")
    assert not (root / "opt/edgeflock").exists()


@needs_dpkg
def test_the_same_wheels_give_the_same_bytes(wheels: Wheels, tmp_path: Path) -> None:
    one, two = (
        make_deb(wheels, Wanted(PI, LITERT), "0.1.0", tmp_path / name, compression="xz", epoch=1_700_000_000)
        for name in ("one", "two")
        if (tmp_path / name).mkdir() is None
    )
    assert one.path.read_bytes() == two.path.read_bytes()


@needs_dpkg
def test_the_sums_are_what_sha256sum_checks_and_an_older_package_goes(wheels: Wheels, tmp_path: Path) -> None:
    (tmp_path / "edgeflock_0.0.9+deb12_arm64.deb").write_bytes(b"old")
    deb = make_deb(wheels, Wanted(PI, LITERT), "0.1.0", tmp_path, compression="none")
    kept = keep_wheels(wheels, tmp_path)
    assert list(tmp_path.glob("*.deb")) == [deb.path]
    for path in (deb.path, *kept.paths):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"{digest}  {path.name}\n" in (path.parent / "SHA256SUMS").read_text()


def test_a_wheel_that_writes_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    _wheel(folder / "bad-1-py3-none-any.whl", {"../../../../../evil.py": ""})
    with pytest.raises(UnavailableError, match="would write outside"):
        make_deb(Wheels(folder, (*folder.iterdir(),)), Wanted(PI, LITERT), "0.1.0", tmp_path)
