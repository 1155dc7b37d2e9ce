"""A headless Chromium.  Where there is none, what needs it is skipped."""

import json
import shutil
from contextlib import suppress

import pytest

ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all tests; selenium is given the driver, and so downloads none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


class Page:
    """A page in the browser."""

    def __init__(self, chromium, file, width=1280, height=1000):
        self.chromium = chromium
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.address, self.width = file.as_uri(), width
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get(self.address)

    def __call__(self, script, *arguments):
        """The value of an expression."""
        return self.chromium.execute_script(f"return {script}", *arguments)

    def one(self, selector):
        return self.chromium.find_element("css selector", selector)

    def all(self, selector):
        return self.chromium.find_elements("css selector", selector)

    def click(self, selector):
        self("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.one(selector).click()

    def keys(self, *keys):
        """Type into whatever has the focus."""
        self.chromium.switch_to.active_element.send_keys(*keys)

    def tab_to(self, selector):
        """Press the tabulator until an element has the focus."""
        for _ in range(200):
            if self("document.activeElement.matches(arguments[0])", selector):
                return
            self.keys("\ue004")
        raise AssertionError(f"the tabulator does not reach {selector}")

    def wait(self, condition):
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.chromium, 20).until(lambda _: self(condition))

    def text(self, selector):
        return self("document.querySelector(arguments[0]).textContent", selector)

    def requests(self):
        """What the page asked for, itself apart."""
        messages = (
            json.loads(e["message"])["message"] for e in self.chromium.get_log("performance")
        )
        sent = (m["params"] for m in messages if m["method"] == "Network.requestWillBeSent")
        addresses = [params["request"]["url"] for params in sent]
        loaded = self("performance.getEntriesByType('resource').map((entry) => entry.name)")
        return [url for url in addresses + loaded if url != self.address and url[:5] != "data:"]

    def complaints(self):
        return self.chromium.get_log("browser")

    def overflow(self):
        """What sticks out of the window to the right, and does not scroll by itself."""
        return self(
            "document.documentElement.scrollWidth > arguments[0] && [...document.querySelectorAll"
            "('*')].filter((e) => e.getBoundingClientRect().right > arguments[0])"
            ".map((e) => e.outerHTML.slice(0, 200))",
            self.width,
        )


@pytest.fixture
def visit(chromium):
    """visit(file, width) -> Page; at the end no request has left it, and nothing was logged."""
    pages = []

    def visit(file, **size):
        pages.append(Page(chromium, file, **size))
        return pages[-1]

    yield visit
    for page in pages[-1:]:
        assert page.requests() == []
        assert page.complaints() == []
    with suppress(Exception):
        chromium.get("about:blank")
