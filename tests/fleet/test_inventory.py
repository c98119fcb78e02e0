"""The list of a fleet: what spreadsheets write is read, and a mistake is one line with its row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.provision.card import DeviceCard
from fleet.provision.inventory import COLUMNS, Entry, read_fleet
from tests.support.cards import CA, KEY, PLAIN, SSID, TOKEN
from wire.errors import SettingsError

DEFAULTS = DeviceCard("x", "hub.local", "digits", tags=("floor=1",))


def write(folder: Path, text: str | bytes, name: str = "fleet.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_row_says_all_of_a_device(tmp_path: Path) -> None:
    write(tmp_path, KEY + "\n", "id.pub")
    write(tmp_path, "correct horse\n", "wifi.txt")
    quoted = '"' + SSID.replace('"', '""') + '"'
    text = (
        "serial,slot,id,host,site,tags,model,broker,port,ssh_key,wifi_ssid,wifi_password_file,wifi_country,claim\n"
        f"0xDEADBEEF,rack 1,kitchen-1,kitchen,lab,ir night,faces,hub2,1884,id.pub,{quoted},wifi.txt,DE,\n"
    )
    assert read_fleet(write(tmp_path, text), DEFAULTS) == [
        Entry(
            DeviceCard(
                "kitchen-1",
                "hub2",
                "faces",
                1884,
                ssh_key=KEY,
                wifi_ssid=SSID,
                wifi_password="correct horse",
                wifi_country="DE",
                host="kitchen",
                tags=("site=lab", "ir", "night"),
            ),
            serial="00000000deadbeef",
            slot="rack 1",
            where="row 2",
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,model\r\na,m\r\n\r\n",
        b"id;model\na;m\n;\n",
        b"id\tmodel\na\tm\n",
        b"ID, Model\n a , m\n,\n",
        b'"id","model"\n"a","m"',
    ],
)
def test_what_spreadsheets_do_is_tolerated(tmp_path: Path, text: bytes) -> None:
    [entry] = read_fleet(write(tmp_path, text), DEFAULTS)
    assert (entry.card.name, entry.card.model, entry.card.tags) == ("a", "m", DEFAULTS.tags)


def test_a_device_without_an_id_is_called_by_its_board_or_its_slot(tmp_path: Path) -> None:
    path = write(tmp_path, "serial,slot\n10000000DEADBEEF,1\n,shelf 2/b\n")
    assert [(e.card.name, e.named) for e in read_fleet(path, DEFAULTS)] == [
        ("pi-10000000deadbeef", False),
        ("shelf-2-b", False),
    ]
    pattern = replace(DEFAULTS, name="cam-{serial}")
    assert read_fleet(path, pattern)[0].card.name == "cam-10000000deadbeef"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "fleet.csv: it is empty"),
        ("id\n", "fleet.csv: there is no device in it"),
        ("id,serail\na,b\n", "unknown column 'serail'; did you mean 'serial'?"),
        ("id,colour\na,b\n", "unknown column 'colour'; known are serial"),
        ("id,id\na,b\n", "column 'id' is there twice"),
        ("id\na\nb\na\n", r"row 4: id 'a' is in row 2 too"),
        ("id,serial\na,deadbeef\nb,0xDEADBEEF\n", "row 3: serial '00000000deadbeef' is in row 2 too"),
        ("id,slot\na,1\nb,1\n", "row 3: slot '1' is in row 2 too"),
        ("id\nkitchen_1\nKitchen-1\n", "row 3: host name 'kitchen-1' is in row 2 too"),
        ("id,host\na,b\nb,\n", "row 3: host name 'b' is in row 2 too"),
        ("id,serial\na,xyz\n", "row 2: serial 'xyz': use the 8 to 16"),
        ("id,model\na,m,n\n", "row 2: 3 values for 2 columns"),
        ('id\n"a\n', "row 2: unexpected end of data"),
        ("model\nm\n", "row 2: it needs an id, a serial or a slot"),
        ("id,port\na,x\n", "row 2: port 'x'"),
        (f"id,port\na,{'9' * 5000}\n", "row 2: port '9"),
        ("id,host\na,A b\n", "row 2: host name 'A b'"),
        ("id,ssh_key\na,missing.pub\n", "row 2: 'missing.pub': .*No such file"),
        ("id,ssh_key\na,~nobody-of-this-name/id.pub\n", "row 2: '~nobody.*home directory"),
        ("id,ssh_key\na,x\0.pub\n", "row 2: .*null byte"),
        ("id,ssh_key\na,ssh-ed25519 !\n", "row 2: SSH key"),
        ("id,wifi_ssid\na,net\n", "row 2: Wi-Fi needs all three"),
        (f"id,wifi_ssid,wifi_password,wifi_country\na,{'é' * 17},12345678,DE\n", "row 2: .*1 to 32 bytes"),
        ("id,claim\na,x\n", "row 2: a claim token needs the broker's CA"),
        ("id,tags\na,1 2 3 4 5 6 7 8 9\n", "row 2: tags: use at most 8"),
        (b"id\n\xff\xfea\n", "not UTF-8 text; save it as 'CSV UTF-8'"),
    ],
)
def test_a_mistake_is_one_line_with_its_row(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as raised:
        read_fleet(write(tmp_path, text), DEFAULTS)
    assert "\n" not in str(raised.value)


def test_tls_without_a_way_in_is_refused(tmp_path: Path) -> None:
    locked = replace(DEFAULTS, broker_ca=CA)
    path = write(tmp_path, f"id,claim\na,{TOKEN}\nb,\n")
    with pytest.raises(SettingsError, match=r"row 3: TLS needs a claim token"):
        read_fleet(path, locked)
    assert [entry.card.claim_token for entry in read_fleet(path, locked, mints=True)] == [TOKEN, None]


def test_without_a_command_line_a_row_names_the_broker(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="row 2: there is no broker"):
        read_fleet(write(tmp_path, "id\na\n"))
    [entry] = read_fleet(write(tmp_path, "id,broker\na,hub\n"))
    assert entry.card == DeviceCard("a", "hub", "digits")


def test_toml_describes_one_device_or_several(tmp_path: Path) -> None:
    one = write(tmp_path, 'id = "kitchen-1"\nbroker = "192.168.1.10"\n', "one.toml")
    assert [entry.card for entry in read_fleet(one)] == [PLAIN]
    text = (
        'broker = "hub"\nport = 1884\n[[device]]\nid = "a"\ntags = ["x y"]\n[[device]]\nserial = "deadbeef"\n'
    )
    first, second = read_fleet(write(tmp_path, text, "fleet.toml"))
    assert first.card == DeviceCard("a", "hub", "digits", 1884, tags=("x y",))
    assert second.serial == "00000000deadbeef"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there is no device"),
        ("id = 3\nbroker = 'h'\n", "device 1: id must be text, not 3"),
        ("modle = 'a'\n", "device 1: unknown key 'modle'; did you mean 'model'?"),
        ("device = 3\n", r"a table each"),
        ("id = \n", "is not TOML"),
        (f"port = {'9' * 5000}\n", "is not TOML"),
    ],
)
def test_a_mistake_in_toml_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        read_fleet(write(tmp_path, text, "fleet.toml"))


def test_ten_thousand_rows_are_read(tmp_path: Path) -> None:
    rows = "".join(f"{10**15 + n:016x},device-{n},site-{n % 7}\n" for n in range(10_000))
    assert len(read_fleet(write(tmp_path, "serial,id,site\n" + rows), DEFAULTS)) == 10_000


def test_every_column_is_documented() -> None:
    text = Path("docs/reference/fleet-list.md").read_text(encoding="utf-8")
    for column in COLUMNS:
        assert f"`{column}`" in text, column
