"""The page of a report in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from lbsim import Scenario
from lbsim.report import Report, ReportScenarios, labelled, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH: apt-get install chromium")

LOOK = """
<script>
addEventListener("load", () => {
  const found = {};
  found.pictures = [...document.images].map(one => [one.naturalWidth, one.getBoundingClientRect().width]);
  const asked = performance.getEntriesByType("resource").map(one => one.name);
  found.requests = asked.filter(name => !name.startsWith("data:"));
  const table = document.querySelector("#summary table"), cells = column =>
    [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.by));
  const head = table.tHead.rows[0].cells[1];
  found.before = cells(1);
  head.querySelector("button").click();
  found.up = cells(1);
  found.told = head.getAttribute("aria-sort");
  head.querySelector("button").click();
  found.down = cells(1);
  found.wide = document.documentElement.scrollWidth;
  document.title = "FOUND" + JSON.stringify(found) + "FOUND";
});
</script></body>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    scenarios = [Scenario.of(gpus=gpus, cluster="mn-1", batch_per_gpu=batch) for gpus, batch in ((64, 32), (8, 64))]
    scenarios.append(Scenario.of(gpus=128, batch_per_gpu=16))
    figures = ("scaling", "timeline", "trade_off")
    write(Report("A page", ReportScenarios(labelled(scenarios)), "lbsim report", figures), place)
    page = place / "seen.html"
    page.write_text((place / "index.html").read_text().replace("</body>", LOOK))
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--window-size=400,800",
            f"--user-data-dir={place / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    told = re.search(r"FOUND(.*?)FOUND", done.stdout)
    assert told, done.stdout[:500] + done.stderr[-2000:]
    return json.loads(unescape(told[1])) | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}


def test_every_picture_shows(seen):
    assert len(seen["pictures"]) == 3
    assert all(natural > 0 and shown > 0 for natural, shown in seen["pictures"])


def test_nothing_is_asked_of_a_network_and_nothing_is_complained_of(seen):
    assert seen["requests"] == []
    assert seen["console"] == []


def test_a_click_on_a_head_sorts_the_table_and_another_turns_it_round(seen):
    assert sorted(seen["before"]) == [8, 64, 128]
    assert seen["before"] != sorted(seen["before"])
    assert seen["up"] == [8, 64, 128]
    assert seen["told"] == "ascending"
    assert seen["down"] == [128, 64, 8]


def test_a_phone_does_not_scroll_sideways(seen):
    assert seen["wide"] <= 500  # Chromium makes no headless window narrower
