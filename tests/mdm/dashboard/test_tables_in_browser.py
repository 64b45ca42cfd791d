"""Tables in Chromium: the viewer's zone, saved views, undo, a file; and scanning on a phone."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from mdm.accounts.models import User
from mdm.models import NamedView
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.dashboard.test_in_browser import Window, _faults

pytestmark = pytest.mark.django_db(transaction=True)

# A browser that reads codes, of a camera that shows them one after the other.
READER = """
window.codes = [];
window.BarcodeDetector = class {
  static async getSupportedFormats() { return ["code_128", "ean_13"]; }
  async detect() { return window.codes.map((rawValue) => ({ rawValue })); }
};
navigator.mediaDevices.getUserMedia = async () => {
  if (window.refused) throw new DOMException("no", "NotAllowedError");
  const canvas = document.createElement("canvas");
  canvas.getContext("2d").fillRect(0, 0, 10, 10);
  window.stream = canvas.captureStream(5);
  return window.stream;
};
"""


@pytest.fixture
def window(chromium: Browser, live_server: Any, admin: User) -> Iterator[Any]:
    """Opens windows."""
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(chromium, live_server.url, **options))
        return opened[-1]

    yield open_window
    for each in opened:
        each.close()


def test_a_view_is_saved_opened_deleted_and_brought_back(window: Any, enroll: Enroll) -> None:
    enroll("C02MAC", platform="macOS")
    enroll("F17PHONE")
    here = window(timezone_id="Asia/Tokyo", viewport={"width": 1440, "height": 900})
    page = here.sign_in()
    page.goto("/devices/")
    expect(page.locator("time").first).to_have_attribute("title", re.compile(r"\(Asia/Tokyo\)$"))

    page.get_by_role("combobox", name="Platform").select_option("macOS")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Save what is shown now").fill("Macs")
    assert _faults(page, "views") == []
    page.get_by_role("button", name="Save view").click()
    expect(page.locator("#messages")).to_contain_text("Macs is saved")
    page.goto("/devices/")
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("button", name="Views").click()
    page.get_by_role("link", name="Macs").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="View: Macs").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#messages")).to_contain_text("Macs is deleted")
    assert not NamedView.objects.exists()
    assert _faults(page, "undo") == []
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("row")).to_have_count(2)
    assert NamedView.objects.get().query == "platform=macOS"

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "devices.csv"
    assert here.trouble == []


def test_a_phone_scans_the_serial_number_of_a_box(window: Any, enroll: Enroll) -> None:
    device = enroll("F17XK2LM9Q")
    here = window(viewport={"width": 390, "height": 844})
    here.sign_in()
    here.page.add_init_script(READER)
    page = here.page
    page.goto("/devices/")
    button = page.get_by_role("button", name="Scan a serial number")
    dialog = page.get_by_role("dialog")
    page.evaluate("window.refused = true")
    button.click()
    expect(dialog).to_contain_text("The camera was not allowed")
    assert _faults(page, "scan") == []
    page.keyboard.press("Escape")

    page.evaluate("window.refused = false")
    button.click()
    expect(dialog.locator("video")).to_be_visible()
    page.evaluate("window.codes = ['190199098428', '1PMLPF3LL/A']")
    expect(dialog).to_contain_text("This code is not a serial number")
    page.evaluate("window.codes = ['1PMLPF3LL/A', 'SF17XK2LM9Q']")
    page.wait_for_url(re.compile(rf"/devices/{device.pk}/"))
    # Which tab is open is seen, where they are wider than the page.
    page.goto(f"/devices/{device.pk}/audit/")
    expect(page.locator(".panel-tabs .active")).to_be_in_viewport()
    assert here.trouble == []


def test_where_the_browser_reads_no_codes_a_photo_of_a_box_is_read_all_the_same(
    window: Any, enroll: Enroll
) -> None:
    device = enroll("F17XK2LM9Q")
    here = window(viewport={"width": 390, "height": 844})
    here.sign_in()
    page = here.page
    page.goto("/devices/")
    assert page.evaluate("!('BarcodeDetector' in window)")
    page.get_by_role("button", name="Scan a serial number").click()
    photo = page.get_by_label("Or take a photo of the code")
    photo.set_input_files(_box(page, "190199098428"))
    expect(page.get_by_role("dialog")).to_contain_text("No serial number was found in this photo.")
    photo.set_input_files(_box(page, "1PMLPF3", "SF17XK2LM9Q"))
    page.wait_for_url(re.compile(rf"/devices/{device.pk}/"))
    assert here.trouble == []


def test_who_closed_the_scan_before_it_was_ready_is_not_asked_for_the_camera(window: Any) -> None:
    page = window(viewport={"width": 390, "height": 844}).sign_in()
    page.add_init_script(
        "window.asked = 0; navigator.mediaDevices.getUserMedia = async () => {"
        " window.asked += 1; throw new DOMException('', 'NotFoundError'); };"
    )
    held: list[Route] = []

    def hold(route: Route) -> None:
        route.continue_() if held else held.append(route)

    page.route("**/zxing.min.js", hold)
    page.goto("/devices/")
    button = page.get_by_role("button", name="Scan a serial number")
    with page.expect_request("**/zxing.min.js"):
        button.click()
    page.keyboard.press("Escape")
    with page.expect_event("requestfinished", lambda request: "zxing" in request.url):
        held[0].continue_()

    button.click()
    expect(page.get_by_role("dialog")).to_contain_text("There is no camera")
    assert page.evaluate("window.asked") == 1

    # Nor is a photo at fault where the reader is missing.
    page.route("**/zxing.min.js", lambda route: route.abort())
    page.reload()
    button.click()
    expect(page.get_by_role("dialog")).to_contain_text("could not be loaded")
    photo = page.get_by_label("Or take a photo of the code")
    photo.set_input_files(_box(page, "1PMLPF3"))
    expect(photo).to_have_value("")
    expect(page.get_by_role("dialog")).to_contain_text("could not be loaded")


def _box(page: Page, *codes: str) -> Any:
    """A photo of a box with these codes, in Code 39, one below the other."""
    drawn = page.evaluate(DRAW, [["".join(_CODE_39[c] + "n" for c in f"*{t}*") for t in codes]])
    return {
        "name": "box.png",
        "mimeType": "image/png",
        "buffer": base64.b64decode(drawn.partition(",")[2]),
    }


DRAW = """([codes]) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1200, 300 * codes.length];
  const brush = canvas.getContext("2d");
  brush.fillStyle = "white";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.fillStyle = "black";
  codes.forEach((code, row) => {
    let left = 60;
    [...code].forEach((size, place) => {
      const width = size === "w" ? 9 : 3;
      if (place % 2 === 0) brush.fillRect(left, 300 * row + 80, width, 140);
      left += width;
    });
  });
  return canvas.toDataURL("image/png");
}"""
# Bars and spaces of each character, narrow or wide.
_BARS = (
    "nnnwwnwnnwnnwnnnnwnnwwnnnnwwnwwnnnnnnnnwwnnnwwnnwwnnnnnnwwwnnnnnnnwnnwnwwnnwnnwnn"
    "nnwwnnwnnnnwnwwnnnwnnnnnnwwnnwnnnnwwwnwnnnnwnnnwnwnnwnnnnnnnwwwnnwnnnwwnnwnnwnnnw"
    "nwnnwnwnn"
)
_CODE_39 = {
    character: _BARS[9 * place : 9 * place + 9]
    for place, character in enumerate("0123456789FKLMPQSX*")
}
