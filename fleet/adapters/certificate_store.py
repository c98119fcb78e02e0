"""Claims and certificates in the fleet's database. A token is here as what follows from it, never itself."""

from __future__ import annotations

from collections.abc import Callable

from fleet.adapters.database import Database
from fleet.enrolment import Certificate, ClaimRecord, answer_to_claim, answer_to_renewal, check_proof
from wire.enrolment import CertificateRequest, Claim

#: Reads the key out of a request for a device; raises MessageError.
ReadKey = Callable[[CertificateRequest, str], str]
#: Signs for a device and a key (PEM).
Sign = Callable[[str, str], Certificate]


class CertificateStore:
    """Each method is one transaction."""

    def __init__(self, database: Database, read_key: ReadKey, sign: Sign) -> None:
        self._database = database
        self._read_key = read_key
        self._sign = sign

    def add_claim(self, claim: Claim, device: str, login: str, expires_s: float) -> None:
        """Store a claim; earlier ones of the same device end."""
        with self._database.transaction() as sql:
            sql.execute("delete from claim where device = ?", (device,))
            sql.execute(
                "insert into claim values (?, ?, ?, ?, ?, null)",
                (claim.address, device, claim.proof_key, login, expires_s),
            )

    def enroll(self, address: str, request: CertificateRequest, now_s: float) -> Certificate:
        """Return the certificate for a claim's request, which is used with it; raise MessageError."""
        with self._database.transaction() as sql:
            row = sql.execute(
                "select device, proof_key, expires_s, used_s is not null from claim where address = ?",
                (address,),
            ).fetchone()
            claim = check_proof(ClaimRecord(row[0], row[1], row[2], bool(row[3])) if row else None, request)
            key = self._read_key(request, claim.device)
            again = answer_to_claim(claim, key, self._held(claim.device), now_s)
            if again is not None:
                return again
            sql.execute("update claim set used_s = ? where address = ?", (now_s, address))
            return self._issue(claim.device, key)

    def issue(self, device: str, key: str) -> Certificate:
        """Return a certificate for a key that was made here; earlier claims of the device end."""
        with self._database.transaction() as sql:
            sql.execute("delete from claim where device = ?", (device,))
            return self._issue(device, key)

    def renew(self, device: str, request: CertificateRequest, now_s: float) -> Certificate:
        """Return the certificate for a device's own request; raise MessageError."""
        with self._database.transaction():
            key = self._read_key(request, device)
            again = answer_to_renewal(device, key, self._held(device), now_s)
            return self._issue(device, key) if again is None else again

    def revoke(self, device: str, now_s: float, written: Callable[[list[str]], None]) -> int:
        """Revoke all that `device` has, and its claims; return how many certificates that were.

        `written` is called with all revoked serials before the commit: what it cannot write is not revoked.
        """
        with self._database.transaction() as sql:
            sql.execute("delete from claim where device = ?", (device,))
            changed = sql.execute(
                "update certificate set revoked_s = ? "
                "where device = ? and revoked_s is null and expires_s > ?",
                (now_s, device, now_s),
            ).rowcount
            written(self.revoked(now_s))
        return changed

    def revoked(self, now_s: float) -> list[str]:
        """Return the serials that are revoked; one that has expired is refused without us."""
        rows = self._database.sql.execute(
            "select serial from certificate where revoked_s is not null and expires_s > ? order by serial",
            (now_s,),
        )
        return [serial for (serial,) in rows]

    def logins(self, now_s: float) -> list[str]:
        """Return the password file's lines of the claims that have not expired.

        A used one is among them: its device may have missed the answer.
        """
        rows = self._database.sql.execute(
            "select login from claim where expires_s > ? order by address", (now_s,)
        )
        return [login for (login,) in rows]

    def _held(self, device: str) -> list[Certificate]:
        rows = self._database.sql.execute(
            "select serial, device, key, pem, issued_s, expires_s, revoked_s is not null "
            "from certificate where device = ?",
            (device,),
        )
        return [Certificate(*row) for row in rows]

    def _issue(self, device: str, key: str) -> Certificate:
        made = self._sign(device, key)
        self._database.sql.execute(
            "insert into certificate values (?, ?, ?, ?, ?, ?, null)",
            (made.serial, made.device, made.key, made.pem, made.issued_s, made.expires_s),
        )
        return made
