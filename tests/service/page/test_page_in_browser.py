"""The page as a person has it: in Chromium, of a service that `bentoml serve` runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from cairn.contract import Column, Contract, Target
from cairn.export.onnx import to_onnx
from cairn.modeling.histograms import describe_rows
from tests import browser, npm, screenshot, serving, small
from tests.browser import HOST, Browser
from tests.conftest import Project
from tests.ports import wait_until
from tests.service import complete as full

pytestmark = [pytest.mark.real, pytest.mark.slow]

KEY = "a-right-key-0123456789"
HOSTILE = (
    "<img src=x onerror=alert(1)>", "\"'><script>alert(2)</script>", "שלום\u202eabc",
    "🙂 it's $HOME", "a_very_long_name_" * 8,
)  # fmt: skip
COLUMNS = 500


@pytest.fixture(scope="module")
def served(complete: Project) -> Iterator[httpx.Client]:
    with serving.served(complete) as client:
        yield client


@pytest.fixture(scope="module")
def locked(complete: Project) -> Iterator[httpx.Client]:
    env = {**complete.env, "API_KEYS": KEY, "METRICS_OPEN": "false"}
    with serving.served(replace(complete, env=env)) as client:
        yield client


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    project = full.served_by(tmp_path_factory.mktemp("hostile"), wide())
    with serving.served(project) as client:
        yield client


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser.opened(tmp_path / "profile") as opened:
        opened.size(1280, 900)
        yield opened


def wide() -> small.Fitted:
    """A model of very many columns, whose names and values are made to break a page."""
    odd = tuple(Column(name=name, kind="number", missing=True) for name in HOSTILE)
    many = tuple(Column(name=f"n{index}", kind="number") for index in range(COLUMNS - 6))
    listed = Column(name="listed", kind="category", categories=HOSTILE, unknown=False)
    target = Target(name="<b>target", classes=tuple(sorted(HOSTILE[1:4])))
    contract = Contract(columns=(*odd, listed, *many), target=target)
    random = np.random.default_rng(3)
    rows = random.normal(size=(60, COLUMNS)).astype(np.float32)
    rows[:, len(odd)] = np.arange(60) % len(HOSTILE)
    classes = np.arange(60) % 3
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression()).fit(rows, classes)
    graph = to_onnx(pipeline, COLUMNS)
    return small.Fitted(pipeline, graph, describe_rows(contract, rows, classes), rows, classes)


def address(client: httpx.Client) -> str:
    return f"http://{HOST}:{client.base_url.port}/"


def open_page(chromium: Browser, client: httpx.Client) -> None:
    chromium.go(address(client))
    chromium.until("!document.querySelector('#open').hidden")


def show_pictures(chromium: Browser) -> None:
    """Wait until all pictures are there."""
    chromium.until("[...document.querySelectorAll('figure img')].length === 8")
    chromium.until(
        "[...document.querySelectorAll('figure img')].every((one) => one.naturalWidth > 0)"
    )


def field(name: str) -> str:
    """The selector of a column's field."""
    index = [*small.FULL.names, small.FULL.identifier].index(name)
    return f"#field-{index}"


def silent(chromium: Browser, url: str) -> None:
    """Hold that nothing went to another host, and the console is empty."""
    chromium.until("true")  # what is under way has been noted after this
    inner = ("blob:", "data:")
    assert {one for one in chromium.requests if not one.startswith((url, *inner))} == set()
    assert chromium.complaints == []


