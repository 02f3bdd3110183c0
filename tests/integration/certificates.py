"""Certificates for tests, and a TLS proxy for a server that is built without TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""The message that a PostgreSQL client sends before TLS: https://www.postgresql.org/docs/current/protocol-message-formats.html"""


class Certificate(NamedTuple):
    """Paths of PEM files. `combined` holds key and certificate in one file, as Kafka's key store requires."""

    certificate: Path
    key: Path
    combined: Path


def create_authority(folder: Path, name: str) -> Certificate:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj", f"/CN={name}"
    )
    return _files(key, certificate)


def issue_certificate(folder: Path, name: str, issuer: Certificate) -> Certificate:
    """Issue a certificate for a server on 127.0.0.1 or for a client."""
    key, request, certificate, extensions = (folder / f"{name}.{ending}" for ending in ("key", "csr", "pem", "ext"))
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    signed_by = ("-CA", issuer.certificate, "-CAkey", issuer.key, "-CAcreateserial")
    _openssl("x509", "-req", "-in", request, *signed_by, "-out", certificate, "-extfile", extensions)
    return _files(key, certificate)


def _openssl(*arguments: str | Path) -> None:
    command = [shutil.which("openssl") or "openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _files(key: Path, certificate: Path) -> Certificate:
    combined = certificate.with_suffix(".both.pem")
    combined.write_text(key.read_text() + certificate.read_text())
    return Certificate(certificate, key, combined)


@contextlib.contextmanager
def tls_proxy(certificate: Certificate, port: int, *, postgres_handshake: bool = False) -> Iterator[int]:
    """Forward a TLS port to a plain port. With `postgres_handshake`, TLS starts as in PostgreSQL's protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listener, context, port, postgres_handshake))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int, postgres_handshake: bool) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return  # the test has closed the listener
        threading.Thread(target=_serve, args=(plain, context, port, postgres_handshake), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int, postgres_handshake: bool) -> None:
    # A client that does not trust the certificate disconnects during the handshake.
    with contextlib.suppress(OSError), plain, socket.create_connection(("127.0.0.1", port)) as server:
        if postgres_handshake:
            assert plain.recv(8, socket.MSG_WAITALL) == _SSL_REQUEST
            plain.sendall(b"S")
        with context.wrap_socket(plain, server_side=True) as client:
            upstream_thread = threading.Thread(target=_forward, args=(client, server), daemon=True)
            upstream_thread.start()
            _forward(server, client)
            upstream_thread.join(60)


def _forward(source: socket.socket, destination: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            destination.sendall(block)
        destination.shutdown(socket.SHUT_RDWR)
