"""`flash --image --fleet`: all devices of a list, told one by one, and gone on with after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edgeflock import main
from fleet.adapters.broker_files import BrokerFiles
from fleet.broker_setup import BrokerPlan
from fleet.provision import fleet_flash, image_flash
from fleet.provision.adapters.flash_record import Kind, Made, open_record
from fleet.provision.adapters.image_copy import scratch_image
from tests.support.card_images import BOOT_START, MIB, make_image, needs_card_tools, read_files
from tests.support.fake_disks import FakeDisks, card
from wire.adapters.files import only_owner
from wire.errors import SettingsError

pytestmark = needs_card_tools

ROWS = ("kitchen-1,10000000deadbeef,A1", "kitchen-2,,A2", "kitchen-3,,A3")
_NOBODY = 65534
OPEN_CHECKOUT = all(folder.stat().st_mode & stat.S_IXOTH for folder in Path(__file__).resolve().parents)
READER = "/dev/sdx"
#: As auditwheel names them.
LONG_WHEEL = (
    "charset_normalizer-3.4.4-cp311-cp311-"
    "manylinux2014_armv7l.manylinux_2_17_armv7l.manylinux_2_31_armv7l.whl"
)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("stock") / "raspios.img", boot_mib=6, bits=16)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    return write_list(tmp_path / "devices.csv", *ROWS)


def write_list(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["id,serial,slot", *rows]) + "\n")
    return path


def flash(image: Path, devices: Path, *more: str) -> int:
    where = ("--image", str(image), "--fleet", str(devices), "--state", str(devices.parent / "no-state"))
    return main(["flash", *where, "--broker", "hub.local", "--unsigned", *more])


def name_in(image: Path) -> str:
    toml = read_files(image, offset=BOOT_START)["edgeflock/device.toml"].decode()
    [line] = [line for line in toml.splitlines() if line.startswith("name = ")][:1]
    return line.partition('"')[2].rstrip('"')


# --- images -------------------------------------------------------------------------------------


def test_each_device_gets_an_image_of_its_own(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    assert flash(stock, devices, "--out", str(out)) == 0
    assert {path.name: name_in(path) for path in out.iterdir()} == {
        f"kitchen-{number}.img": f"kitchen-{number}" for number in (1, 2, 3)
    }
    said = capsys.readouterr().out
    assert f"kitchen-1  host kitchen-1  serial 10000000deadbeef  slot A1: {out / 'kitchen-1.img'}\n" in said


def test_a_second_run_makes_nothing_again(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    flash(stock, devices, "--out", str(out))
    before = {path: path.stat().st_ino for path in out.iterdir()}
    capsys.readouterr()
    assert flash(stock, devices, "--out", str(out)) == 0
    assert {path: path.stat().st_ino for path in out.iterdir()} == before
    assert capsys.readouterr().out.count(": done before\n") == 3


def test_an_image_that_is_gone_is_made_again(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    flash(stock, devices, "--out", str(out))
    (out / "kitchen-2.img").unlink()
    capsys.readouterr()
    assert flash(stock, devices, "--out", str(out)) == 0
    assert capsys.readouterr().out.count(": done before\n") == 2
    assert name_in(out / "kitchen-2.img") == "kitchen-2"


def test_packages_that_were_forgotten_or_are_new_make_an_image_again(stock: Path, tmp_path: Path) -> None:
    devices = write_list(tmp_path / "devices.csv", ROWS[0])
    packages, out = tmp_path / "packages", tmp_path / "images"
    packages.mkdir()
    flash(stock, devices, "--out", str(out))
    for content in (b"first", b"second"):
        (packages / "edgeflock_1_arm64.deb").write_bytes(content)
        assert flash(stock, devices, "--out", str(out), "--packages", str(packages), "--force") == 0
        files = read_files(out / "kitchen-1.img", offset=BOOT_START)
        assert files["edgeflock/edgeflock_1_arm64.deb"] == content


def test_a_changed_row_is_made_again_and_a_new_one_for_the_first_time(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    flash(stock, devices, "--out", str(out))
    capsys.readouterr()
    devices.write_text("id,model\nkitchen-1,\nkitchen-2,other\nkitchen-4,\n")
    assert flash(stock, devices, "--out", str(out), "--force") == 0
    assert "kitchen-1  host kitchen-1: done before" in capsys.readouterr().out
    assert b'"other"' in read_files(out / "kitchen-2.img", offset=BOOT_START)["edgeflock/device.toml"]
    assert name_in(out / "kitchen-4.img") == "kitchen-4"


def test_a_packed_image_is_unpacked_once_and_goes_away(stock: Path, devices: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "raspios"), "zip", stock.parent, stock.name))
    out = tmp_path / "images"
    assert flash(packed, devices, "--out", str(out)) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"kitchen-{n}.img" for n in (1, 2, 3)]


def test_what_a_killed_run_unpacked_goes_away_and_what_a_living_one_did_stays(
    stock: Path, devices: Path, tmp_path: Path
) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "raspios"), "zip", stock.parent, stock.name))
    out = tmp_path / "images"
    out.mkdir()
    killed = """
