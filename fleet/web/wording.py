"""Numbers as a person reads them, each with its unit. What is not known is a dash, never a zero."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

UNKNOWN: Final = "\u2013"

_THIN: Final = "\u202f"

#: A dequantized share may be a code past 1.
_SLACK: Final = 0.01


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share of 1 as per cent."""
    return UNKNOWN if share is None else f"{share * 100:.{digits}f}{_THIN}%"


def sureness(confidence: float | None) -> str:
    """Return a confidence as per cent; as the number that it is where that is no share: a logit, or a lie."""
    if confidence is not None and not -_SLACK <= confidence <= 1 + _SLACK:
        return significant(confidence)
    return percent(confidence)


def percent_range(low: float | None, high: float | None) -> str:
    """Return the interval of a share of 1."""
    if low is None or high is None:
        return ""
    return f"{low * 100:.1f}{UNKNOWN}{high * 100:.1f}{_THIN}%"


def interval(low: float | None, high: float | None, otherwise: str) -> str:
    """Return the interval of a share of 1, or why there is none."""
    return percent_range(low, high) or otherwise


def micros(value_us: float | None) -> str:
    """Return a time that is given in microseconds."""
    if value_us is None:
        return UNKNOWN
    if value_us < 1000:
        return f"{value_us:.0f}{_THIN}µs"
    if value_us < 1_000_000:
        return f"{value_us / 1000:.{1 if value_us < 100_000 else 0}f}{_THIN}ms"
    return f"{value_us / 1_000_000:.1f}{_THIN}s"


def size(value_bytes: float | None) -> str:
    """Return a number of bytes, in powers of 1000."""
    if value_bytes is None:
        return UNKNOWN
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value_bytes >= scale:
            scaled = value_bytes / scale
            return f"{scaled:.{1 if scaled < 10 else 0}f}{_THIN}{unit}"
    return f"{value_bytes:.0f}{_THIN}B"


def count(value: float | None) -> str:
    """Return a count, its thousands apart."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", _THIN)


def short_count(value: float | None) -> str:
    """Return a count in three figures: 12.3 M."""
    if value is None:
        return UNKNOWN
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= scale:
            shown = value / (1e3 if unit == "k" else scale)
            return f"{shown:.{1 if shown < 100 else 0}f}{_THIN}{unit}"
    return count(value)


def rate(value_hz: float | None) -> str:
    """Return how often a second."""
    if value_hz is None:
        return UNKNOWN
    return f"{count(value_hz) if value_hz >= 100 else f'{value_hz:.1f}'}/s"


def celsius(value_c: float | None) -> str:
    return UNKNOWN if value_c is None else f"{value_c:.0f}{_THIN}°C"


def number(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def significant(value: float) -> str:
    """Return a number in four figures; what is none, as it is."""
    return f"{value:.4g}"


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    if seconds < 1:
        return "now"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{_THIN}{unit} ago"
    return f"{seconds:.0f}{_THIN}s ago"


def iso(time_s: float) -> str:
    """Return a Unix time as ISO 8601, UTC; what is no time of this era is left as it is."""
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_s:g}"


def local(time_s: float) -> str:
    """Return a Unix time as the server's clock on the wall shows it; a browser shows its own."""
    try:
        return datetime.fromtimestamp(time_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time_s:g}"
