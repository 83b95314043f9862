"""Signing in at a real OpenID provider, a process of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from infra.local.services import free_ports
from tests.support.triage import config_file, process, served

USERS = (
    '{"sub": "rita", "email": "rita@example.org", "groups": ["oncall"]}',
    '{"sub": "vera", "email": "vera@example.org", "groups": []}',
    '{"sub": "eve", "email": "eve@elsewhere.org", "email_verified": false}',
    '{"sub": "mallory", "email": "vera@example.org\\u200b", "groups": ["oncall"]}',
    '{"sub": "text", "email": "vera@example.org", "email_verified": "true"}',
    *(
        f'{{"sub": "{name}", "email": "vera@example.org", "email_verified": {said}}}'
        for name, said in {"no": '"false"', "null": "null", "one": "1", "True": '"True"'}.items()
    ),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--host",
               "127.0.0.1", "--require-nonce", "true"]  # fmt: skip
    for user in USERS:
        command += ["--user-claims", user]
    with process(command, f"{url}/.well-known/openid-configuration"):
        issuer = httpx.get(f"{url}/.well-known/openid-configuration").json()["issuer"]
        yield str(issuer)


@pytest.fixture(scope="module")
def url(
    provider: str, made_tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    [port] = free_ports(1)
    settings = config_file(
        tmp_path_factory.mktemp("oidc"),
        sign_in="oidc",
        public_url=f"http://127.0.0.1:{port}",
        oidc={"issuer": provider, "client_id": "triage"},
        roles={"viewer": ["vera@example.org"], "responder": ["oncall"]},
    )
    with served(made_tables, settings, port, DISTILWATCH_OIDC_SECRET="s" * 40) as url:
        yield url


def begin(client: httpx.Client, url: str, path: str = "/") -> str:
    """Asks for a page and is sent to the provider; its address."""
    answer = client.get(url + path)
    assert answer.status_code == 303
    answer = client.get(url + answer.headers["Location"])
    assert answer.status_code == 302
    return answer.headers["Location"]


def sign_in(client: httpx.Client, url: str, who: str, path: str = "/") -> httpx.Response:
    """Goes through the provider's page as a person does; what our page says in the end."""
    there = begin(client, url, path)
    client.get(there)
    answer = client.post(there, data={"sub": who})
    assert answer.status_code == 302, answer.text
    return client.get(answer.headers["Location"])


def test_a_person_signs_in_with_their_role_and_lands_where_they_wanted(url: str) -> None:
    with httpx.Client() as client:
        assert "c-" not in client.get(url).text
        back = sign_in(client, url, "rita", "/?severity=high")
        assert (back.status_code, back.headers["Location"]) == (303, "/?severity=high")
        page = client.get(url).text
        assert "rita@example.org" in page
        assert ">responder<" in page
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        client.post(f"{url}/sign-out", data={"csrf": token[1]})
        assert client.get(url).status_code == 303


def test_the_request_to_the_provider_is_bound_to_this_browser(url: str) -> None:
    with httpx.Client() as client:
        asked = parse_qs(urlsplit(begin(client, url)).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["state"][0]
    assert asked["nonce"][0]


def test_a_code_that_another_browser_asked_for_is_refused(url: str) -> None:
    """Else an attacker could sign a victim in under the attacker's name."""
    with httpx.Client() as attacker, httpx.Client() as victim:
        there = begin(attacker, url)
        attacker.get(there)
        back = attacker.post(there, data={"sub": "rita"}).headers["Location"]
        assert victim.get(back).status_code == 403
        assert victim.get(url).status_code == 303


@pytest.mark.parametrize("who", ["mallory", "no", "null", "one", "True"])
def test_a_name_that_may_be_of_somebody_else_is_refused(url: str, who: str) -> None:
    with httpx.Client() as client:
        answer = sign_in(client, url, who)
        assert answer.status_code == 403
        says = "is no name" if who == "mallory" else "has not verified that e-mail"
        assert says in answer.text
        assert client.get(url).status_code == 303


def test_a_provider_may_say_in_a_text_that_an_address_is_verified(url: str) -> None:
    with httpx.Client() as client:
        assert sign_in(client, url, "text").status_code == 303
        assert client.get(url).status_code == 200


@pytest.mark.parametrize("who", ["eve", "stranger"])
def test_who_has_no_role_is_refused(url: str, who: str) -> None:
    with httpx.Client() as client:
        assert sign_in(client, url, who).status_code == 403
        assert client.get(url).status_code == 303


def test_a_viewer_sees_and_does_not_decide(url: str) -> None:
    with httpx.Client() as client:
        sign_in(client, url, "vera")
        page = client.get(url)
        assert page.status_code == 200
        case = page.text.split('href="/case/')[1].split('"')[0]
        assert 'value="dismiss"' not in client.get(f"{url}/case/{case}").text


def test_who_cannot_be_noted_is_not_signed_in(
    provider: str, made_tables: Path, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    settings = config_file(
        tmp_path,
        sign_in="oidc",
        public_url=f"http://127.0.0.1:{port}",
        oidc={"issuer": provider, "client_id": "triage"},
        audit_log="/dev/full",
    )
    with (
        served(made_tables, settings, port, DISTILWATCH_OIDC_SECRET="s" * 40) as url,
        httpx.Client() as client,
    ):
        assert sign_in(client, url, "rita").status_code >= 500
        assert client.get(url).status_code == 303


@pytest.mark.parametrize("cookie", ["", "e30=.x.y", "forged"])
def test_a_forged_session_is_none(url: str, cookie: str) -> None:
    answer = httpx.get(url, cookies={"triage": cookie})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in")
