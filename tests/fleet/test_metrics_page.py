"""The page about metrics says what the tables of rules say."""

from __future__ import annotations

from pathlib import Path

from fleet.adapters.release_reader import BASELINE_ANSWERS
from fleet.alert_kinds import KINDS, AlertKind
from fleet.drift import ALPHA, LEAST_ANSWERS, LEAST_EFFECT_BITS
from fleet.health_rules import RULES, HealthRule

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def health_row(rule: HealthRule) -> str:
    return f"| `{rule.name}` | {rule.state} | {rule.threshold} |"


def alert_row(kind: AlertKind) -> str:
    after, over = (
        f"{seconds:g} s" if seconds else "at once" for seconds in (kind.raise_after_s, kind.clear_after_s)
    )
    return (
        f"| `{kind.name}` | {kind.severity} | {kind.subject.value} | {kind.found_when} | {after} | {over} |"
    )


def rows(heading: str) -> list[str]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_each_rule_of_health_is_on_the_page_and_no_other() -> None:
    assert rows("Health of a device") == [health_row(rule) for rule in RULES]


def test_each_kind_of_alert_is_on_the_page_and_no_other() -> None:
    assert rows("Alerts") == [alert_row(kind) for kind in KINDS.values()]


def test_the_thresholds_of_drift_are_on_the_page() -> None:
    section = PAGE.split("\n## Drift\n")[1].split("\n## ")[0]
    for text in (f"at most {ALPHA:g}", f"{LEAST_EFFECT_BITS:g} bits", f"below {LEAST_ANSWERS} answers",
                 f"{BASELINE_ANSWERS:,} answers"):  # fmt: skip
        assert text in section, text
