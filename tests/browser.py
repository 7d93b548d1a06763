"""Pages of HTML, as a parser and as Chromium see them."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    OPEN = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text += data + " "


def read(page: str) -> Reader:
    """Parses a page; its text has single spaces."""
    found = Reader(page)
    found.text = " ".join(found.text.split())
    return found


def check_nothing_is_loaded(page: str) -> None:
    """Checks that a page names nothing that a browser would fetch or run."""
    found = read(page)
    assert not {tag for tag, _ in found.tags} & {"script", "img", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "style", "srcdoc"}], (
            tag,
            attributes,
        )
        if tag == "link":
            assert attributes["href"] == "data:,"
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def opened(page: str, folder: Path, *options: str) -> tuple[str, list[str]]:
    """Opens a page in Chromium; gives the DOM and the console's lines.

    The page's policy allows no request, so that any attempt at one is a line of the console, as is every error of the page.
    """
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
    command += ["--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", *options, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
