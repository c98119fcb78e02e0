"""What `edgeflock doctor` says of machines good and bad."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.board import read_board
from edge.adapters.probing import probe_installed, run_probes
from edge.adapters.tflite import installed_backends, make_loader
from edge.backend import Facts
from edge.checkup.diagnosis import LITERT, RUNTIME, Board, Finding, Probe, as_lines
from edge.checkup.doctor import diagnose, suited_backend
from edge.checkup.probe_model import KINDS, probe_model
from edgeflock import main
from tests.support.probe_models import make_probe

BOTH = frozenset(KINDS)
LITERT_WORKS = Probe(LITERT, "2.3.0", delegated=BOTH, load_ms=1.0)
RUNTIME_WORKS = Probe(RUNTIME, "2.14.0", delegated=frozenset({"float"}))
PI = Board(
    model="Raspberry Pi 4", machine="aarch64", features=frozenset({"asimd"}), cores=4, allowed=4, usable=4
)


def findings(board: Board = PI, *probes: Probe, numpy: str = "1.26.4") -> list[Finding]:
    return list(diagnose(board, probes or (LITERT_WORKS,), {"numpy": numpy}).findings)


def levels(board: Board = PI, *probes: Probe) -> str:
    return " ".join(finding.level for finding in findings(board, *probes))


def test_a_good_board_is_ready_and_nothing_else_is_said() -> None:
    told = diagnose(PI, (LITERT_WORKS,), {"numpy": "2.0"})
    assert (told.findings, told.rating, told.can_infer) == ((), "ready", True)


def test_without_an_interpreter_it_says_which_one_is_for_this_python() -> None:
    for bits, python, package in ((64, (3, 13, 0), LITERT), (32, (3, 11, 2), RUNTIME), (32, (3, 13, 0), "")):
        board = replace(PI, bits=bits, python=python, machine="armv7l" if bits == 32 else "aarch64")
        assert suited_backend(board) == package
        told = diagnose(board, (), {})
        assert told.findings[0].what == "no TFLite interpreter is installed"
        assert told.rating == "this machine cannot run a model yet"
    assert "use a 64-bit system" in told.findings[0].advice


def test_tflite_runtime_beside_numpy_2_is_named() -> None:
    broken = Probe(RUNTIME, "2.14.0", "SystemError: _ARRAY_API not found")
    (finding,) = findings(PI, broken, numpy="2.4.1")
    assert finding.level == "stops"
    assert finding.advice == "it was built for numpy 1, and numpy 2.4.1 is installed: pip install 'numpy<2'"
    assert levels(PI, LITERT_WORKS, broken) == "note"  # another one works


def test_a_crash_says_by_which_signal_and_why() -> None:
    (illegal,) = findings(PI, Probe(LITERT, "2.3.0", "ended by SIGILL"))
    assert "newer processor" in illegal.advice
    crashed = findings(replace(PI, sys_mounted=False), Probe(LITERT, "2.3.0", "ended by SIGSEGV"))
    assert "mount it" in crashed[0].advice


def test_kernels_that_are_silently_off_are_told() -> None:
    slow = Probe(LITERT, "2.3.0", delegated=frozenset())
    assert [f.level for f in findings(PI, slow)] == ["slow"]
    assert "mount /sys" in findings(replace(PI, sys_mounted=False), slow)[0].advice
    hidden = findings(replace(PI, proc_mounted=False), slow)
    assert hidden[0].advice == "mount /proc: it reads there what the processor can"
    assert [finding.level for finding in hidden] == ["slow", "note"]
    measured = findings(replace(PI, sys_mounted=False), LITERT_WORKS)
    assert [finding.what for finding in measured] == ["/sys is not mounted: clock and heat are unknown"]
    alone = findings(replace(PI, bits=32, machine="armv7l"), RUNTIME_WORKS)
    assert "int8 models without XNNPACK" in alone[0].what
    assert levels(PI, LITERT_WORKS, RUNTIME_WORKS) == "note"


def test_a_version_that_crashes_on_damaged_files_is_told() -> None:
    assert "2.1.6" in findings(PI, replace(LITERT_WORKS, version="2.1.5"))[0].advice


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"bits": 32}, "slow", "a 32-bit Python runs on a 64-bit kernel"),
        ({"quota": 0.5, "usable": 1}, "slow", "a quota allows 0.5 of 4 cores"),
        ({"quota": 2.0}, "note", "a quota allows 2 of 4 cores"),
        ({"allowed": 2}, "note", "may run on 2 of 4 cores"),
        ({"usable": 1}, "note", "one core is usable"),
        ({"load": 9.0}, "slow", "9.0 processes want 4 cores"),
        ({"governor": "powersave"}, "slow", "powersave keeps the clock low"),
        ({"governor": "ondemand"}, "note", "lowers the clock between calls"),
        ({"throttled": 0x1}, "slow", "the supply voltage is too low"),
        ({"throttled": 0x10000}, "note", "since it started: the supply voltage is too low"),
        ({"throttled": 0x4}, "slow", "is throttled"),
        ({"temperature_c": 84.0}, "slow", "84 °C"),
        ({"available_bytes": 50 * 2**20}, "slow", "50 MiB of memory are left"),
        ({"memory_limit_bytes": 2**27}, "slow", "a control group allows 128 MiB"),
        ({"memory_bytes": 2**29, "swap_used_bytes": 2**28}, "slow", "256 MiB are swapped out"),
        ({"machine": "armv6l", "bits": 32, "features": frozenset({"vfp"})}, "stops", "no NEON"),
        ({"sys_mounted": False}, "note", "/sys is not mounted"),
    ],
)
def test_what_slows_a_machine_is_told_with_its_gravity(
    changes: dict[str, object], level: str, what: str
) -> None:
    board = replace(PI, **changes)  # type: ignore[arg-type]
    told = [finding for finding in findings(board) if what in finding.what]
    assert [finding.level for finding in told] == [level]


def test_the_gravest_come_first() -> None:
    bad = replace(PI, usable=1, load=9.0)
    assert levels(bad, Probe(LITERT, "2.3.0", "ended by SIGILL")) == "stops slow note"


# reading the machine


def stand(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_pi_is_read_from_proc_and_sys(tmp_path: Path) -> None:
    clock = "sys/devices/system/cpu/cpu0/cpufreq"
    board = read_board(
        stand(
            tmp_path,
            {
                "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
                "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd crc32\nCPU part\t: 0xd08\n",
                "proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 60 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n",
                "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
                "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
                f"{clock}/scaling_governor": "ondemand\n",
                f"{clock}/scaling_cur_freq": "600000\n",
                f"{clock}/cpuinfo_max_freq": "1800000\n",
                "sys/class/thermal/thermal_zone0/temp": "52100\n",
                "sys/class/thermal/thermal_zone1/temp": "nonsense\n",
            },
        ),
        throttled=lambda root: 0x50005,
    )
    assert (board.model, board.processor) == ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72")
    assert board.features == {"asimd"}
    assert (board.memory_bytes, board.available_bytes, board.swap_used_bytes) == (102400, 61440, 6144)
    assert (board.governor, board.clock_mhz, board.most_mhz) == ("ondemand", 600, 1800)
    assert (board.temperature_c, board.throttled, board.load) == (52.1, 0x50005, 0.5)
    assert board.sys_mounted
    assert board.system.startswith("Debian GNU/Linux 12 (bookworm), Linux ")


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert (board.model, board.memory_bytes, board.throttled, board.sys_mounted) == ("", None, None, False)
    assert not board.proc_mounted
    garbage = dict.fromkeys(
        ("proc/cpuinfo", "proc/meminfo", "proc/loadavg", "proc/self/cgroup", "etc/os-release"), "\xff: ?\n"
    )
    assert read_board(stand(tmp_path, garbage)).load is None
    assert as_lines(diagnose(board, (), {}))


# interpreters


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_models_are_what_the_schema_makes(kind: str) -> None:
    assert probe_model(kind) == make_probe(kind)


def test_every_installed_interpreter_computes_the_probes_in_a_child() -> None:
    probes = probe_installed()
    assert {probe.backend for probe in probes} >= set(installed_backends())
    for probe in probes:
        assert (probe.error, "float" in probe.delegated) == ("", True), probe


def test_an_interpreter_that_computes_wrongly_does_not_pass() -> None:
    def doubled(path: Path):  # type: ignore[no-untyped-def]
        interpreter = make_loader("auto")(path)
        view = interpreter.input_view(0)

        class Wrong:
            inputs, outputs = interpreter.inputs, interpreter.outputs
            facts = Facts("wrong", 1, 1, 0.1, stateful=False)
            invoke = interpreter.invoke
            close = interpreter.close

            def input_view(self, position: int):  # type: ignore[no-untyped-def]
                return view

            def reader(self, position: int):  # type: ignore[no-untyped-def]
                return lambda: interpreter.reader(position)() * 2

        return Wrong()

    assert run_probes(doubled)["error"] == "computes float models wrongly"


# the command


def test_the_command_prints_the_machine_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "computes rightly" in text
    assert text.splitlines()[-1].startswith("ready")


def test_tuning_measures_a_model_and_prints_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "probe.tflite"
    path.write_bytes(probe_model("float"))
    assert main(["doctor", "--json", "--tune", str(path), "--seconds", "1"]) == 0
    tuning = json.loads(capsys.readouterr().out)["tuning"]
    first = tuning["rows"][0]
    assert (first["threads"], first["pool"]) == (1, 1)
    assert first["calls"] >= 3
    assert 0 < first["p50_us"] <= first["p99_us"]
    assert (first["operators"] > 0, first["delegated"]) == (True, 1)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--tune", "none.bundle"], "--tune none.bundle: there is no such file"),
        (["--seconds", "0"], "--seconds 0: give 1 to 3600"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 2
    assert line in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_one_line_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"nothing")
    assert main(["doctor", "--tune", str(path)]) == 1
    assert "bad.tflite" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "reason"), [("", "that is a folder"), ("none", "there is no such file")])
def test_what_cannot_be_tuned_is_said_rightly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert main(["doctor", "--tune", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == f"edgeflock: --tune {tmp_path / name}: {reason}\n"
