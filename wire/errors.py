"""The errors of the project, cut by who must act.

    EdgeflockError
    ├── SettingsError      the person who wrote the settings or the command line
    ├── DataError          the person who made the data set or model source
    ├── BundleError        whoever made or moved the bundle file
    ├── ModelError         whoever trained the model: it cannot be loaded, or answers wrongly
    ├── InputError         the caller of `predict`
    ├── BusyError          the caller of `predict`: later, or less of it
    ├── MessageError       the peer at the other end of a topic; counted and dropped, never raised through
    ├── TransferError      nobody: the network or the disk; tried again
    └── UnavailableError   the operator: a broker, port or package that is not there

The command line prints each as one line and ends with `exit_code`.
"""

from __future__ import annotations


class EdgeflockError(Exception):
    """Anything that the project raises on purpose; its text is one line that says what to do."""

    exit_code = 1


class SettingsError(EdgeflockError):
    """A settings file or argument that cannot be used."""

    exit_code = 2


class DataError(EdgeflockError):
    """Training, calibration or test data that does not fit."""


class BundleError(EdgeflockError):
    """A file that is not a whole bundle."""


class ModelError(EdgeflockError):
    """A model that cannot be loaded or run, or whose golden outputs are wrong; `release` if it served."""

    release: str | None = None


class InputError(EdgeflockError):
    """An input that does not fit the model's input tensor."""


class BusyError(EdgeflockError):
    """No interpreter was free in time."""


class MessageError(EdgeflockError):
    """A payload that cannot be understood; `kind` names the message it claimed to be."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"bad {kind}: {reason}")
        self.kind = kind
        self.reason = reason


class TransferError(EdgeflockError):
    """A blob that could not be brought here this time."""


class UnavailableError(EdgeflockError):
    """Something outside that is needed and is not there."""