import os, signal, sys
from pathlib import Path
from fleet.provision.adapters.image_copy import scratch_image
with scratch_image(Path(sys.argv[1])) as (_, descriptor):
    os.write(descriptor, b"gigabytes")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", killed, str(out)], check=False).returncode == -9
    [left] = out.iterdir()
    with scratch_image(out) as (living, descriptor):
        assert not left.exists()
        os.write(descriptor, b"gigabytes")
        assert flash(packed, devices, "--out", str(out)) == 0
        assert living.exists()
    assert sorted(path.name for path in out.iterdir()) == [f"kitchen-{n}.img" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["edgeflock_1_arm64.deb", "wheels/x-1-py3-none-any.whl"], ["edgeflock/edgeflock_1_arm64.deb"]),
        (["wheels/x-1-py3-none-any.whl"], ["edgeflock/wheels/x-1-py3-none-any.whl"]),
        (["x-1-py3-none-any.whl"], ["edgeflock/wheels/x-1-py3-none-any.whl"]),
        ([LONG_WHEEL], [f"edgeflock/wheels/{LONG_WHEEL}"]),
    ],
)
def test_packages_go_into_every_image(
    there: list[str], taken: list[str], stock: Path, tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / "packages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / name).write_bytes(b"package")
    devices = write_list(tmp_path / "devices.csv", ROWS[0])
    flash(stock, devices, "--out", str(tmp_path / "images"), "--packages", str(tmp_path / "packages"))
    files = read_files(tmp_path / "images" / "kitchen-1.img", offset=BOOT_START)
    assert [name for name, data in files.items() if data == b"package"] == taken


def test_a_folder_without_packages_is_refused(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flash(stock, devices, "--out", str(tmp_path / "images"), "--packages", str(tmp_path)) == 2
    assert "no wheel in it" in capsys.readouterr().err
    (tmp_path / "edgeflock_1:2_arm64.deb").touch()
    assert flash(stock, devices, "--out", str(tmp_path / "images"), "--packages", str(tmp_path)) == 2
    assert "edgeflock_1:2_arm64.deb' cannot be a file on a boot partition" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_refused(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").write_bytes(b"someone's")
    assert flash(stock, devices, "--out", str(tmp_path / "images")) == 2
    assert "with --fleet, name one for the images" in capsys.readouterr().err


def test_one_that_fails_is_told_and_the_others_are_made(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    out.mkdir()
    (out / "kitchen-2.img").write_bytes(b"someone's")
    assert flash(stock, devices, "--out", str(out)) == 1
    assert (out / "kitchen-2.img").read_bytes() == b"someone's"
    assert (name_in(out / "kitchen-1.img"), name_in(out / "kitchen-3.img")) == ("kitchen-1", "kitchen-3")
    problem = "is there already: name another file, or --force to write over it"
    assert f"slot A2: {out / 'kitchen-2.img'} {problem}\n" in capsys.readouterr().out
    assert flash(stock, devices, "--out", str(out), "--force") == 0
    assert name_in(out / "kitchen-2.img") == "kitchen-2"


def test_a_serial_that_is_there_twice_stops_before_anything_is_made(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = write_list(tmp_path / "devices.csv", "a,10000000deadbeef,", "b,10000000deadbeef,")
    assert flash(stock, devices, "--out", str(tmp_path / "images")) == 2
    assert "10000000deadbeef" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [devices]


def test_two_at_a_time_do_not_make_the_same_list(
    stock: Path, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_owner(tmp_path / ".devices.csv.lock", "test"):
        assert flash(stock, devices, "--out", str(tmp_path / "images")) == 1
    assert "another flash of this list works in" in capsys.readouterr().err


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet's state folder with certificates: each flash makes a token."""
    folder = tmp_path / "fleet"
    BrokerFiles(folder).make(BrokerPlan(("hub.local",), port=9883, claim_port=9884), datetime.now(UTC))
    return folder


def end_run(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process end as if killed, around the moment at which kitchen-2's image gets its name."""
    rename = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if target.name == "kitchen-2.img" and when == "before its name":
            os._exit(9)
        result = rename(path, target)
        if target.name == "kitchen-2.img":
            os._exit(9)
        return result

    monkeypatch.setattr(Path, "replace", replace)


def flash_and_end(when: str, *arguments: str) -> None:
    """Flash in a process of its own that ends so."""
    child = os.fork()
    if child == 0:
        try:
            end_run(when, pytest.MonkeyPatch())
            main(["flash", *arguments])
        finally:  # the tests are the parent's
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("when", ["before its name", "after its name"])
def test_a_run_that_was_killed_around_an_images_name_goes_on(
    when: str, stock: Path, devices: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    command = ("--image", str(stock), "--fleet", str(devices), "--out", str(out), "--unsigned")
    flash_and_end(when, *command, "--state", str(state))
    before = {path: path.stat().st_ino for path in out.glob("*.img")}
    capsys.readouterr()
    assert main(["flash", *command, "--state", str(state)]) == 0
    assert capsys.readouterr().out.count(": done before\n") == (1 if when == "before its name" else 2)
    assert {path: path.stat().st_ino for path in before} == before
    assert sorted(path.name for path in out.iterdir()) == [f"kitchen-{n}.img" for n in (1, 2, 3)]
    assert name_in(out / "kitchen-2.img") == "kitchen-2"


def test_what_somebody_put_where_a_killed_run_would_have_named_its_image_stays(
    stock: Path, devices: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "images"
    command = ("--image", str(stock), "--fleet", str(devices), "--out", str(out), "--unsigned")
    flash_and_end("before its name", *command, "--state", str(state))
    (out / "kitchen-2.img").write_bytes(b"someone's")
    assert main(["flash", *command, "--state", str(state)]) == 1
    assert f"{out / 'kitchen-2.img'} is there already" in capsys.readouterr().out
    assert (out / "kitchen-2.img").read_bytes() == b"someone's"


# --- cards --------------------------------------------------------------------------------------


class Operator:
    """A person at the reader: when the program waits, takes the card out and puts the next one in."""

    def __init__(self, folder: Path, disks: FakeDisks) -> None:
        self.cards: list[Path] = []
        self._folder, self._disks = folder, disks
        self.put_in()

    def put_in(self) -> None:
        self.cards.append(card(self._folder / f"card-{len(self.cards)}", 20 * MIB))
        self._disks.inserted = self.cards[-1]

    def wait(self, seconds: float) -> None:
        if seconds != fleet_flash._POLL_S:
            return
        if self._disks.inserted is None:
            self.put_in()
        else:
            self._disks.inserted = None


@pytest.fixture
def disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeDisks:
    disks = FakeDisks(ejects=getattr(request, "param", True))
    monkeypatch.setattr(image_flash, "LinuxDisks", lambda _: disks)
    return disks


@pytest.fixture
def operator(tmp_path: Path, disks: FakeDisks, monkeypatch: pytest.MonkeyPatch) -> Operator:
    operator = Operator(tmp_path, disks)
    monkeypatch.setattr(fleet_flash.time, "sleep", operator.wait)
    return operator


@pytest.mark.parametrize("disks", [True, False], ids=["ejects", "does not eject"], indirect=True)
def test_one_card_after_the_other_becomes_a_device(
    stock: Path, devices: Path, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flash(stock, devices, "--write-to", READER, "--yes") == 0
    assert [name_in(path) for path in operator.cards] == ["kitchen-1", "kitchen-2", "kitchen-3"]
    said = capsys.readouterr().out
    assert said.index("kitchen-1  host kitchen-1") < said.index("kitchen-2  host kitchen-2")
    assert "slot A3" in said


def test_a_run_with_nothing_left_to_do_asks_nobody(
    stock: Path, devices: Path, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    flash(stock, devices, "--write-to", READER, "--yes")
    assert flash(stock, devices, "--write-to", READER) == 0
    assert len(operator.cards) == 3


def test_who_has_the_images_of_a_list_gets_its_cards_too(
    stock: Path, devices: Path, tmp_path: Path, operator: Operator
) -> None:
    assert flash(stock, devices, "--out", str(tmp_path / "images")) == 0
    assert flash(stock, devices, "--write-to", READER, "--yes") == 0
    assert [name_in(path) for path in operator.cards] == ["kitchen-1", "kitchen-2", "kitchen-3"]


def test_an_interrupted_run_goes_on_with_the_next_card(
    stock: Path, devices: Path, operator: Operator, disks: FakeDisks, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disks.eject

    def eject(disk: object) -> bool:
        if name_in(operator.cards[-1]) == "kitchen-2":
            raise KeyboardInterrupt
        return real(disk)  # type: ignore[arg-type]

    monkeypatch.setattr(disks, "eject", eject)
    assert flash(stock, devices, "--write-to", READER, "--yes") == 130
    monkeypatch.setattr(disks, "eject", real)
    operator.put_in()
    assert flash(stock, devices, "--write-to", READER, "--yes") == 0
    # kitchen-2 was written, but not told yet: it is made again rather than left out.
    names = [name_in(path) for path in operator.cards]
    assert names == ["kitchen-1", "kitchen-2", "kitchen-2", "kitchen-3"]


def test_a_card_that_fails_costs_its_device_only(
    stock: Path,
    devices: Path,
    operator: Operator,
    disks: FakeDisks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pull_the_second(medium: object) -> object:
        if len(operator.cards) == 2:
            raise OSError(5, "Input/output error", READER)
        return medium

    disks.spoil = pull_the_second  # type: ignore[assignment]
    assert flash(stock, devices, "--write-to", READER, "--yes") == 1
    assert f"slot A2: {READER}: Input/output error\n" in capsys.readouterr().out
    record = json.loads(devices.with_suffix(".flashed.json").read_text())
    assert sorted(record["devices"]) == ["kitchen-1", "kitchen-3"]


def test_the_disk_is_asked_for_once_and_a_no_ends_it_all(
    stock: Path, devices: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(image_flash, "ask", lambda disk: asked.append(disk.name))
    assert flash(stock, devices, "--write-to", READER) == 0
    assert asked == ["sdx"]
    monkeypatch.undo()


def test_a_no_leaves_the_card_as_it_is(
    stock: Path, devices: Path, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flash(stock, devices, "--write-to", READER) == 2  # there is nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert operator.cards[0].read_bytes() == b"\xa5" * 20 * MIB


# --- the record ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves files that are not the user's")
@pytest.mark.skipif(not OPEN_CHECKOUT, reason="the checkout is below a folder that no other user may enter")
def test_after_a_flash_with_sudo_the_lists_owner_goes_on(stock: Path) -> None:
    with TemporaryDirectory() as folder:  # below what others may enter, unlike tmp_path
        devices, image = write_list(Path(folder, "devices.csv"), *ROWS), Path(folder, "raspios.img")
        shutil.copy(stock, image)
        for path in (Path(folder), devices, image):
            os.chown(path, _NOBODY, -1)
        assert flash(image, devices, "--out", folder) == 0
        os.seteuid(_NOBODY)
        try:
            assert flash(image, devices, "--out", folder) == 0
            (Path(folder) / "kitchen-2.img").unlink()
            assert flash(image, devices, "--out", folder) == 0
        finally:
            os.seteuid(0)
        record = devices.with_suffix(".flashed.json").stat()
        assert (record.st_uid, record.st_mode & 0o777) == (_NOBODY, 0o600)


def test_the_record_knows_an_image_and_a_card_by_their_digests(tmp_path: Path) -> None:
    (tmp_path / "r.csv").touch()
    record = open_record(tmp_path / "r.csv")
    record.add("a", Made(Kind.IMAGE, "image", "card", "2026-11-30T00:00:00+00:00", "a.img"))
    again = open_record(tmp_path / "r.csv")
    assert again.find("a", Kind.IMAGE, "image", "card")
    assert not again.find("a", Kind.CARD, "image", "card")
    assert not again.find("a", Kind.IMAGE, "other", "card")
    assert not again.find("a", Kind.IMAGE, "image", "other")
    assert not again.find("b", Kind.IMAGE, "image", "card")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"devices": {"a": {}}}', '{"devices": {"a": 1}}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.csv").touch()
    (tmp_path / "r.flashed.json").write_text(text)
    with pytest.raises(SettingsError, match="move it away"):
        open_record(tmp_path / "r.csv")