def test_it_shows_the_model_and_asks_no_other_host(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    show_pictures(chromium)
    chromium.until("document.querySelector('#state').innerText === 'ready'")
    changes = served.get("/model").json()
    assert chromium.text("h1") == changes["model_version"]
    assert "one of 2 classes, from 7 columns" in chromium.text("#tagline")
    scores = chromium.text("#scores")
    for text in (
        "0.963", "0.900 – 0.988", "5 folds × 3", "colour is missing", "recall at least",
        "0.529 – 0.978", "0.438 – 1.000", "0.951",
    ):  # fmt: skip
        assert text in scores
    alts = chromium.ask("[...document.querySelectorAll('img')].map((one) => one.alt)")
    assert "Area under the ROC curve 0.991 (95% interval 0.970 to 1.000)" in alts[1]
    origin = chromium.ask("document.querySelector('#origin').textContent")
    assert changes["sha256"] in origin
    assert all(md5 in origin for md5 in changes["dvc"]["train"]["outs"].values())
    silent(chromium, address(served))


def test_the_form_predicts_what_the_service_says(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    chromium.type(field("area"), "0.1")
    chromium.type(field("customer"), "C-1")
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    row = served.get("/model").json()["example"] | {"area": 0.1, "customer": "C-1"}
    answer = served.post("/predict", json=row).json()
    assert chromium.text(".prediction") == answer["prediction"]
    shown = chromium.text("#answer")
    for label, probability in answer["probabilities"].items():
        assert f"{label}\n{probability * 100:.1f}%" in shown
    assert answer["model_version"] in shown
    assert "C-1" in shown
    silent(chromium, address(served))


def test_the_curl_line_says_the_same(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    chromium.type(field("colour"), 'it\'s $HOME \\ "🙂"')
    line = chromium.text("#curl").replace(HOST, "127.0.0.1")
    command = ["sh", "-c", f"{line} --silent"]
    changes = subprocess.run(command, capture_output=True, timeout=300, check=True)
    row = served.get("/model").json()["example"] | {"colour": 'it\'s $HOME \\ "🙂"'}
    expected = served.post("/predict", json=row).json()["probabilities"]
    assert orjson.loads(changes.stdout)["probabilities"] == expected


def test_a_problem_stands_at_its_field(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    chromium.type(field("area"), "99")
    chromium.type(field("branch"), "x")
    chromium.type(field("born"), "")
    chromium.click("#send")
    chromium.until("document.querySelector('[aria-invalid=true]')")
    wrong = "[...document.querySelectorAll('[aria-invalid=true]')].map((one) => one.id)"
    assert chromium.ask(wrong) == [field(name)[1:] for name in ("area", "branch")]
    assert "out of range" in chromium.text(f"{field('area')}-error")
    assert "at most 9" in chromium.text(f"{field('area')}-error")
    assert "any whole number" in chromium.text(f"{field('branch')}-error")
    described = f"document.querySelector('{field('area')}').getAttribute('aria-describedby')"
    assert f"{field('area')[1:]}-error" in chromium.ask(described).split()
    assert chromium.ask("document.activeElement.id") == field("area")[1:]
    alert = "document.querySelector('#problems').getAttribute('role')"
    assert chromium.ask(alert) == "alert"
    assert "breaks the contract in 2 places" in chromium.text("#problems")
    chromium.click("#again")
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    assert chromium.ask(wrong) == []


def test_a_missing_value_is_left_out_or_null(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    chromium.type(field("branch"), "")
    chromium.ask(f"document.querySelector('{field('flag')}').selectedIndex = 0")
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    chromium.type(field("area"), "")
    chromium.click("#send")
    chromium.until("document.querySelector('[aria-invalid=true]')")
    assert "missing column" in chromium.text(f"{field('area')}-error")


def test_the_keyboard_is_enough(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    inside = "Boolean(document.activeElement.closest('#fields'))"
    pressed = 0
    while not chromium.ask(inside):
        chromium.press("Tab")
        pressed += 1
        assert pressed < 15
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert chromium.ask(outline) != "none"
    chromium.press("Enter")
    chromium.until("document.querySelector('.prediction')")


def test_the_charts_move_under_traffic(chromium: Browser, served: httpx.Client) -> None:
    open_page(chromium, served)
    lines = "document.querySelectorAll('#rate .line, #latency .line').length"
    chromium.until(f"{lines} === 4")
    row = served.get("/model").json()["example"]
    sent = 0

    def more() -> None:
        nonlocal sent
        for _ in range(20):
            served.post("/predict", json=row)
            served.post("/predict", json={})
            sent += 2

    served.post("/predict", json=row)
    bars = "[...document.querySelectorAll('#drift .fill')].map((one) => one.style.width)"
    chromium.until(f"{bars}.length > 1")
    assert set(chromium.ask(bars)) == {"0%"}, "so few rows say nothing"
    before = chromium.ask("document.querySelector('#rate .line').getAttribute('d')")
    moved = f"document.querySelector('#rate .line').getAttribute('d') !== {before!r}"
    for _ in range(3):
        more()
    chromium.until(moved)
    chromium.until(
        "/now [^0]/.test(document.querySelector('#rate').getAttribute('aria-label'))"
        " || /at most [1-9]/.test(document.querySelector('#rate').getAttribute('aria-label'))"
    )
    chromium.until("/p95 (<|\\d)/.test(document.querySelector('#latency').ariaLabel)")
    chromium.until("/[1-9].*%/.test(document.querySelectorAll('.tile dd')[1].innerText)")
    chromium.until("document.querySelectorAll('#classes li').length === 2")
    chromium.until("document.querySelector('#drift').innerText.includes('opened · year')")
    silent(chromium, address(served))


def test_it_asks_for_a_key_and_uses_it(chromium: Browser, locked: httpx.Client) -> None:
    chromium.go(address(locked))
    chromium.until("!document.querySelector('#lock').hidden")
    assert chromium.ask("document.querySelector('#open').hidden")
    assert chromium.ask("document.activeElement.id") == "key"
    silent(chromium, address(locked))
    chromium.type("#key", "a-wrong-key")
    chromium.press("Enter")
    chromium.until("document.querySelector('#key-error').textContent.includes('not accept')")
    chromium.complaints.clear()  # the refusal is one of the console's
    chromium.type("#key", KEY)
    chromium.press("Enter")
    chromium.until("!document.querySelector('#open').hidden")
    chromium.until("document.querySelector('figure img')?.naturalWidth > 0")
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    chromium.until("document.querySelectorAll('#classes li').length === 2")
    assert '-H "Authorization: Bearer $KEY"' in chromium.text("#curl")
    assert KEY not in chromium.ask("document.documentElement.outerHTML")
    assert chromium.ask("localStorage.length + document.cookie.length") == 0
    silent(chromium, address(locked))
    chromium.ask(
        "window.blobs = []; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blobs.push(blob); return make(blob); }; 0"
    )
    chromium.click("#document")  # an address has no key
    chromium.until("blobs.length === 1")
    assert chromium.ask("blobs[0].text()").startswith('{"openapi":')
    open_page(chromium, locked)  # it is kept as long as the tab is
    chromium.click("#forget")
    chromium.until("document.querySelector('#lock')?.hidden === false")
    assert chromium.ask("sessionStorage.length") == 0


def test_the_api_reference_asks_for_a_key_and_uses_it(
    chromium: Browser, locked: httpx.Client
) -> None:
    chromium.go(f"{address(locked)}docs")
    chromium.until("!document.querySelector('#lock').hidden")
    assert not chromium.ask("document.querySelector('.opblock') !== null")
    chromium.type("#key", "a-wrong-key-0123456789")
    chromium.press("Enter")
    chromium.until("document.querySelector('#problem').textContent.includes('not accept')")
    chromium.complaints.clear()  # the refusals are the console's
    chromium.type("#key", KEY)
    chromium.press("Enter")
    chromium.until("document.querySelector('#operations-predictions-predict')")
    assert chromium.ask("document.querySelector('#lock').hidden")
    chromium.click("#operations-predictions-predict .opblock-summary-control")
    # Until its example is there, Swagger UI shows the button and does nothing.
    chromium.until("document.querySelector('.execute')")
    chromium.until("document.querySelector('.body-param__text')?.value")
    chromium.click(".execute")
    status = "document.querySelector('.live-responses-table .response .response-col_status')"
    chromium.until(f"{status}?.innerText.startsWith('200')")
    silent(chromium, address(locked))
    open_page(chromium, locked)  # the page at / knows the key


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of an empty page of another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_of_another_origin_can_ask_where_the_settings_let_it(
    chromium: Browser, complete: Project, elsewhere: str
) -> None:
    ask = """fetch("%spredict", {method: "POST", body: %s, headers: {
        "content-type": "application/json", "x-api-key": "%s", "x-request-id": "mine"}})
        .then((response) => [response.status, response.headers.get("x-request-id")],
              (error) => error.name)"""
    chromium.go(elsewhere)
    body = orjson.dumps(orjson.dumps(full.ROW).decode()).decode()
    for origins, keys in (elsewhere, (KEY, "wrong")), ("https://other.example.com", (KEY,)):
        env = {**complete.env, "API_KEYS": KEY, "CORS_ORIGINS": origins}
        with serving.served(replace(complete, env=env)) as client:
            answers = [chromium.ask(ask % (address(client), body, key)) for key in keys]
        is_allowed = origins == elsewhere
        assert answers == ([[200, "mine"], [401, "mine"]] if is_allowed else ["TypeError"])


def test_what_a_table_holds_is_text_on_it(chromium: Browser, hostile: httpx.Client) -> None:
    open_page(chromium, hostile)
    chromium.ask(
        f"document.querySelector('#field-{len(HOSTILE)}').selectedIndex = 1;"
        "document.querySelector('#form').dispatchEvent(new Event('change'))"
    )
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    assert chromium.text(".prediction") in HOSTILE
    labels = chromium.ask(
        "[...document.querySelectorAll('#fields label bdi')].map((one) => one.textContent)"
    )
    assert tuple(labels[: len(HOSTILE)]) == HOSTILE
    assert chromium.ask("document.querySelectorAll('img[src=x], main script').length") == 0
    row: dict[str, Any] = hostile.get("/model").json()["example"] | {"listed": HOSTILE[1]}
    assert hostile.post("/predict", json=row).json()["prediction"] == chromium.text(".prediction")
    silent(chromium, address(hostile))


def test_of_very_many_columns_some_are_shown_and_all_can_be_found(
    chromium: Browser, hostile: httpx.Client
) -> None:
    open_page(chromium, hostile)
    visible = "document.querySelectorAll('#fields .field:not([hidden])').length"
    assert chromium.ask(visible) == 12
    chromium.type("#filter", "n49")
    actual = [index for index in range(COLUMNS - 6) if "n49" in f"n{index}"]
    assert chromium.ask(visible) == len(actual) > 1
    chromium.type("#filter", "Very long-name")
    assert chromium.ask(visible) == 1
    assert chromium.text("#match-count") == f"1 of {COLUMNS}"
    chromium.type("#filter", "")
    chromium.click("#all")
    assert chromium.ask(visible) == COLUMNS
    chromium.click("#all")
    chromium.ask(f"document.querySelector('#field-{COLUMNS - 1}').value = ''")
    chromium.click("#send")
    chromium.until("document.querySelector('[aria-invalid=true]')")
    assert chromium.ask("document.activeElement.id") == f"field-{COLUMNS - 1}"


WORDY = "steps_recommendedTemperature"
SEEN: dict[str, Any] = {
    "contract": {
        "columns": [
            {"name": "sold", "kind": "number"},
            {"name": "garden", "kind": "integer", "header": "has.garden"},
            {"name": "rooms", "kind": "integer"},
            {"name": "floors", "kind": "integer", "minimum": 1, "maximum": 9},
            {"name": WORDY, "kind": "integer"},
            {"name": "area", "kind": "number", "header": "Fläche (m2)", "unit": "m2"},
            {"name": "opened", "kind": "date", "parts": ["year", "month"], "header": "Opened on"},
        ],
        "features": [
            {"name": "sold", "column": "sold", "histogram": {"edges": [2016.6, 2017, 2017.5]}},
            {"name": "garden", "column": "garden", "histogram": {"edges": [0], "values": [0, 1]}},
            {"name": "rooms", "column": "rooms", "histogram": {"edges": [2], "values": [1, 2, 5]}},
            {"name": WORDY, "column": WORDY, "histogram": {"edges": [1990, 20100]}},
            {"name": "area", "column": "area", "histogram": {"edges": [0.00123, 0.00877]}},
            {"name": "opened_year", "column": "opened"},
            {"name": "opened_month", "column": "opened"},
        ],
        "target": {"name": "y", "header": "the.target", "classes": ["a", "b"], "counts": [1, 1]},
        "example": [2017.0, 1, 2, 3, 2000, 0.005, "2024-01-01"],
    },
    "example": {"sold": 2017.0, "garden": 1, "rooms": 2, "floors": 3, WORDY: 2000,
                "area": 0.005, "opened": "2024-01-01"},
    "evaluation": full.EVALUATION | {"importance": [
        {"column": name, "importance": 1 / (index + 1)}
        for index, name in enumerate(["rooms", "opened", "garden", "sold", "area", "floors"])
    ]},
    "pictures": ["importance"],
}  # fmt: skip


def test_the_form_is_made_for_its_columns(chromium: Browser, served: httpx.Client) -> None:
    with behind("/seen", served, SEEN) as url:
        chromium.go(url)
        chromium.until("!document.querySelector('#open').hidden")
        labels = "[...document.querySelectorAll('#fields label')].map((one) => one.textContent)"
        assert chromium.ask(labels) == [
            "rooms", "Opened on", "has.garden", "sold", "Fläche m2", "floors",
            WORDY,
        ]  # fmt: skip
        hints = {
            index: chromium.text(f"#field-{index}-hint")
            for index in range(7)
            if index not in {1, 6}
        }
        assert hints == {
            0: "mostly 2016.6 to 2017.5",
            2: "in training 1 to 5",
            3: "1 to 9 · whole number",
            4: "mostly 1990 to 20,100 · whole number",
            5: "mostly 0.0012 to 0.0088",
        }
        choices = "[...document.querySelector('#field-1').options].map((one) => one.value)"
        assert chromium.ask(choices) == ["0", "1"]
        steppers = "[...document.querySelectorAll('.stepper input')].map((one) => one.id)"
        assert chromium.ask(steppers) == ["field-2", "field-3"]
        chromium.click("#field-3 + button")
        assert '"garden": 1, "rooms": 2, "floors": 4' in chromium.text("#curl")
        changes = chromium.text("#tagline"), chromium.text("#try-note"), chromium.text("figure")
        assert all("7 columns" in text for text in changes)
        assert "a typical row of the training data" in changes[1]
        assert "the.target" in changes[0]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_button_is_at_hand_and_the_answer_with_it(
    chromium: Browser, hostile: httpx.Client, width: int
) -> None:
    chromium.size(width, 740)
    open_page(chromium, hostile)
    chromium.click("#all")
    chromium.ask(f"document.querySelector('#field-{COLUMNS // 2}').scrollIntoView()")
    assert on_screen(chromium, "#send")
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    chromium.ask(f"document.querySelector('#field-{COLUMNS // 2}').scrollIntoView()")
    seen = "#brief" if width < 960 else ".prediction"
    assert on_screen(chromium, seen)
    assert chromium.text(".prediction") in chromium.text(seen)
    # A field that gets the focus is not below the bar.
    chromium.ask(f"document.querySelector('#field-{COLUMNS // 2}').focus()")
    for _ in range(12):
        chromium.press("Tab")
        chromium.until(
            "document.activeElement.getBoundingClientRect().bottom <="
            " document.querySelector('.bar').getBoundingClientRect().top"
        )


def on_screen(chromium: Browser, selector: str) -> bool:
    """Whether all of an element can be seen without scrolling."""
    actual = chromium.ask(
        f"(({{top, bottom, width}}) => width > 0 && top >= 0 && bottom <= innerHeight)"
        f"(document.querySelector({selector!r}).getBoundingClientRect())"
    )
    return bool(actual)


def test_it_tells_of_requests_before_it_was_opened(chromium: Browser, served: httpx.Client) -> None:
    row = served.get("/model").json()["example"]
    served.post("/predict", json={"records": [row] * 1200})
    open_page(chromium, served)
    chromium.until("document.querySelectorAll('.tile dd')[3].innerText.match(/^[1-9]/)")
    tiles = chromium.ask(
        "[...document.querySelectorAll('.tile dd')].map((one) => one.innerText.split('\\n'))"
    )
    assert "–" not in [value for value, _ in tiles]
    assert all("since the start" in below for _, below in tiles)
    assert "No requests since this page was opened." in chromium.text("#live")


# The words that stand in two lines; one that begins in a word, as in columnName, is one too.
BROKEN = """
        [...document.querySelectorAll('h1, h2, h3, h4, th, label, dt, button, #tagline, .muted')]
        .flatMap((element) => {
          const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), found = [];
          while (walker.nextNode()) {
            const words = /\\p{Lu}*\\p{Ll}+|\\p{Lu}+|\\d+/gu;
            for (const word of walker.currentNode.data.matchAll(words)) {
              const range = document.createRange();
              range.setStart(walker.currentNode, word.index);
              range.setEnd(walker.currentNode, word.index + word[0].length);
              const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
              if (tops.size > 1) found.push(word[0]);
            }
          }
          return found;
        })"""


def test_words_are_whole_on_a_phone(chromium: Browser, served: httpx.Client) -> None:
    """Each word of the headings, tables and labels is in one line: it has one box."""
    chromium.size(360, 740)
    with behind("/seen", served, SEEN) as url:
        chromium.go(url)
        chromium.until("!document.querySelector('#open').hidden")
        assert chromium.ask(BROKEN) == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(
    chromium: Browser, served: httpx.Client, hostile: httpx.Client, width: int
) -> None:
    chromium.size(width, 800)
    for client in (served, hostile):
        open_page(chromium, client)
        chromium.click("#send")
        chromium.until("document.querySelector('.prediction')")
        chromium.until("document.querySelectorAll('#drift li').length > 0")
        chromium.ask("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert chromium.ask("document.documentElement.scrollWidth") <= width


def test_it_works_behind_a_prefix(chromium: Browser, served: httpx.Client) -> None:
    with behind("/some/prefix", served) as url:
        chromium.go(url)
        chromium.until("document.querySelector('figure img')?.naturalWidth > 0")
        chromium.click("#send")
        chromium.until("document.querySelector('.prediction')")
        assert f"'{url}predict'" in chromium.text("#curl")
        silent(chromium, url)


def test_a_model_of_older_code_can_be_tried_all_the_same(
    chromium: Browser, served: httpx.Client
) -> None:
    older: dict[str, Any] = {"evaluation": None, "card": False, "pictures": [], "metrics": {}}
    with behind("/older", served, older) as url:
        chromium.go(url)
        chromium.until("!document.querySelector('#open').hidden")
        assert "has no scores" in chromium.text("#scores")
        assert chromium.ask("document.querySelectorAll('figure').length") == 0
        assert chromium.ask("document.querySelector('#card').hidden")
        chromium.click("#send")
        chromium.until("document.querySelector('.prediction')")
        silent(chromium, url)


def test_the_service_is_left_alone_while_nobody_looks(
    chromium: Browser, served: httpx.Client
) -> None:
    def look(hidden: str) -> None:
        chromium.ask(
            f"Object.defineProperty(document, 'hidden', {{configurable: true, value: {hidden}}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def wait(milliseconds: int) -> int:
        chromium.ask(f"new Promise((done) => setTimeout(done, {milliseconds}))")
        return len(chromium.requests)

    open_page(chromium, served)
    chromium.until("document.querySelectorAll('#rate .line').length === 1")
    show_pictures(chromium)
    look("true")
    assert wait(1000) == wait(5000)
    before = len(chromium.requests)
    look("false")
    wait_until(lambda: wait(50) > before)


@contextmanager
def behind(
    prefix: str, client: httpx.Client, changes: dict[str, Any] | None = None
) -> Iterator[str]:
    """A proxy that adds a prefix, and fields to `/model`; yields the address of the page."""

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            length = int(self.headers.get("content-length", 0))
            actual = client.request(
                self.command,
                self.path.removeprefix(prefix) if self.path.startswith(prefix) else "/wrong",
                content=self.rfile.read(length),
                headers={"content-type": self.headers.get("content-type", "text/plain")},
            )
            body = actual.content
            if changes and self.path == f"{prefix}/model":
                body = orjson.dumps(actual.json() | changes)
            self.send_response(actual.status_code)
            for name in ("content-type", "content-security-policy", "x-request-id"):
                if name in actual.headers:
                    self.send_header(name, actual.headers[name])
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = pass_on  # noqa: N815, as its base calls them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}{prefix}/"
        finally:
            server.shutdown()
            thread.join()


AXE = "axe-core@4.14.1"
AXE_SHA512 = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker's script."""
    folder = tmp_path_factory.mktemp("axe")
    return (npm.unpack(AXE, AXE_SHA512, folder) / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_checker_of_accessibility_finds_nothing(
    chromium: Browser, served: httpx.Client, axe: str, scheme: str, width: int
) -> None:
    chromium.size(width, 900)
    chromium.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    open_page(chromium, served)
    chromium.click("#send")
    chromium.until("document.querySelector('.prediction')")
    chromium.until("document.querySelectorAll('#drift li').length > 0")
    assert violations(chromium, axe) == []
    chromium.type(field("area"), "99")
    chromium.click("#send")
    chromium.until("document.querySelector('[aria-invalid=true]')")
    chromium.ask("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert violations(chromium, axe) == []


def test_nor_on_the_page_that_asks_for_a_key(
    chromium: Browser, locked: httpx.Client, axe: str
) -> None:
    chromium.go(address(locked))
    chromium.until("!document.querySelector('#lock').hidden")
    assert violations(chromium, axe) == []


def violations(chromium: Browser, axe: str) -> list[Any]:
    """What axe finds wrong: the rule, and where."""
    chromium.ask(f"{axe}\n; true")
    actual = chromium.ask(
        "axe.run().then(({violations}) => violations.map((one) =>"
        " [one.id, one.nodes.map((node) => [node.target.join(' '), node.failureSummary])]))"
    )
    return list(actual)


def test_the_picture_of_the_readme_can_be_taken(served: httpx.Client, tmp_path: Path) -> None:
    picture = screenshot.take_screenshot(address(served), tmp_path)
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20]) == screenshot.WIDTH
    assert len(picture) < 300_000
