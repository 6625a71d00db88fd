"""Two people talk in two browsers, through a real server and the built web client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.live.server import Daphne

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "quiet purple harbour"
PATIENCE_MS = 15_000
WEB_CLIENT = Path(__file__).parents[2] / "web" / "dist" / "index.html"

_numbers = count(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(live_server_process: Daphne) -> Daphne:
    """A server that serves the built client."""
    assert WEB_CLIENT.exists(), "build the web client first: make web"
    return live_server_process


class Person:
    """Somebody with a browser of their own. Whatever the page complains about fails the test."""

    def __init__(self, browser: Browser, server: Daphne, name: str) -> None:
        self.name = name
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=server.url)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)
        self.page.goto("/")

    def _note(self, message: object) -> None:
        text = f"{message.type}: {message.text}"  # type: ignore[attr-defined]
        # A browser reports each lost connection itself; the tests that stop the server expect that.
        if message.type in ("error", "warning") and "ERR_CONNECTION" not in text and "WebSocket" not in text:  # type: ignore[attr-defined]
            self.complaints.append(text)

    def register(self) -> None:
        """Create an account."""
        self.page.get_by_role("button", name="Create an account").click()
        self.page.get_by_label("Username").fill(self.name)
        self.page.get_by_label("Email").fill(f"{self.name}@example.org")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Create account").click()
        expect(self.page.get_by_label("Find a person")).to_be_visible()

    def open_chat_with(self, name: str) -> None:
        """Find somebody and open the chat with them."""
        self.page.get_by_label("Find a person").fill(name)
        self.page.get_by_role("list", name="People found").get_by_role("button", name=name).click()
        expect(self.composer).to_be_focused()

    def open_first_chat(self) -> None:
        """Open the chat at the top of the list."""
        self.page.get_by_role("list", name="Chats").get_by_role("button").first.click()

    @property
    def composer(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Message")

    def say(self, text: str) -> None:
        """Write a message and send it with Enter."""
        self.composer.fill(text)
        self.composer.press("Enter")

    def sees(self, text: str) -> None:
        """Expect a message in the open chat."""
        expect(self.page.get_by_role("log").get_by_text(text, exact=True)).to_be_visible(timeout=PATIENCE_MS)


@pytest.fixture
def ada(browser: Browser, server: Daphne) -> Iterator[Person]:
    """An Ada, registered."""
    yield from registered(browser, server, "ada")


@pytest.fixture
def bob(browser: Browser, server: Daphne) -> Iterator[Person]:
    """A Bob, registered."""
    yield from registered(browser, server, "bob")


def registered(browser: Browser, server: Daphne, name: str) -> Iterator[Person]:
    """Bring a new person in, and see at the end that their page had nothing to complain about."""
    person = Person(browser, server, f"{name}{next(_numbers)}")
    person.register()
    yield person
    person.context.close()
    assert person.complaints == []


def test_two_people_talk(ada: Person, bob: Person) -> None:
    """Messages go both ways, with typing, unread counts, presence and read marks."""
    ada.open_chat_with(bob.name)
    ada.say("Tea at four? ☕")

    unread = bob.page.get_by_role("list", name="Chats").get_by_text("1 unread")
    expect(unread).to_be_visible(timeout=PATIENCE_MS)
    expect(bob.page).to_have_title("(1) Parley")
    expect(ada.page.get_by_role("log").get_by_role("img", name="delivered")).to_be_visible(timeout=PATIENCE_MS)
    bob.open_first_chat()
    bob.sees("Tea at four? ☕")
    expect(unread).to_have_count(0)
    expect(ada.page.get_by_role("log").get_by_role("img", name="read")).to_be_visible(timeout=PATIENCE_MS)

    bob.composer.press_sequentially("Yes", delay=20)
    expect(ada.page.get_by_text(f"{bob.name} is typing…")).to_be_visible(timeout=PATIENCE_MS)
    bob.composer.press("Enter")
    ada.sees("Yes")
    expect(ada.page.get_by_text(f"{bob.name} is typing…")).to_have_count(0)
    expect(ada.page.locator(".chat-title")).to_contain_text("online")

    bob.context.close()
    expect(ada.page.locator(".chat-title")).to_contain_text("last seen", timeout=PATIENCE_MS)


def test_edit_delete_and_reload(ada: Person, bob: Person) -> None:
    """An edited and a deleted message look the same to both, also after a reload."""
    ada.open_chat_with(bob.name)
    ada.say("Tea at fuor?")
    ada.sees("Tea at fuor?")
    ada.say("never mind")
    bob.open_first_chat()
    bob.sees("never mind")
    expect(ada.page.get_by_text("sending…")).to_have_count(0)

    ada.page.get_by_text("never mind").last.hover()
    ada.page.once("dialog", lambda dialog: dialog.accept())
    ada.page.get_by_role("button", name="Delete message").last.click()
    bob.sees("This message was deleted.")
    ada.composer.press("ArrowUp")
    expect(ada.page.get_by_text("Editing a message")).to_be_visible()
    ada.composer.fill("Tea at four?")
    ada.composer.press("Enter")
    bob.sees("Tea at four?")

    for person in (ada, bob):
        person.page.reload()
        person.sees("Tea at four?")
        person.sees("This message was deleted.")
        expect(person.page.get_by_role("log").get_by_text("edited")).to_be_visible()


def test_a_restart_of_the_server_loses_nothing(server: Daphne, ada: Person, bob: Person) -> None:
    """What is written while the server is away is sent when it is back, once, without anybody's doing."""
    ada.open_chat_with(bob.name)
    ada.say("before")
    bob.open_first_chat()
    bob.sees("before")

    server.stop()
    expect(ada.page.get_by_text(re.compile("Connecting"))).to_be_visible(timeout=PATIENCE_MS)
    ada.say("meanwhile")
    expect(ada.page.get_by_text("sending…")).to_be_visible()
    server.start()

    bob.page.get_by_role("log").get_by_text("meanwhile").wait_for(timeout=45_000)
    expect(ada.page.get_by_text("sending…")).to_have_count(0)
    expect(bob.page.get_by_role("log").get_by_text("meanwhile")).to_have_count(1)


