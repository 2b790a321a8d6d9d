"""The page in a real browser: what a person sees and does."""

from __future__ import annotations

from time import monotonic, sleep

import pytest

from tests.web import chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.found() is None, reason="no Chromium is installed"),
]

FRAME = "Number(document.querySelector('.picture')?.dataset.frame ?? 0)"
NUMBER = "(name => document.querySelector(`[data-number=${name}]`)?.textContent ?? '')"
DRAWN = "Number(document.querySelector('.overlay')?.dataset.boxes ?? 0)"


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as one:
        yield one


@pytest.fixture
def shown(run_page, browser):
    """A page with one camera in the browser, whose errors are the test's."""
    running = run_page()
    browser.errors.clear()
    browser.size(1280, 900)
    browser.open(running.url)
    browser.wait(f"{FRAME} > 3")
    yield running
    assert browser.errors == []
    assert running.said == []
    browser.open("about:blank")


def pixels(browser):
    """Sum the picture's pixels: another number for another picture."""
    return browser.run(
        "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0))"
        "(document.querySelector('.picture'))"
    )


def test_the_picture_moves_and_boxes_are_those_of_its_frame(shown, browser):
    frame, before = browser.run(FRAME), pixels(browser)
    browser.wait(f"{FRAME} > {frame + 3}")
    assert pixels(browser) != before
    browser.wait(f"{DRAWN} > 0")
    view = shown.views["belt"]
    assert browser.run(DRAWN) <= max(12, len(view.newest.counted) + 6)


def test_numbers_change_and_the_ledger_adds_up(shown, browser):
    age = browser.wait(
        "document.querySelector('[data-number=age]').textContent", lambda text: " ms" in text or " s" in text
    )
    browser.wait("document.querySelector('[data-number=age]').textContent", lambda text: text != age)
    browser.wait(f"{NUMBER}('fps')", lambda text: text not in ("", "–") and float(text) > 0)  # – until it is known
    browser.wait("document.querySelector('#machine').textContent", lambda text: text == "50 °C · 12.0 W")
    browser.wait("document.querySelector('.line.fps').getAttribute('points')?.split(' ').length > 3")


def test_boxes_can_be_switched_and_the_slider_moves_their_threshold(shown, browser):
    browser.wait(f"{DRAWN} > 1")
    browser.click("[data-toggle=boxes]")
    browser.wait(f"{DRAWN} === 0")
    browser.click("[data-toggle=boxes]")
    browser.wait(f"{DRAWN} > 0")
    browser.run(
        "(s => { s.value = 1; s.dispatchEvent(new Event('input')); })(document.querySelector('#score'))"
    )  # no known object has a score of 1
    browser.wait(f"{DRAWN} === 0")
    assert shown.views["belt"].tuning.score is None  # only drawn so
    browser.click("[data-do=apply]")
    browser.wait("document.querySelector('#said').textContent.includes('counts from score 1.00')")
    assert shown.views["belt"].tuning.score == 1.0
    number = shown.views["belt"].newest.number
    browser.wait(f"{FRAME} > {number + 1}")
    assert len(shown.views["belt"].newest.counted) == 0


def test_a_zone_drawn_with_the_mouse_is_a_zone_counted(run_page, browser, tmp_path):
    file = tmp_path / "watch.yaml"
    file.write_text("# mine\nmargin: 0.02  # of the height\n")
    running = run_page()
    running.add("dock", file)
    browser.size(1280, 900)
    browser.open(f"{running.url}/#camera=dock")
    browser.wait(f"{FRAME} > 3")
    browser.click("[data-do=edit]")
    browser.click("[data-do=zone]")
    browser.drag(".editor", (0.1, 0.02), (0.95, 0.98))
    browser.wait("document.querySelectorAll('.places li').length === 1")
    browser.click(".editing .primary")
    browser.wait("document.querySelector('#said').textContent.startsWith('Saved in watch.yaml')")
    # events come out of the running loop, and are told
    browser.wait("document.querySelectorAll('.events li').length > 0")
    browser.wait(
        "document.querySelector('.counts')?.textContent", lambda text: text and not text.startswith("zone 1: 0 inside")
    )
    counts = running.views["dock"].tuning.watch.counts
    assert sum(counts["zone 1"]["entered"].values()) > 0
    text = file.read_text()
    assert text.startswith("# mine\nmargin: 0.02  # of the height\nzones:\n  - name: zone 1\n    points: [[0.1")
    assert str(tmp_path) not in browser.run("document.documentElement.outerHTML")


