"""The certificate with which a user's schedulers, workers and clients authenticate one another.

Made as by `distributed.Security.temporary`: one self-signed key is the authority, and serves every role. Key and
certificate are in one file, which only the user can read.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets

from gears.sites.paths import RunDir
from gears.system import files

DAYS = 365
RENEW_DAYS = 30
"""The certificate is replaced this long before it expires, if no cluster is up."""


def ensure_certificate(paths: RunDir, *, renew: bool = False) -> None:
    """Make the certificate if there is none; with `renew` also if it expires in 30 days. Concurrent calls make one."""
    file = paths.dask_tls
    if not file.exists():
        temporary = paths.dask / f".tls.{os.getpid()}.{secrets.token_hex(3)}"
        files.write_private(temporary, _make())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink(missing_ok=True)
    elif renew and _expires_soon(file.read_bytes()):
        files.write_private(file, _make())


def _expires_soon(pem: bytes) -> bool:
    from cryptography import x509

    left = x509.load_pem_x509_certificate(pem).not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=RENEW_DAYS)


def _make() -> str:
    """Make a new key and its certificate, as PEM. Takes some 0.1 s."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dask-internal")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of other hosts can be slow
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return (secret + certificate.public_bytes(pem)).decode()
