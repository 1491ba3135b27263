from dataclasses import replace
from html.parser import HTMLParser

from tidemill.report import Material, build, page
from tidemill.report.markup import VOID
from tidemill.report.material import Windows

HOSTILE = "<script>alert(1)</script>"
DIRECTION = "abc\u202edef\u0000g"


class Reader(HTMLParser):
    """Raises where an element is not closed in its order; collects what there is."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.ids = [], [], [], []
        self.words = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_says_what_is_in_it(material):
    reader = read(page(build(material)))
    words = " ".join(reader.words)
    assert reader.tags[:2] == ["html", "head"]
    assert "1 of 4 features differ from the reference: delay." in words
    assert "delay has moved from 10 to 22." in words
    assert "out_of_range" in words
    anchors = {value.removeprefix("#") for tag, name, value in reader.attributes if tag == "a" and name == "href"}
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert anchors == set(ids)
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing_and_runs_nothing(material):
    reader = read(page(build(material)))
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert [(tag, value) for tag, name, value in reader.attributes if name in ("src", "href") and value[0] != "#"] == []
    assert [name for _, name, _ in reader.attributes if name.startswith("on")] == []
    assert "url(" not in page(build(material))
    assert (
        "meta",
        "content",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ) in (reader.attributes)


def test_every_drawing_has_its_text_and_every_section_a_table(material):
    reader = read(page(build(material)))
    drawings = reader.tags.count("svg")
    told = [value for tag, name, value in reader.attributes if tag == "svg" and name == "aria-label"]
    assert drawings > 10
    assert len(told) == drawings - 1, "only the axis that strips share says nothing by itself"
    assert all(told)
    assert reader.tags.count("table") >= 6


def test_what_users_send_is_text(make_day, make_alert, material):
    windows = Windows()
    for number in range(3):
        windows.add(make_day(number, carriers=(HOSTILE, DIRECTION, "'\"&"), version="<b>v</b>"))
    hostile = replace(
        material,
        pipeline=HOSTILE,
        windows=windows,
        alerts=[make_alert("a" * 16, message=HOSTILE, subject=HOSTILE, acknowledged_by="</td>", opened=1, updated=1)],
    )
    hostile.rejections.add(HOSTILE, HOSTILE, 1_357_000_000_000)
    html = page(build(hostile))
    reader = read(html)
    assert "script" not in reader.tags
    assert HOSTILE in reader.words
    assert "\u202e" not in html
    assert "\u0000" not in html
    assert "abc\ufffddef\ufffdg" in html


def test_the_same_report_has_the_same_bytes(material, windows):
    again = Windows(merged=dict(reversed(list(windows.merged.items()))))
    assert page(build(material)) == page(build(replace(material, windows=again)))


def test_the_page_stays_small_however_much_there_is(material):
    made = build(material)
    sizes = [
        len(
            page(
                replace(
                    made,
                    columns=made.columns * many,
                    history=made.history * many,
                    alerts=made.alerts * many,
                    rejections=replace(made.rejections, reasons=made.rejections.reasons * many),
                )
            )
        )
        for many in (200, 400)
    ]
    assert sizes[1] < sizes[0] + 100
    assert sizes[1] < 500_000


def test_the_least_there_can_be(make_day):
    windows = Windows()
    windows.add(make_day(0, n=1)[:1])
    html = page(build(Material("mill", windows)))
    words = " ".join(read(html).words)
    assert "There is no reference to compare with yet" in words
    assert "No incident in this time." in words
    assert "No event was rejected." in words
