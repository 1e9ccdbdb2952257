"""Home Assistant's frontend, as far as tests use it: pages, dialogs, rows.

Its pages are made of shadow roots inside shadow roots. Locators reach into them; texts
do not and are read by `text_of`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
import re
from typing import Any, Final

from playwright.sync_api import Download, Locator, Page, TimeoutError, expect

from scripts.demonstration.browser import READ_TEXT

INTEGRATION_PAGE: Final = "/config/integrations/integration/homebattery"
ANSWER: Final = 60_000
"""Milliseconds that the answer to a form may take: a device is read meanwhile."""
_END: Final = re.compile("^(Finish|Skip and finish|OK|Close)$")


def text_of(element: Locator) -> str:
    """Return the visible text of an element."""
    return str(element.evaluate(READ_TEXT))


class Dialog:
    """The dialog of a config, options or repair flow."""

    def __init__(self, page: Page) -> None:
        """Locate the dialog; it may still be opening."""
        self._page = page
        self.element = page.locator("dialog-data-entry-flow")

    @property
    def text(self) -> str:
        """The visible text of the dialog."""
        return text_of(self.element)

    def choose(self, option: str) -> None:
        """Choose an option of a menu."""
        self.element.get_by_text(option, exact=True).click()

    def field(self, label: str) -> Locator:
        """Return the box of a field."""
        name = re.compile(rf"^\s*{re.escape(label)}\s*\*?\s*$")
        return self.element.get_by_role("textbox", name=name).or_(
            self.element.get_by_role("spinbutton", name=name)
        )

    def expect_text(self, text: str) -> None:
        """Wait until a text is shown."""
        expect(self.element.get_by_text(text)).to_be_visible()

    def expect(self, label: str) -> None:
        """Wait until a field is shown."""
        expect(self.field(label)).to_be_visible(timeout=ANSWER)

    def fill(self, fields: dict[str, Any]) -> None:
        """Type into fields."""
        for label, value in fields.items():
            self.field(label).fill(str(value))

    def _switch(self, label: str) -> Locator:
        """Return the switch of a field."""
        row = self.element.locator("ha-selector-boolean", has_text=label)
        return row.get_by_role("switch")

    def toggle(self, label: str) -> None:
        """Click the switch of a field."""
        # The thumb of the switch covers its box.
        self._switch(label).click(force=True)

    def is_on(self, label: str) -> bool:
        """Whether the switch of a field is on."""
        return self._switch(label).is_checked()

    def choose_line(self, text: str) -> None:
        """Choose the line of a list that begins with a text."""
        line = re.compile(rf"^{re.escape(text)}")
        self.element.get_by_role("radio", name=line).click()

    def _choices(self, label: str) -> Locator:
        """Return the list of a field, whose items are all in view."""
        return self.element.locator("ha-selector-select", has_text=label)

    def pick(self, label: str, item: str) -> None:
        """Pick an item of the list of a field."""
        self._choices(label).get_by_role("radio", name=item, exact=True).click()

    def chosen(self, label: str) -> str:
        """Return the item that is picked in the list of a field."""
        picked = self._choices(label).get_by_role("radio", checked=True)
        return str(picked.get_attribute("aria-label") or text_of(picked))

    def open_section(self) -> None:
        """Open the section of advanced fields, unless it is open."""
        panel = self.element.locator("ha-expansion-panel")
        if panel.get_attribute("expanded") is None:
            panel.get_by_role("button").first.click()
            expect(panel).to_have_attribute("expanded", "")

    @property
    def section_is_open(self) -> bool:
        """Whether the section of advanced fields is open."""
        panel = self.element.locator("ha-expansion-panel")
        return panel.get_attribute("expanded") is not None

    def submit(self) -> None:
        """Submit the form; the next call waits for the result."""
        self.element.get_by_role("button", name="Submit").click()

    def error(self) -> str:
        """Wait for an error, of a field or of the form; return its text."""
        alert = self.element.locator("ha-alert").first
        alert.wait_for(timeout=ANSWER)
        return text_of(alert)

    def finish(self) -> str:
        """Wait until the flow has succeeded, and close it; return its last text."""
        end = self.element.locator("step-flow-create-entry, step-flow-abort")
        try:
            end.wait_for(timeout=ANSWER)
        except TimeoutError:
            raise AssertionError(f"It did not succeed: {self.text}") from None
        said = self.text
        self.element.get_by_role("button", name=_END).last.click()
        expect(self.element.locator("ha-dialog")).to_be_hidden()
        return said

    def close(self) -> None:
        """Close the dialog without an answer."""
        self.element.get_by_role("button", name="Close").first.click()
        expect(self.element.locator("ha-dialog")).to_be_hidden()


class Dashboard:
    """A dashboard that is open: its cards, by the texts on them."""

    def __init__(self, page: Page) -> None:
        """Use the page on which the dashboard is."""
        self._page = page

    def tiles(self, name: str | re.Pattern[str]) -> Locator:
        """Return the tiles of a name."""
        exactly = self._page.get_by_text(name, exact=True)
        return self._page.locator("hui-tile-card").filter(has=exactly, visible=True)

    def expect_tile(
        self,
        name: str | re.Pattern[str],
        state: str | re.Pattern[str] = "",
        seconds: float = 60,
    ) -> None:
        """Wait until a tile of a name shows a state."""
        shown = self.tiles(name).filter(has_text=state).first
        expect(shown).to_be_visible(timeout=seconds * 1000)

    def expect_no_tile(self, name: str) -> None:
        """Wait until no tile of a name is shown."""
        expect(self.tiles(name)).to_have_count(0)

    def expect_cards(self, kind: str, count: int) -> None:
        """Wait until so many cards of a type are shown."""
        shown = self._page.locator(f"hui-{kind}-card").filter(visible=True)
        expect(shown).to_have_count(count)

    def expect_row(self, name: str, value: str) -> None:
        """Wait until the row of an attribute shows a value, in full."""
        rows = self._page.locator("hui-attribute-row", has_text=name)
        expect(rows.filter(has_text=value)).to_be_visible()

    def expect_no_row(self, name: str) -> None:
        """Wait until no row of an attribute of this name is shown."""
        rows = self._page.locator("hui-attribute-row", has_text=name)
        expect(rows.filter(visible=True)).to_have_count(0)

    def _heading(self, text: str) -> Locator:
        return self._page.get_by_role("heading", name=text, exact=True)

    def expect_heading(self, text: str) -> None:
        """Wait until a heading is shown."""
        expect(self._heading(text).first).to_be_visible()

    def expect_no_heading(self, text: str) -> None:
        """Wait until a heading is not there any more."""
        expect(self._heading(text)).to_have_count(0)

    def expect_in_graph(self, position: int, name: str) -> None:
        """Wait until the graph at a position names a line so."""
        graph = self._page.locator("hui-history-graph-card").nth(position)
        expect(graph.get_by_text(name, exact=True)).to_be_visible()

    def expect_title(self, title: str) -> None:
        """Wait until the bar above a subview shows its title."""
        bar = self._page.locator("hui-root .toolbar .main-title")
        expect(bar).to_have_text(title)

    def expect_no_errors(self) -> None:
        """Check that no card complains."""
        expect(self._page.locator("hui-error-card, hui-warning")).to_have_count(0)

    def open(self, battery: str) -> None:
        """Open the view of a battery, by its heading."""
        self._heading(battery).click()
        expect(self._page).to_have_url(re.compile("/battery-"))

    def open_tab(self, battery: str) -> None:
        """Open the view of a battery, by its tab."""
        self._page.get_by_role("tab", name=battery, exact=True).click()

    def components(self) -> list[str]:
        """Return the parts of Home Assistant that are loaded."""
        components: list[str] = self._page.evaluate(
            "document.querySelector('home-assistant').hass.config.components"
        )
        return components

    def made_for(self, **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the views that are made where Home Assistant differs in some objects."""
        views: list[dict[str, Any]] = self._page.evaluate(
            """async (changes) => {
              const { hass } = document.querySelector("home-assistant");
              const other = { ...hass };
              for (const [name, values] of Object.entries(changes)) {
                other[name] = { ...hass[name], ...values };
              }
              const tag = "ll-strategy-dashboard-homebattery";
              return (await customElements.get(tag).generate({}, other)).views;
            }""",
            changes,
        )
        return views

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Keep the page without its connection to Home Assistant meanwhile."""
        self._page.evaluate(
            """() => {
              const { connection } = document.querySelector("home-assistant").hass;
              const back = new Promise((resolve) => { window.goOnline = resolve; });
              connection.suspendReconnectUntil(back);
              connection.suspend();
            }"""
        )
        yield
        self._page.evaluate(
            """() => new Promise((resolve) => {
              const { connection } = document.querySelector("home-assistant").hass;
              connection.addEventListener("ready", () => resolve());
              window.goOnline();
            })"""
        )

    def slide(self, name: str, share: float) -> None:
        """Move the slider of a tile to this share of its way, 0 to 1."""
        slider = self.tiles(name).get_by_role("slider")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box is not None
        slider.click(position={"x": box["width"] * share, "y": box["height"] / 2})

    def press(self, name: str | re.Pattern[str]) -> None:
        """Press the button of a name."""
        self._page.locator("hui-button-card").get_by_role("button", name=name).click()

    def go_back(self) -> None:
        """Go back from a subview."""
        self._page.locator("hui-root").locator("ha-icon-button-arrow-prev").click()

    def go_to_overview(self) -> None:
        """Go to the first view."""
        self._page.get_by_role("tab").first.click()


class Frontend:
    """One browser window on Home Assistant."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        """Use a page of the browser; pictures go into a folder."""
        self.page = page
        self._url = url
        self._pictures = pictures

    def picture(self, name: str) -> None:
        """Keep a picture of the page."""
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._pictures / f"{name}.png")

    def go(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(f"{self._url}{path}")

    def click_in_sidebar(self, name: str) -> None:
        """Go to a page by the sidebar, without loading the frontend anew."""
        self.page.locator("ha-sidebar").get_by_role("link", name=name).click()

    # Flows

    def add_integration(self) -> Dialog:
        """Click "Add integration" and choose Home Battery; return its first dialog."""
        self.go("/config/integrations/dashboard")
        self.page.get_by_role("button", name="Add integration").click()
        self.page.get_by_placeholder("Search for a brand name").fill("home battery")
        # A battery that is set up has a card of that name on the page behind.
        brands = self.page.locator("dialog-add-integration")
        brands.get_by_text("Home Battery", exact=True).first.click()
        return Dialog(self.page)

    def entry(self, title: str) -> Locator:
        """Go to the integration's page; return the row of a battery."""
        self.go(INTEGRATION_PAGE)
        return self.page.locator("ha-config-entry-row", has_text=title)

    def options(self, title: str) -> Dialog:
        """Open the options of a battery."""
        self.entry(title).get_by_role("button", name="Configure").click()
        return Dialog(self.page)

    def choose_from_menu(self, title: str, item: str) -> None:
        """Choose an item of the menu of a battery."""
        self.entry(title).get_by_role("button", name="Menu").first.click()
        self.page.get_by_role("menuitem", name=item).click()

    def reconfigure(self, title: str) -> Dialog:
        """Open the form that reconfigures a battery."""
        self.choose_from_menu(title, "Reconfigure")
        return Dialog(self.page)

    def delete(self, title: str) -> None:
        """Delete a battery and confirm it."""
        self.choose_from_menu(title, "Delete")
        self.page.get_by_role("button", name="Delete").click()

    def download_diagnostics(self, title: str) -> Download:
        """Download the diagnostics of a battery."""
        with self.page.expect_download(timeout=ANSWER) as download:
            self.choose_from_menu(title, "Download diagnostics")
        return download.value

    def sign_in_again(self, title: str) -> Dialog:
        """Open the form that asks for the password again."""
        self.go(INTEGRATION_PAGE)
        self.page.get_by_role("button", name="Reconfigure").click()
        return Dialog(self.page)

    def fix(self, issue: str) -> Dialog:
        """Open a repair issue, by its title."""
        self.go("/config/repairs")
        self.page.get_by_text(issue, exact=True).click()
        return Dialog(self.page)

    # Tools

    def choose_action(self, action: str, device: str) -> Locator:
        """Choose an action and its target device; return the form of its data."""
        self.go("/config/tools/action")
        self.page.locator("ha-service-picker").click()
        self._pick(action)
        self.page.get_by_role("button", name="Add target").click()
        self.page.get_by_role("button", name="Devices", exact=True).click()
        self._pick(device)
        chosen = self.page.locator("ha-target-picker-item-row", has_text=device)
        expect(chosen).to_be_visible()
        return self.page.locator("ha-service-control")

    def _pick(self, item: str) -> None:
        """Search for an item in the list that is open, and choose it."""
        box = self.page.locator("ha-picker-combo-box")
        box.locator("input").fill(item)
        box.locator("ha-combo-box-item", has_text=item).first.click()

    def perform_action(self) -> str:
        """Perform the action that was chosen; return its response."""
        self.page.get_by_role("button", name="Perform action").click()
        response = self.page.locator("ha-card", has_text="Response")
        response.wait_for(timeout=ANSWER)
        return text_of(response)

    # Blueprints

    def import_blueprint(self, url: str) -> None:
        """Import a blueprint from an address."""
        self.go("/config/blueprint/dashboard")
        self.page.get_by_role("button", name="Import blueprint").click()
        dialog = self.page.locator("ha-dialog-import-blueprint")
        dialog.locator("input").first.fill(url)
        dialog.get_by_role("button", name="Preview").click()
        dialog.get_by_role("button", name="Import blueprint").click()
        expect(dialog.locator("ha-dialog")).to_be_hidden()

    def new_automation(self, blueprint: str) -> Locator:
        """Start an automation made of a blueprint; return the form of its inputs."""
        self.go("/config/blueprint/dashboard")
        self.page.get_by_text(blueprint, exact=True).click()
        return self.page.locator("blueprint-automation-editor")

    def choose(self, picker: Locator, item: str) -> None:
        """Choose an item in a picker of devices or entities."""
        picker.click()
        self._pick(item)

    def save_automation(self) -> None:
        """Save the automation under the proposed name."""
        self.page.get_by_role("button", name="Save").click()

    # Dashboards

    def add_dashboard(self, kind: str, title: str) -> None:
        """Add a dashboard of a kind that the dialog offers, under a title."""
        self.go("/config/lovelace/dashboards")
        self.page.get_by_role("button", name="Add dashboard").click()
        dialog = self.page.locator("ha-dialog", has_text=kind)
        dialog.get_by_text(kind, exact=True).click()
        details = self.page.locator("dialog-lovelace-dashboard-detail")
        details.locator("input[name=title]").fill(title)
        details.get_by_role("button", name="Create").click()

    def dashboard(self, path: str) -> Dashboard:
        """Go to a dashboard."""
        self.go(path)
        return Dashboard(self.page)

    # A device's page

    def row(self, name: str) -> Locator:
        """Return the row of an entity on a device's page."""
        rows = self.page.locator(
            "hui-sensor-entity-row, hui-number-entity-row, hui-select-entity-row,"
            "hui-simple-entity-row, hui-toggle-entity-row"
        )
        exactly = self.page.get_by_text(name, exact=True)
        return rows.filter(has=exactly)

    def expect_state(
        self, name: str, state: str | re.Pattern[str], seconds: float = 60
    ) -> None:
        """Wait until an entity shows a state."""
        shown = self.row(name).filter(has_text=state)
        expect(shown).to_be_visible(timeout=seconds * 1000)

    def details(self, name: str) -> str:
        """Open the details of an entity; return their text."""
        self.row(name).get_by_text(name, exact=True).click()
        dialog = self.page.locator("ha-more-info-dialog")
        dialog.get_by_role("button", name="Menu").click()
        self.page.get_by_role("menuitem", name="Details").click()
        details = dialog.locator("ha-more-info-details")
        details.wait_for()
        return text_of(details)

    def number(self, name: str) -> str:
        """Return the value in the row of a number; empty while it is unknown."""
        return self.row(name).locator("input").input_value()

    def set_number(self, name: str, value: float) -> None:
        """Type a number into the row of an entity."""
        box = self.row(name).locator("input")
        box.fill(f"{value:g}")
        box.press("Enter")

    def select(self, name: str, option: str) -> None:
        """Choose an option in the row of an entity."""
        self.row(name).click()
        self.page.get_by_role("menuitem", name=option, exact=True).click()
