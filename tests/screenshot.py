"""Take the docs' picture of the page: `python -m tests.screenshot`, while the service runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import browser

PICTURE = Path(".github/page.png")
URL = "http://127.0.0.1:3000/"
WIDTH, HEIGHT = 1280, 1720


def main() -> None:
    """Write PICTURE, of the service at the address that the command line gives, or URL."""
    url = sys.argv[1] if len(sys.argv) > 1 else URL
    with tempfile.TemporaryDirectory() as home:
        PICTURE.write_bytes(take_screenshot(url, Path(home)))
    print(f"screenshot: {PICTURE} is {url}, {WIDTH} × {HEIGHT}")


def take_screenshot(url: str, home: Path) -> bytes:
    """The top of the page as PNG, once it has predicted the example.

    Parameters
    ----------
    home
        An empty folder for the browser's profile.
    """
    with browser.opened(home) as page:
        page.size(WIDTH, HEIGHT)
        page.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        page.go(url)
        page.until("!document.querySelector('#open').hidden")
        page.until("document.querySelector('#state').innerText === 'ready'")
        page.until("[...document.images].every((one) => one.naturalWidth > 0)")
        page.click("#send")
        page.until("document.querySelector('.prediction')")
        # The first answer waits for the pictures, and shows the time that they take.
        page.ask("document.querySelector('.prediction').remove()")
        page.click("#send")
        page.until("document.querySelector('.prediction')")
        return page.picture()


if __name__ == "__main__":
    main()
