"""The account page in a real browser: a new password, and an API token."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import CHROMIUM, enter, serving, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


def test_a_password_is_changed_and_a_token_is_created_and_revoked(small, browser):
    fill(small)
    with serving(small) as url:
        page = enter(browser, url, "Bo")
        page.get_by_role("link", name="Your account").click()
        page.get_by_label("Current password").fill("password-of-Bo")
        page.get_by_label("New password, ten characters").fill("another long one")
        page.get_by_label("New password again").fill("another")
        page.get_by_role("button", name="Change the password").click()
        page.get_by_text("The new passwords differ").wait_for()
        page.get_by_label("New password again").fill("another long one")
        page.get_by_role("button", name="Change the password").click()
        page.get_by_text("Password changed").wait_for()
        page.get_by_label("What the token is for").fill("export")
        page.get_by_role("button", name="Create a token").click()
        token = page.locator("code").inner_text()
        assert violations(page) == []
        script = client(small, "Ada")
        script.headers["authorization"] = f"Bearer {token}"
        assert script.get("/me").json()["name"] == "Bo"
        page.get_by_role("button", name="Revoke export").click()
        expect(page.get_by_role("button", name="Revoke export")).to_have_count(0)
        assert script.get("/me").status_code == 401
        page.context.close()
