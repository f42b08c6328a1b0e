"""The HTTP client of hub's components."""

from __future__ import annotations

from ssl import CERT_REQUIRED

from hub.http.client import tls_context


def test_a_client_for_http_trusts_no_certificate() -> None:
    """Authorities take memory and time, and a client that trusts everything would be worse than one that trusts nothing."""
    context = tls_context("http")

    assert context.verify_mode is CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] == 0
    assert tls_context("https").cert_store_stats()["x509_ca"] > 0