def test_a_lost_camera_is_shown_as_lost_within_2_seconds(shown, browser):
    badge = "document.querySelector('.camera .badge').textContent"
    browser.wait(badge, lambda text: text == "live")
    # The browser itself notes when, so that a busy test does not count.
    browser.run(
        "window.lost = new Promise(done => { const b = document.querySelector('.camera .badge');"
        " new MutationObserver(() => b.textContent === 'lost' && done(Date.now())).observe(b, {childList: true}); }); 0"
    )
    shown.sources["belt"].unplugged.set()
    sleep(0.2)
    view = shown.views["belt"]
    last = view.newest.frame.captured - monotonic()
    offset = browser.run("Date.now()") / 1000
    lost_at = browser.run("window.lost") / 1000
    # On an idle machine a camera of 10 FPS counts as stalled after 1.0 s; on a busy one its own rate is lower.
    late, most = lost_at - (offset + last), 1.0 + shown.sources["belt"].supervision.patience + busy()
    assert late < most
    assert "Camera lost" in browser.run("document.querySelector('.note').textContent")
    shown.sources["belt"].unplugged.clear()
    browser.wait(badge, lambda text: text == "live")


def busy() -> float:
    """Seconds that this machine may need longer than an idle one: how late a short sleep is, many times over."""
    began = monotonic()
    sleep(0.01)
    return 20 * max(0.0, monotonic() - began - 0.012)


def test_everything_is_reached_by_keyboard_and_has_a_name(shown, browser):
    nameless = browser.run(
        "[...document.querySelectorAll('button, a, input, select, summary')].filter(e => !(e.textContent.trim() ||"
        " e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []
    reached = []
    browser.run("document.activeElement.blur()")
    for _ in range(40):
        browser.key("Tab")
        reached.append(
            browser.run("(e => e.dataset.toggle || e.dataset.do || e.id || e.className)(document.activeElement)")
        )
        if reached[-1] == "edit":
            break
    wanted = ["skip", "boxes", "labels", "places", "score", "edit"]
    assert [name for name in reached if name in wanted] == wanted
    # a zone is made, moved and removed without a mouse
    browser.key("Enter")
    browser.wait("document.activeElement.dataset.do === 'zone'")
    browser.key("Enter")
    browser.wait("document.activeElement.classList.contains('corner')")
    before = browser.run("document.activeElement.style.left")
    browser.key("ArrowRight")
    assert browser.run("document.activeElement.style.left") != before
    browser.key("Delete")
    browser.wait("document.querySelectorAll('button.corner').length === 3")


@pytest.mark.parametrize("count", [1, 3])
def test_a_phone_needs_no_scrolling_to_the_side(run_page, browser, count):
    running = run_page()
    for number in range(1, count):
        running.add(f"a rather long name of camera {number}")
    browser.size(360, 740, 2, is_phone=True)
    browser.open(running.url)
    browser.wait(f"{FRAME} > 1")
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    if count == 1:
        browser.run("document.querySelector('[data-do=edit]').click()")
        browser.run("document.querySelector('[data-do=zone]').click()")
        assert browser.run("document.documentElement.scrollWidth") == 360
    browser.size(1280, 900)


def test_several_cameras_stand_in_a_grid_and_each_alone(run_page, browser):
    running = run_page()
    running.add("gate")
    browser.size(1280, 900)
    browser.open(running.url)
    browser.wait("[...document.querySelectorAll('.picture')].filter(p => p.dataset.frame > 2).length === 2")
    browser.run("location.hash = '#camera=gate'")
    browser.wait(
        "document.querySelectorAll('.camera').length === 1 && document.querySelector('h2').textContent === 'gate'"
    )
    browser.wait(f"{FRAME} > 2")


def test_no_address_folder_or_password_is_in_what_the_browser_gets(shown, browser):
    text = browser.run("fetch('/api/state').then(a => a.text())") + browser.run("document.documentElement.outerHTML")
    for secret in ("hunter2", "10.1.2.3", "rtsp", "admin"):
        assert secret not in text


def test_a_page_that_nobody_sees_any_more_holds_no_connection(shown, browser):
    readers = shown.page._hub.board.readers
    assert readers["status"] == 1
    browser.open("about:blank")  # the browser keeps the page for Back
    deadline = monotonic() + 10
    while +readers:
        assert monotonic() < deadline, +readers
        sleep(0.05)


def test_without_the_token_there_is_a_form_and_with_it_the_page(run_page, browser):
    running = run_page("0123456789abcdef")
    browser.size(1280, 900)
    browser.open(running.url)
    browser.wait("document.querySelector('#token') !== null")
    fill = "document.querySelector('#token').value = '{}'; document.querySelector('form').requestSubmit()"
    browser.run(fill.format("wrong"))
    browser.wait("document.querySelector('.error')?.textContent === 'This is not the token.'")
    browser.run(
        "document.querySelector('#token').value = '0123456789abcdef'; document.querySelector('form').requestSubmit()"
    )
    browser.wait(f"{FRAME} > 1")
    assert browser.run("location.href") == f"{running.url}/"
    assert "session" not in browser.run("document.cookie")
