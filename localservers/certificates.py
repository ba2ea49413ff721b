"""Certificates for servers that tests secure: an authority of their own, and what it signed."""

from dataclasses import dataclass
from pathlib import Path

from localservers.processes import LOOPBACK, LocalServerFailed

__all__ = ["Certificates"]


@dataclass(frozen=True)
class Certificates:
    """PEM files. `chain` holds the key and the certificate; the authority's own key is kept nowhere."""

    authority: Path
    chain: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> "Certificates":
        """A new authority, and one certificate for `names` (default: this machine). Raises `LocalServerFailed`."""
        try:
            import trustme
            from cryptography.hazmat.primitives import serialization
        except ImportError as error:
            raise LocalServerFailed("The package trustme is missing: run `make setup`.") from error
        authority = trustme.CA()
        issued = authority.issue_cert(*(names or ("localhost", LOOPBACK)))
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Java reads keys of this form only.
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / "authority.pem", folder / "chain.pem")
        made.authority.write_bytes(authority.cert_pem.bytes())
        made.chain.write_bytes(text + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return made
