"""The page at `/docs` in a real browser, against a real server, with no network but loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live.server import Daphne

pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, or the one that playwright has installed."""
    # Playwright's loop runs in this thread; Django's tests beside it are not asynchronous.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page with a window of a laptop's size."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def test_the_page_works_offline_under_the_policy(page: Page, live_server_process: Daphne) -> None:
    """Every operation shows, nothing is asked of another host, nothing breaks the policy, the console stays empty."""
    server, asked, console = live_server_process, list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
    )

    page.goto(f"{server.url}/docs")

    expect(page.get_by_role("heading", name="Parley")).to_be_visible()
    expect(page.locator(".opblock-summary-path", has_text="/chat/message").first).to_be_visible()
    page.locator("#operations-auth-register").get_by_role("button").first.click()
    expect(page.locator("#operations-auth-register").get_by_text("Try it out")).to_be_visible()
    assert [url for url in asked if not url.startswith((server.url, "data:"))] == []
    assert console == []


def test_a_call_can_be_tried(page: Page, live_server_process: Daphne) -> None:
    """The page's own example registers an account and shows the answer."""
    page.goto(f"{live_server_process.url}/docs")
    operation = page.locator("#operations-auth-register")

    operation.get_by_role("button").first.click()
    operation.get_by_text("Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    answer = operation.locator(".live-responses-table .response").first
    expect(answer.locator(".response-col_status")).to_contain_text("201")
    expect(answer).to_contain_text("accessToken")
