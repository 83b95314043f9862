"""A broker with TLS and SASL listeners, under a certificate authority of the test's own."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local.services import KafkaBroker, free_ports

USER, PASSWORD = "reader", "pa&ss=wörd, long"


@dataclass(frozen=True)
class Authority:
    """A certificate authority.

    Attributes:
      folder: of its files.
      pem: its certificate.
    """

    folder: Path
    pem: Path
    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, name: str = "test CA") -> Authority:
        """A new one."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(own, own, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(False, False, False, False, False, True, True, False, False), True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        pem = folder / "ca.pem"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, pem, certificate, key)

    def issue(self, name: str, password: bytes | None = None) -> tuple[Path, Path]:
        """Files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([local, x509.DNSName("localhost")]), False)
            .add_extension(x509.ExtendedKeyUsage(uses), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
            .sign(self._key, hashes.SHA256())
        )
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password)
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
        )
        return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


_JAAS = "org.apache.kafka.common.security"


class SecureBroker(KafkaBroker):
    """A broker that also listens with SASL in the clear, with TLS, and with both.

    Attributes:
      sasl, tls, both: "127.0.0.1:port" of these; TLS alone wants a client certificate.
      authority: that signed the broker's certificate.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "broker", heap="320m")
        self.authority = Authority.make(folder / "ca")
        certificate, key = self.authority.issue("broker")
        store = self.folder / "broker-store.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        ports = free_ports(3)
        self.sasl, self.tls, self.both = (f"127.0.0.1:{port}" for port in ports)
        names = ("SASL", "TLS", "BOTH")
        text = self._properties.read_text()
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        more = ",".join(f"{n}://127.0.0.1:{p}" for n, p in zip(names, ports, strict=True))
        quoted = PASSWORD.replace('"', '\\"')
        # A line of Java's properties: not ASCII goes as an escape.
        plain = (
            f'{_JAAS}.plain.PlainLoginModule required user_{USER}="{quoted}";'.encode(
                "ascii", "backslashreplace"
            ).decode()
        ).replace("\\x", "\\u00")
        scram = f"{_JAAS}.scram.ScramLoginModule required;"
        lines |= {
            "listeners": f"{lines['listeners']},{more}",
            "advertised.listeners": f"{lines['advertised.listeners']},{more}",
            "listener.security.protocol.map": lines["listener.security.protocol.map"]
            + ",SASL:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.pem),
            "listener.name.tls.ssl.client.auth": "required",
        }
        for name in ("sasl", "both"):
            lines[f"listener.name.{name}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-512"
            lines[f"listener.name.{name}.plain.sasl.jaas.config"] = plain
            lines[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = scram
        self._properties.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def add_scram_user(self) -> None:
        """Makes USER known to SCRAM."""
        from kafka import KafkaAdminClient
        from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

        admin = KafkaAdminClient(bootstrap_servers=self.address)
        admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(USER, ScramMechanism.SCRAM_SHA_512, PASSWORD)]
        )
        admin.close()
