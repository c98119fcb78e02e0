"""The version of the protocol, and which ones are understood.

Rules:
- a version is the set of fields that messages may have. Fields are only ever added, with a default, so each
  side reads the messages of the other whichever is newer: unknown fields are passed over, missing ones have
  their default;
- the number grows with each release of ours that adds a field or a message. It does not travel in
  messages: nothing asks for it, since every reader reads all of them;
- what a version wrote is kept as bytes in tests/wire/corpus/, and each release must read those of the
  versions from OLDEST on. A field may lose its meaning only when no version from OLDEST on needs it.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 3

#: Two versions behind are understood: a fleet is updated in waves, and some devices sleep for months.
OLDEST: Final = 1
