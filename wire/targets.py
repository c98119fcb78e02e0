"""The names of signed targets, of delegated roles and of payloads, as server and device agree on them.

    <model>/<version>               a release; its custom data holds our `Release`
    chunks/<sha256>                 the list of chunk digests of the blob with that digest
    contracts/<model>               what callers of the newest release of a model rely on (wire/contract.py)
    keys/plan                       the public keys whose signature a plan or a desired state needs
    auto/<model>/<version>          a release that the model's online role signed
    auto/<model>/chunks/<sha256>    the list for a blob of such a release

A model may be called `chunks`, but no version is a digest of 64 digits by accident, and what a target is
says its custom data. Custom data holds our messages as text: canonical JSON, over which TUF signs, has no
numbers with a fraction.
"""

from __future__ import annotations

from typing import Final

PLAN_KEYS: Final = "keys/plan"

#: Keys of custom data.
RELEASE: Final = "release"
CONTRACT: Final = "contract"
KEYS: Final = "keys"

#: The field of a signed timestamp with its signing time, in Unix seconds.
ISSUED: Final = "issued_s"


def auto_role(model: str) -> str:
    """Return the delegated role of a model: part of a file's name, so it holds no slash."""
    return f"auto-{model}"


def auto_prefix(model: str) -> str:
    """Return the beginning of the paths that a model's delegated role may sign."""
    return f"auto/{model}/"


def auto_release_path(release: str) -> str:
    """Return the path of a release (`<model>/<version>`) that the delegated role signed."""
    return f"auto/{release}"


def chunks_path(blob_sha256: str, prefix: str = "") -> str:
    """Return the path of a blob's chunk list, under `auto_prefix` for the delegated role."""
    return f"{prefix}chunks/{blob_sha256}"


def contract_path(model: str) -> str:
    return f"contracts/{model}"


def payload_type(kind: str) -> str:
    """Return the DSSE payload type of a message class, such as `plan`."""
    return f"application/vnd.edgeflock.{kind}+json"
