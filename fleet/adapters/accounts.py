"""Who may log in to the page, and who is: accounts, sessions, and the key that signs cookies.

Rules:
- a password is stored as what scrypt makes of it (RFC 7914; N = 2**15, r = 8, p = 3, as OWASP's password
  storage cheat sheet has it: 32 MB and a third of a second), an unknown name costs as long as a known one;
- a token of a program is 256 random bits, kept as a digest and found by it: nothing to guess by the byte;
- a session is a row here: log-out and a new password end it, whatever cookie somebody has kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from fleet.adapters.database import Database
from fleet.web.access import SESSION_S, Role, Session
from wire.errors import SettingsError

_N: Final = 2**15
_R: Final = 8
_P: Final = 3
_MEMORY_BYTES: Final = 64 * 1024 * 1024
_LONGEST: Final = 1024
_SHORTEST: Final = 10
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def new_password() -> str:
    """Return a password of 100 random bits, in groups that a person can copy."""
    text = base64.b32encode(secrets.token_bytes(13)).decode().lower()[:20]
    return "-".join(text[i : i + 5] for i in range(0, 20, 5))


def hash_password(password: str) -> str:
    """Return what is stored of a password."""
    salt = secrets.token_bytes(16)
    made = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{made.hex()}"


def fits(password: str, stored: str) -> bool:
    """Return whether `password` is the one that is stored."""
    _, n, r, p, salt, made = stored.split(":")
    found = _scrypt(password[:_LONGEST], bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(made))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=32)


#: What a name that nobody has is compared with.
_NOBODY: Final = f"scrypt:{_N}:{_R}:{_P}:{'00' * 16}:{'00' * 32}"


@dataclass(frozen=True)
class Account:
    """One who may log in; `secret` is the hash of the password."""

    name: str
    role: Role
    secret: str


class Accounts:
    """Accounts and sessions in the fleet's database."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def put(self, name: str, role: Role, password: str) -> None:
        """Make an account or change it; its sessions end. Raises SettingsError for a name or password."""
        _check_name(name)
        if not _SHORTEST <= len(password) <= _LONGEST:
            raise SettingsError(f"a password has {_SHORTEST} to {_LONGEST} characters")
        secret = hash_password(password)
        with self._database.transaction() as sql:
            sql.execute("insert or replace into web_account values (?, ?, ?)", (name, role, secret))
            sql.execute("delete from web_session where account = ?", (name,))

    def remove(self, name: str) -> bool:
        """End an account and its sessions; return whether there was one."""
        with self._database.transaction() as sql:
            sql.execute("delete from web_session where account = ?", (name,))
            return sql.execute("delete from web_account where name = ?", (name,)).rowcount > 0

    def all(self) -> list[tuple[str, Role]]:
        """Return who may log in: (name, role)."""
        rows = self._database.sql.execute("select name, role from web_account order by name")
        return [(name, cast(Role, role)) for name, role in rows]

    def any(self) -> bool:
        """Return whether anybody may log in."""
        return self._database.sql.execute("select 1 from web_account limit 1").fetchone() is not None

    def find(self, name: str) -> Account:
        """Return the account of this name, or one that no password fits."""
        row = self._database.sql.execute(
            "select name, role, secret from web_account where name = ?", (name,)
        ).fetchone()
        return Account(row[0], cast(Role, row[1]), row[2]) if row else Account("", "viewer", _NOBODY)

    def begin(self, account: Account) -> Session:
        """Log somebody in; those whose sessions have ended are forgotten."""
        now_s = self._wall_clock()
        session = Session(
            secrets.token_urlsafe(32), account.name, account.role, secrets.token_urlsafe(32), now_s
        )
        with self._database.transaction() as sql:
            sql.execute("delete from web_session where started_s < ?", (now_s - SESSION_S,))
            sql.execute(
                "insert into web_session values (?, ?, ?, ?, ?)",
                (_digest(session.id), session.who, session.role, session.token, session.started_s),
            )
        return session

    def session(self, session_id: str) -> Session | None:
        """Return the session with this id, if it lives."""
        row = self._database.sql.execute(
            "select account, role, token, started_s from web_session where id_sha256 = ?",
            (_digest(session_id),),
        ).fetchone()
        if row is None:
            return None
        session = Session(session_id, row[0], cast(Role, row[1]), row[2], row[3])
        return None if session.ended(self._wall_clock()) else session

    def end(self, session: Session) -> None:
        """Log somebody out."""
        with self._database.transaction() as sql:
            sql.execute("delete from web_session where id_sha256 = ?", (_digest(session.id),))

    def put_token(self, name: str, role: Role) -> str:
        """Make a token for a program, or a new one; return it: it is told once. Raises SettingsError."""
        _check_name(name)
        token = secrets.token_urlsafe(32)
        with self._database.transaction() as sql:
            sql.execute("insert or replace into web_token values (?, ?, ?)", (name, role, _digest(token)))
        return token

    def remove_token(self, name: str) -> bool:
        """End a token; return whether there was one."""
        with self._database.transaction() as sql:
            return sql.execute("delete from web_token where name = ?", (name,)).rowcount > 0

    def tokens(self) -> list[tuple[str, Role]]:
        """Return the tokens that there are: (name, role)."""
        rows = self._database.sql.execute("select name, role from web_token order by name")
        return [(name, cast(Role, role)) for name, role in rows]

    def bearer(self, token: str) -> Session | None:
        """Return a program as somebody who is logged in, for one request; None for an unknown token."""
        row = self._database.sql.execute(
            "select name, role from web_token where token_sha256 = ?", (_digest(token),)
        ).fetchone()
        return Session("", row[0], cast(Role, row[1]), "", self._wall_clock()) if row else None

    def cookie_key(self) -> bytes:
        """Return the key that signs cookies, the same at each start; only the first one writes it."""
        row = self._cookie_key()
        if row is None:
            with self._database.transaction() as sql:
                sql.execute("insert or ignore into web_key values ('cookie', ?)", (secrets.token_bytes(32),))
            row = self._cookie_key()
        assert row is not None, "it was just written"
        return bytes(row[0])

    def _cookie_key(self) -> tuple[bytes] | None:
        found: tuple[bytes] | None = self._database.sql.execute(
            "select key from web_key where purpose = 'cookie'"
        ).fetchone()
        return found


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise SettingsError(f"name {name!r}: use at most 32 of a-z, 0-9, '.', '_' and '-'")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
