"""Dask's dashboards in the real browser: what their plots hold, as bokeh in the page has it."""

from playwright.sync_api import Frame, Page

from tests.helpers import wait_until

ROWS = """() => window.Bokeh && Bokeh.documents.length ? Bokeh.documents.flatMap(document =>
    [...document._all_models.values()].filter(model => model.type === 'ColumnDataSource' && model.get_length())
        .map(source => source.get_length())).reduce((one, other) => Math.max(one, other), 0) : 0"""
"""The longest source of data behind any plot of a page."""

DRAWN = """() => [...document.querySelectorAll('*')].flatMap(function found(element) {
    return [...(element.tagName === 'CANVAS' ? [element] : []),
            ...(element.shadowRoot ? [...element.shadowRoot.querySelectorAll('*')].flatMap(found) : [])];
}).filter(canvas => canvas.width && canvas.height &&
    canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte)).length"""
"""How many canvases have anything on them; bokeh's are in shadow roots."""

LEFT_BAR = '.jp-SideBar [data-id="dask-dashboard-launcher"]'


def open_page(page: Page, url: str) -> Page:
    tab = page.context.new_page()
    tab.set_default_timeout(90_000)
    answer = tab.goto(url)
    assert answer
    assert answer.status == 200, f"{url}: {answer.status}"
    return tab


def await_drawn(frame: Page | Frame, rows: int, timeout_s: float = 30) -> None:
    """Until a plot of that page has as many rows, and a canvas something on it."""
    wait_until(lambda: frame.evaluate(ROWS) >= rows or None, timeout_s, f"{rows} rows in a plot of {frame.url}")
    wait_until(lambda: frame.evaluate(DRAWN), timeout_s, f"something is drawn at {frame.url}")


def await_rows(frame: Page | Frame, rows: int, timeout_s: float = 30) -> None:
    wait_until(lambda: frame.evaluate(ROWS) >= rows or None, timeout_s, f"{rows} rows in a table of {frame.url}")


class DaskPanes:
    """The sidebar of dask-labextension in an open JupyterLab."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.set_default_timeout(60_000)
        if not page.locator(".dask-DaskClusterManager").is_visible():
            page.click(LEFT_BAR)

    def find(self) -> str:
        """The dashboard that the magnifying glass finds: that of the open notebook."""
        box = self._page.locator(".dask-DaskDashboardLauncher input")
        box.fill("")
        self._page.locator(".dask-URLInput jp-button, .dask-URLInput button").first.click()
        return wait_until(box.input_value, 30, "a dashboard is found")

    def new_cluster(self) -> None:
        self._page.click(
            '.dask-DaskClusterManager button:has-text("NEW"), .dask-DaskClusterManager [title*="Start New"]'
        )
        self._page.wait_for_selector(".dask-ClusterListingItem")

    def open(self, label: str) -> Frame:
        """A pane with one plot of the cluster that is chosen, as a tab of JupyterLab."""
        self._page.click(f'.dask-DashboardListing-item button[value="{label}"]:enabled')
        route = label.lower().replace(" ", "-")

        def opened() -> Frame | None:
            self._page.wait_for_timeout(50)  # it is told of new frames while it waits
            return next((frame for frame in self._page.frames if frame.url.endswith(f"/individual-{route}")), None)

        found = wait_until(opened, 30, f"the pane {label}")
        assert found
        return found

    def shut_down(self) -> None:
        self._page.click(".dask-ClusterListingItem-stop")
        self._page.wait_for_selector(".dask-ClusterListingItem", state="detached")

    def shown(self) -> str:
        return self._page.locator(".dask-DaskClusterManager").inner_text()