def test_history_loads_as_one_scrolls_up(ada: Person, bob: Person) -> None:
    """A long history comes page by page, and the view stays where it was."""
    ada.open_chat_with(bob.name)
    for number in range(1, 61):
        ada.say(f"message {number}")
    ada.sees("message 60")
    expect(ada.page.get_by_text("sending…")).to_have_count(0, timeout=PATIENCE_MS)
    bob.open_first_chat()
    bob.sees("message 60")
    expect(bob.page.get_by_text("message 1", exact=True)).to_have_count(0)

    log = bob.page.get_by_role("log")
    log.evaluate("box => { box.scrollTop = 0 }")
    expect(log.get_by_text("message 1", exact=True)).to_have_count(1, timeout=PATIENCE_MS)
    assert log.evaluate("box => box.scrollTop") > 0


def test_a_picture_and_a_group(ada: Person, bob: Person, tmp_path: Path) -> None:
    """A group talks, and a picture sent into it is shown."""
    picture = tmp_path / "tea.png"
    bob.page.screenshot(path=picture)
    ada.page.get_by_role("button", name="New group").click()
    ada.page.get_by_label("Group name").fill("Tea round")
    ada.page.get_by_label("Add people").fill(bob.name)
    found = ada.page.get_by_role("dialog").get_by_role("list", name="People found")
    found.get_by_role("button", name=bob.name).click()
    ada.page.get_by_role("button", name="Create group").click()
    bob.page.get_by_role("list", name="Chats").get_by_text("Tea round").click()

    ada.page.get_by_label("File to attach").set_input_files(picture)

    shown = bob.page.get_by_role("log").get_by_role("img", name="tea.png")
    expect(shown).to_be_visible(timeout=PATIENCE_MS)
    assert shown.evaluate("image => image.naturalWidth") > 0
    bob.sees(f"{ada.name} created the group")


def test_the_keyboard_is_enough(ada: Person, bob: Person) -> None:
    """Somebody without a mouse finds a person, writes and closes a dialog."""
    ada.page.get_by_label("Find a person").focus()
    ada.page.keyboard.type(bob.name)
    expect(ada.page.get_by_role("list", name="People found").get_by_role("button", name=bob.name)).to_be_visible()
    ada.page.keyboard.press("Tab")
    ada.page.keyboard.press("Enter")
    expect(ada.composer).to_be_focused()
    ada.page.keyboard.type("first line")
    ada.page.keyboard.press("Shift+Enter")
    ada.page.keyboard.type("second line")
    ada.page.keyboard.press("Enter")
    bob.open_first_chat()
    expect(bob.page.get_by_role("log").get_by_text("first line")).to_contain_text("second line")

    ada.page.get_by_role("button", name="Your profile and settings").focus()
    ada.page.keyboard.press("Enter")
    expect(ada.page.get_by_role("dialog")).to_be_visible()
    ada.page.keyboard.press("Escape")
    expect(ada.page.get_by_role("dialog")).to_have_count(0)
