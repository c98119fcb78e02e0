"""A release of software is made of wheels, and says which boards it is for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.wheel_file import read_wheel
from fleet.releasing import build, read_release
from fleet.software_release import Wheel, make_release
from tests.support.software import make_wheel
from wire.contract import broken_terms, contract_of
from wire.errors import BundleError
from wire.manifest import Software
from wire.protocol import OLDEST, VERSION
from wire.software import SOFTWARE, inspect, unpacked

_SPEAKS = f"VERSION: Final = {VERSION}\nOLDEST: Final = {OLDEST}\n".encode()


def wheel(
    name: str = "edgeflock",
    *tags: str,
    python: str = ">=3.11",
    version: str = "0.2.0",
    files: dict[str, bytes] | None = None,
) -> Wheel:
    given = {"wire/protocol.py": _SPEAKS} if files is None else files
    return Wheel(name, version, python, tags or ("py3-none-any",), given)


def compiled(*platforms: str, python: str = "cp311-cp311") -> Wheel:
    tags = [f"{python}-{platform}" for platform in platforms]
    return wheel("psutil", *tags, python=">=3.6", version="7.0", files={"psutil/_linux.so": b"\x7fELF"})


def needs(*wheels: Wheel) -> tuple[Software | None, tuple[str, ...]]:
    manifest = inspect(io.BytesIO(make_release(wheels)))
    return manifest.software, manifest.machines


def test_our_wheel_alone_is_for_every_board_with_its_python() -> None:
    software, machines = needs(wheel())
    assert software == Software("3.11", VERSION, OLDEST, packages={"edgeflock": "0.2.0"})
    assert machines == ()


def test_a_compiled_wheel_is_for_one_python_and_its_machines() -> None:
    software, machines = needs(wheel(), compiled("manylinux_2_17_aarch64", "linux_armv7l"))
    assert software is not None
    assert (software.python_from, software.python_below) == ("3.11", "3.12")
    assert machines == ("aarch64", "armv7l")


def test_a_wheel_with_the_stable_abi_is_for_later_pythons_too() -> None:
    software, _ = needs(wheel(), compiled("manylinux2014_aarch64", python="cp39-abi3"))
    assert software is not None
    assert (software.python_from, software.python_below) == ("3.11", "")


@pytest.mark.parametrize(
    ("wheels", "why"),
    [
        ([compiled("linux_aarch64")], "one of the wheels must be edgeflock's"),
        ([wheel(), wheel()], "one of the wheels must be edgeflock's"),
        ([wheel(), compiled("win_amd64")], "psutil is for win_amd64, which suits no board"),
        ([wheel(), compiled("musllinux_1_2_aarch64")], "suits no board"),
        ([wheel(), compiled("linux_aarch64"), compiled("linux_armv7l")], "suits no board"),
        ([wheel(), wheel("other", files={"wire/protocol.py": b""})], "both have wire/protocol.py"),
        ([wheel(files={"edge/app.py": b""})], "is too old"),
        (
            [wheel(), wheel("backport", files={"json/__init__.py": b""})],
            "would stand in for Python's own json",
        ),
        ([wheel(version="0.2+local")], "can be no release's"),
    ],
)
def test_what_can_be_no_release_is_told_in_one_line(wheels: list[Wheel], why: str) -> None:
    with pytest.raises(BundleError, match=why) as error:
        make_release(wheels)
    assert "\n" not in str(error.value)


def test_the_command_packs_what_a_device_imports_and_says_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "software.bundle"
    assert main(["fleet", "pack-software", str(make_wheel(tmp_path, "0.2.0")), "--out", str(out)]) == 0
    assert f"{SOFTWARE}/0.2.0" in capsys.readouterr().out
    names = {name for name, _ in unpacked(io.BytesIO(out.read_bytes()))}
    assert {"edgeflock.py", "edge/app.py", "launcher/launch.py", "wire/protocol.py"} <= names
    assert not {
        name for name in names if name.startswith(("fleet/", "converter/")) or name.endswith("RECORD")
    }


@pytest.mark.parametrize("content", [b"", b"no wheel", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_wheel_is_told_in_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(content)
    assert main(["fleet", "pack-software", str(path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "is no wheel" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("metadata", "about", "why"),
    [
        ("Name: edgeflock\nVersion: 1", "Tag: py3", "what it is for"),
        ("Name: edgeflock\nVersion: 1", "", "what it is for"),
        ("Name: edgeflock", "Tag: py3-none-any", "what it is"),
        ("Version: 1", "Tag: py3-none-any", "what it is"),
    ],
)
def test_a_wheel_that_lacks_a_word_is_told_in_one_line(
    tmp_path: Path, metadata: str, about: str, why: str
) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.dist-info/METADATA", f"{metadata}\n")
        archive.writestr("x.dist-info/WHEEL", f"{about}\n")
    with pytest.raises(BundleError, match=f"x.whl does not say {why}$"):
        read_wheel(path)


def test_a_protocol_that_is_no_text_is_told_in_one_line() -> None:
    with pytest.raises(BundleError, match="too old"):
        make_release([wheel(files={"wire/protocol.py": b"\xff"})])


def test_a_server_pushes_no_software_that_it_could_not_understand(tmp_path: Path) -> None:
    newer = f"VERSION: Final = {VERSION + 9}\nOLDEST: Final = {VERSION + 1}\n".encode()
    data = make_release([wheel(files={"wire/protocol.py": newer})])
    with pytest.raises(BundleError, match="update the server first"):
        read_release(data, name="software.bundle")


def test_no_software_keeps_to_what_an_automatic_release_must_keep_to() -> None:
    one, two = (
        read_release(
            make_release([wheel(version=v, files={"wire/protocol.py": _SPEAKS, "x.py": v.encode()})]), name=v
        )
        for v in ("1", "2")
    )
    assert broken_terms(contract_of(one.manifest), contract_of(two.manifest)) == ("software",)


def test_software_becomes_a_release_like_any_other(tmp_path: Path) -> None:
    built = build(make_release([wheel()]), name="software.bundle")
    assert built.release.name == f"{SOFTWARE}/0.2.0"
    assert built.release.manifest.software is not None
