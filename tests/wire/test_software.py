"""A release of software is refused as a whole, in one line, for anything in it that may not be there."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest

from wire.bundle import EPOCH
from wire.codec import encode
from wire.delta import apply
from wire.delta import encode as make_delta
from wire.errors import BundleError
from wire.manifest import Golden, Manifest, Software
from wire.software import SOFTWARE, SUMS, inspect, is_software, pack, unpacked

MANIFEST = Manifest(
    SOFTWARE, "1.0", "software", "", 0, (), (), Golden(0, 0.0),
    software=Software("3.11", protocol=2, protocol_from=1, packages={"edgeflock": "1.0"}),
)  # fmt: skip
FILES = {"edge/app.py": b"print(1)\n", "edgeflock.py": b"", "numpy.libs/lib-1+2.so": b"\x7fELF"}


def opened(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def test_it_holds_what_was_packed_and_the_same_packs_to_the_same() -> None:
    data = pack(MANIFEST, FILES)
    assert pack(MANIFEST, dict(reversed(FILES.items()))) == data
    assert is_software(data)
    manifest = inspect(opened(data))
    assert manifest.software == MANIFEST.software
    assert manifest.tflite_bytes == sum(map(len, FILES.values()))
    assert dict(unpacked(opened(data))) == FILES


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py", "edge/../../evil.py", "/etc/passwd", "edge//app.py", "./edge.py", "edge/.hidden",
        ".pth",
        "edge\\app.py", "C:edge.py", "edge/", "", "edge/a\n.py", "ünï.py", "a" * 241,
        "/".join("a" * 20), SUMS, "json.py", "json/__init__.py", "ssl/x.py",
        "json.abi3.so", "json.pyc",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_or_stands_in_for_pythons_own_is_refused(name: str) -> None:
    with pytest.raises(
        BundleError, match=r"no name that a file may have|would stand in for|no plain file"
    ) as one:
        inspect(opened(raw([(name, b"x", {})])))
    assert "\n" not in str(one.value)
    with pytest.raises(BundleError):
        pack(MANIFEST, {name: b"x"})


def raw(entries: list[tuple[str, bytes, dict[str, int]]], manifest: bytes | None = None) -> bytes:
    """Return a zip with these entries behind a manifest, without any check."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("manifest.json", EPOCH), manifest or encode(MANIFEST))
        for name, data, attributes in entries:
            info = zipfile.ZipInfo(name, EPOCH)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, data)
    return out.getvalue()


def large_in_the_directory() -> bytes:
    """Return a release whose directory says of one file that it has 4 GB."""
    data = bytearray(pack(MANIFEST, FILES))
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = b"\xff\xff\xff\x7f" * 2
    return bytes(data)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a link": (
        lambda: raw([("edge", b"/etc", {"external_attr": (stat.S_IFLNK | 0o777) << 16})]),
        "no plain file",
    ),
    "a device": (
        lambda: raw([("edge", b"", {"external_attr": (stat.S_IFCHR | 0o666) << 16})]),
        "no plain file",
    ),
    "a folder": (
        lambda: raw([("edge/", b"", {"external_attr": (stat.S_IFDIR | 0o755) << 16})]),
        "no plain file",
    ),
    "a packed file": (lambda: raw([("bomb", bytes(10**7), {"compress_type": 8})]), "larger than it is"),
    "a small packed file": (lambda: raw([("a.py", b"x = 1", {"compress_type": 8})]), "no plain file"),
    "the same twice": (lambda: raw([("a.py", b"1", {}), ("a.py", b"2", {})]), "there twice"),
    "a file below a file": (
        lambda: raw([("a", b"1", {}), ("a/b", b"2", {})]),
        "no name that a file may have",
    ),
    "sizes that lie": (large_in_the_directory, "larger than it is|damaged"),
    "another file": (lambda: pack(MANIFEST, FILES).replace(b"print(1)", b"print(2)"), "damaged"),
    "a file more": (lambda: raw([("a.py", b"1", {})]), "do not have the size"),
    "no manifest": (lambda: raw([], b"{}"), "bad Manifest"),
    "a model's manifest": (
        lambda: raw([], encode(replace(MANIFEST, model="digits"))),
        "no release of software",
    ),
    "no software": (lambda: raw([], encode(replace(MANIFEST, software=None))), "no release of software"),
    "a long manifest": (lambda: raw([], b" " * 300_000), "larger than"),
    "no zip": (lambda: b"PK\x03\x04" + bytes(100), "damaged"),
    "half of it": (lambda: pack(MANIFEST, FILES)[:200], "damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_or_damaged_is_refused_in_one_line(kind: str) -> None:
    make, why = HOSTILE[kind]
    with pytest.raises(BundleError, match=why) as error:
        inspect(opened(make()), name="software-1.bundle")
    assert "\n" not in str(error.value)


def test_a_change_of_one_file_travels_as_little_more_than_that_file() -> None:
    files = {f"edge/{i}.py": bytes([i]) * 2000 + f"x = {i}\n".encode() * 200 for i in range(40)}
    old = pack(MANIFEST, files)
    new = pack(replace(MANIFEST, version="1.1"), files | {"edge/20.py": b"changed and longer\n" * 150})
    delta = make_delta(old, new)
    assert len(delta) < 1500
    base = hashlib.sha256(old).hexdigest()
    assert b"".join(apply(opened(old), [delta], base_sha256=base, size_bytes=len(new))) == new
