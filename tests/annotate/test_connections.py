"""Connections: half-sent requests are closed, TLS, proxies, and what is said of plain HTTP."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading

import httpx
import pytest
from fastapi.testclient import TestClient

from stm_agent.annotate.api.app import build_app
from stm_agent.annotate.serve import Address, config_of
from stm_agent.errors import ConfigError
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import port_of, serving
from stm_agent.web import bodies, deadlines

HALF = {
    "nothing": b"",
    "half a line": b"GET /api/v1/me HT",
    "half the headers": b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\n",
    "half a body that is read": b"POST /api/v1/login HTTP/1.1\r\nhost: x\r\n"
    b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    "half a body that nobody reads": b"POST /api/v1/projects HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
    "half a second request": b"GET /session HTTP/1.1\r\nhost: x\r\n\r\nGET /session HT",
}


@pytest.fixture
def impatient(small, monkeypatch):
    """The port of a tool that waits a moment only."""
    monkeypatch.setattr(deadlines, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    monkeypatch.setattr("stm_agent.annotate.serve.KEEP_ALIVE_SECONDS", 1)
    with serving(small) as url:
        yield port_of(url)


@pytest.mark.parametrize("name", HALF)
def test_a_half_sent_request_is_closed(impatient, name):
    with socket.create_connection(("127.0.0.1", impatient), 30) as connection:
        connection.sendall(HALF[name])
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert (b"408" in received.split(b"\r\n")[0]) == (name == "half a body that is read")


def test_a_client_that_goes_on_sending_a_byte_at_a_time_is_closed_too(impatient):
    done = threading.Event()
    with socket.create_connection(("127.0.0.1", impatient), 30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")

        def drip():
            while not done.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
        done.set()
        dripping.join(30)


def test_a_connection_is_kept_for_whole_requests(impatient):
    with httpx.Client(base_url=f"http://127.0.0.1:{impatient}") as page:
        assert [page.get("/session").status_code for _ in range(3)] == [200, 200, 200]


def test_a_forwarded_address_is_believed_from_a_proxy_alone(small):
    fill(small)
    app = build_app(small)

    def wrong(address, sender):
        config = config_of(app, address)
        config.load()
        guess = {"name": f"nobody {sender}", "password": "a wrong password"}
        with TestClient(config.loaded_app, client=("10.0.0.1", 1)) as page:
            return page.post("/api/v1/login", json=guess, headers={"x-forwarded-for": sender}).status_code

    from sqlalchemy import select

    from stm_agent.annotate.people_tables import LoginFailure

    assert wrong(Address(host="127.0.0.1", port=0), "1.1.1.1") == 401
    assert wrong(Address(host="127.0.0.1", port=0, proxies=("10.0.0.2",)), "2.2.2.2") == 401
    assert wrong(Address(host="127.0.0.1", port=0, proxies=("10.0.0.1",)), "3.3.3.3") == 401
    with small.database.reading() as session:
        counted = [who for who in session.scalars(select(LoginFailure.who)) if who.startswith("address:")]
    assert counted == ["address:10.0.0.1", "address:10.0.0.1", "address:3.3.3.3"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine and its key, as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day - datetime.timedelta(1))
        .not_valid_after(day + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(*kinds))
    return folder / "cert.pem", folder / "key.pem"


def test_the_tool_serves_https_with_secure_cookies(small, certificate):
    fill(small)
    cert, key = certificate
    address = Address(host="127.0.0.1", port=0, tls_cert=cert, tls_key=key)
    address.check()
    trusted = ssl.create_default_context(cafile=str(cert))
    with serving(small, tls=(cert, key)) as url:
        assert url.startswith("https://")
        place = f"https://localhost:{port_of(url)}"
        with httpx.Client(base_url=place, verify=trusted, headers={"origin": place}) as page:
            login = page.post("/session", json={"name": "Bo", "password": "password-of-Bo"})
            assert login.status_code == 200
            cookies = login.headers.get_list("set-cookie")
            assert cookies and all("Secure" in one for one in cookies)
            assert page.get("/api/v1/me").json()["name"] == "Bo"


def test_tls_files_that_cannot_be_used_are_one_line(certificate, tmp_path):
    cert, _ = certificate
    (tmp_path / "none.pem").write_text("nothing")
    for files, reason in (
        ((cert, None), "both --tls-cert and --tls-key"),
        ((cert, tmp_path / "gone.pem"), "does not exist"),
        ((cert, tmp_path / "none.pem"), "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=reason) as told:
            Address(host="127.0.0.1", port=0, tls_cert=files[0], tls_key=files[1]).check()
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        ({"host": "192.0.2.1"}, True),
        ({"host": "team.example"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "192.0.2.1", "proxies": ("10.0.0.1",)}, False),
    ],
)
def test_plain_http_in_a_network_is_warned_of(more, warns):
    warning = Address(port=0, **more).warning
    assert (warning is not None) == warns
    assert warning is None or "in clear" in warning


def test_a_personal_token_works_until_it_is_revoked_or_expires(small):
    from stm_agent.annotate.base import now
    from stm_agent.annotate.people_tables import ApiToken

    fill(small)
    bo, cy, ada = (client(small, name) for name in ("Bo", "Cy", "Ada"))
    made = bo.post("/me/tokens", json={"name": "nightly export"}).json()
    assert made["token"].startswith("stmat_") and made["expires_at"]
    script = TestClient(build_app(small), base_url=str(bo.base_url))
    script.headers["authorization"] = f"Bearer {made['token']}"
    assert script.get("/me").json()["name"] == "Bo"
    assert script.post("/projects/signs/entries").status_code == 201
    assert "log in" in script.post("/me/tokens", json={"name": "more"}).json()["title"]
    (shown,) = bo.get("/me/tokens").json()
    assert "token" not in shown and shown["name"] == "nightly export"
    assert cy.get("/me/tokens").json() == []
    assert cy.delete(f"/me/tokens/{made['id']}").status_code == 404
    assert ada.patch("/people/Bo", json={"version": 1, "active": False}).is_success
    assert script.get("/me").status_code == 401, "shut out"
    assert ada.patch("/people/Bo", json={"version": 2, "active": True}).is_success
    assert script.get("/me").status_code == 200
    with small.database.writing() as session:
        session.get(ApiToken, made["id"]).expires_at = now()
    assert script.get("/me").status_code == 401, "expired"
    bo = client(small, "Bo")
    other = bo.post("/me/tokens", json={"name": "other", "days": None}).json()
    assert other["expires_at"] is None
    assert bo.delete(f"/me/tokens/{other['id']}").status_code == 204
    script.headers["authorization"] = f"Bearer {other['token']}"
    assert script.get("/me").status_code == 401
