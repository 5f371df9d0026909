"""Which certificates are believed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer

from bms_pipeline.core.errors import CertificateRefused, ServiceUnreachable, SettingsError
from bms_pipeline.core.http import Retries, Service

PATIENT = Retries(sleep=lambda seconds: None)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


def served(context: ssl.SSLContext, certificate: trustme.LeafCert) -> Iterator[HTTPServer]:
    certificate.configure_cert(context)
    with HTTPServer(ssl_context=context) as server:
        server.expect_request("/v2/x").respond_with_data("{}")
        yield server


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[HTTPServer]:
    yield from served(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), authority.issue_cert("localhost"))


def status(server: HTTPServer, ca_file: Path | None, host: str = "localhost") -> int:
    service = Service(f"https://{host}:{server.port}", name="BMS", ca_file=ca_file, retries=PATIENT)
    try:
        return service.get("/v2/x").status
    finally:
        service.close()


def test_the_one_private_authority_is_believed(server: HTTPServer, ca_file: Path) -> None:
    assert status(server, ca_file) == 200


def test_an_unknown_authority_is_refused_without_retrying(server: HTTPServer) -> None:
    before = len(server.log)
    with pytest.raises(CertificateRefused, match="localhost") as caught:
        status(server, None)
    assert "BMS_CA_FILE" in caught.value.next_step
    assert len(server.log) == before


def test_the_private_authority_is_the_only_one(server: HTTPServer, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(CertificateRefused):
        status(server, other)


def test_a_certificate_of_another_host_is_refused(server: HTTPServer, ca_file: Path) -> None:
    with pytest.raises(CertificateRefused, match=r"(?i)mismatch"):
        status(server, ca_file, "127.0.0.1")


def test_a_certificate_without_the_names_that_it_is_for_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    """A common name says nothing since 2011; a name in it would still be believed by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for server in served(context, authority.issue_cert(common_name="localhost")):
        with pytest.raises(CertificateRefused, match=r"(?i)mismatch|match"):
            status(server, ca_file)
        assert server.log == []


def test_variables_that_change_what_requests_believes_are_ignored(
    server: HTTPServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(ca_file))
    with pytest.raises(CertificateRefused):
        status(server, None)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    assert status(server, ca_file) == 200


def test_tls_older_than_1_2_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    for server in served(context, authority.issue_cert("localhost")):
        with pytest.raises(ServiceUnreachable, match=r"no TLS 1\.2 connection"):
            status(server, ca_file)


def test_a_ca_file_that_is_none_is_a_setting_to_correct(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")
    for file in (broken, tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match="BMS_CA_FILE"):
            Service("https://localhost:1", name="BMS", ca_file=file)
