"""Settings of the connection to a Kafka cluster: TLS, client certificates and SASL."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from configs.settings.sections import Section


class KafkaSecurity(Section):
    """TLS, client certificate and SASL of the connection to a cluster.

    protocol          whether the connection is encrypted (SSL) and whether it uses a password (SASL)
    ca_file           certificates (PEM) that signed those of the brokers; unset: the system's certificate authorities
    certificate_file  client certificate (PEM), if the cluster requires one
    key_file          key of the client certificate (PEM, without a passphrase)
    mechanism         SASL mechanism
    user              SASL user
    password          SASL password (the secret KAFKA_PASSWORD)

    A broker's certificate must contain its host name.
    """

    protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str | None = None
    password: SecretStr | None = None

    @property
    def encrypted(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def uses_password(self) -> bool:
        return self.protocol in ("SASL_SSL", "SASL_PLAINTEXT")

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        """Raises ValueError for errors that librdkafka would report at the first connection or not at all."""
        if self.uses_password and not (self.user and self.password):
            raise ValueError(
                f"protocol {self.protocol} requires `user` and the secret KAFKA_PASSWORD; one of them is missing"
            )
        if self.encrypted:
            if (self.certificate_file is None) != (self.key_file is None):
                raise ValueError("certificate_file and key_file must be set together, found only one of them")
            _check_readable("ca_file", self.ca_file)
            _check_readable("certificate_file", self.certificate_file)
            _check_readable("key_file", self.key_file)
            _check_certificates(self)
        return self

    def options(self) -> dict[str, str]:
        """Return the options for librdkafka; empty for PLAINTEXT."""
        if self.protocol == "PLAINTEXT":
            return {}
        options: dict[str, object] = {"security.protocol": self.protocol}
        if self.encrypted:
            options |= {
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.ca.location": self.ca_file,
                "ssl.certificate.location": self.certificate_file,
                "ssl.key.location": self.key_file,
            }
        if self.uses_password and self.password is not None:
            password = self.password.get_secret_value()
            options |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user, "sasl.password": password}
        return {name: str(value) for name, value in options.items() if value is not None}


def _check_readable(name: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"{name} {path}: {error.strerror}") from error


def _check_certificates(security: KafkaSecurity) -> None:
    """Raises ValueError if a file is not a certificate or the key does not match the certificate."""
    import ssl  # here, because plain connections do not need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if security.ca_file is not None:
            context.load_verify_locations(security.ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"ca_file {security.ca_file}: expected certificates in PEM, found none") from error
    if security.certificate_file is None:
        return

    def passphrase() -> str:
        raise ValueError(f"key_file {security.key_file}: expected a key without a passphrase, found an encrypted key")

    try:
        context.load_cert_chain(security.certificate_file, security.key_file, passphrase)
    except ssl.SSLError as error:
        pair = f"certificate_file {security.certificate_file} and key_file {security.key_file}"
        raise ValueError(f"{pair}: expected a certificate in PEM and its key, found {error.reason}") from error
