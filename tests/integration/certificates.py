"""Certificates for a test, and TLS in front of a server that was built without it."""

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
"""What a client of PostgreSQL asks before TLS: https://www.postgresql.org/docs/current/protocol-message-formats.html"""


class Certificate(NamedTuple):
    """Files in PEM. `both`: key and certificate in one, as Kafka's key store."""

    certificate: Path
    key: Path
    both: Path


def authority(folder: Path, name: str) -> Certificate:
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made, "-subj", f"/CN={name}")
    return _files(key, made)


def issued(folder: Path, name: str, by: Certificate) -> Certificate:
    """A certificate for a server on 127.0.0.1, or for a client."""
    key, asked, made, says = (folder / f"{name}.{ending}" for ending in ("key", "csr", "pem", "ext"))
    says.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", asked, "-subj", f"/CN={name}")
    signed_by = ("-CA", by.certificate, "-CAkey", by.key, "-CAcreateserial")
    _openssl("x509", "-req", "-in", asked, *signed_by, "-out", made, "-extfile", says)
    return _files(key, made)


def _openssl(*arguments: str | Path) -> None:
    command = [shutil.which("openssl") or "openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _files(key: Path, certificate: Path) -> Certificate:
    both = certificate.with_suffix(".both.pem")
    both.write_text(key.read_text() + certificate.read_text())
    return Certificate(certificate, key, both)


@contextlib.contextmanager
def tls_front(shown: Certificate, port: int, *, asked_first: bool = False) -> Iterator[int]:
    """A port of TLS that passes all on to a plain one. `asked_first`: TLS begins as PostgreSQL's protocol has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listening, context, port, asked_first))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def _accept(listening: socket.socket, context: ssl.SSLContext, port: int, asked_first: bool) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return  # the test is over
        threading.Thread(target=_serve, args=(plain, context, port, asked_first), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int, asked_first: bool) -> None:
    # A client that does not trust the certificate goes away in the middle.
    with contextlib.suppress(OSError), plain, socket.create_connection(("127.0.0.1", port)) as server:
        if asked_first:
            assert plain.recv(8, socket.MSG_WAITALL) == _SSL_REQUEST
            plain.sendall(b"S")
        with context.wrap_socket(plain, server_side=True) as client:
            there = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
            there.start()
            _pass_on(server, client)
            there.join(5)


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            to.sendall(block)
        to.shutdown(socket.SHUT_RDWR)
