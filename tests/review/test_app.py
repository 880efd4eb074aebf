from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")
from fastapi.testclient import TestClient

from labelsieve.files import uri_to_path
from labelsieve.review.server import Names, make_app
from labelsieve.review.session import Review
from labelsieve.runs.decisions import Decisions

TOKEN, HOST = "a-token", "127.0.0.1:9999"
HTMX = {"hx-request": "true", "origin": f"http://{HOST}"}


class Form(HTMLParser):
    """The hidden fields of a form, the image and the texts of a card."""

    def __init__(self, html: str, action: str = "decide") -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.images: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._action, self._inside = action, False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        a = dict(attrs)
        self.tags.append((tag, a))
        if tag == "form":
            self._inside = a.get("action") == self._action and a.get("method") == "post"
        if (
            tag == "input"
            and self._inside
            and a.get("type") == "hidden"
            and a.get("name")
        ):
            self.fields[a["name"]] = a.get("value") or ""
        if tag == "img":
            self.images.append(a.get("src") or "")


class Window:
    """A browser window that speaks HTTP: what htmx does, without a browser."""

    def __init__(self, client: TestClient, query: str = "") -> None:
        self.client = client
        answer = client.get(f"/{TOKEN}/{query}")
        assert answer.status_code == 200, answer.text
        self.html = answer.text
        self.form = Form(self.html)
        self.name = self.form.fields["w"]

    def say(self, verdict: str, label: str = "") -> str:
        return self.send(
            "decide", {**self.form.fields, "verdict": verdict, "label": label}
        )

    def undo(self) -> str:
        return self.send(
            "undo",
            {
                k: v
                for k, v in self.form.fields.items()
                if k in ("w", "given", "suggested", "least", "show", "decided", "text")
            },
        )

    def send(self, where: str, fields: dict[str, str]) -> str:
        answer = self.client.post(f"/{TOKEN}/{where}", data=fields, headers=HTMX)
        assert answer.status_code == 200, answer.text
        self.html, self.form = answer.text, Form(answer.text)
        return self.form.fields.get("sample_id", "")

    @property
    def shown(self) -> str:
        return self.form.fields.get("sample_id", "")


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


@pytest.fixture
def client(review: Review) -> TestClient:
    return TestClient(make_app(review, TOKEN, Names()), base_url=f"http://{HOST}")


def on_disk(planted: Any) -> dict[str, tuple[str, str | None]]:
    return {
        i: (d.verdict, d.label)
        for i, d in Decisions(planted.folder).all_current().items()
    }


def test_a_session_of_thirty_decisions(planted: Any, client: TestClient) -> None:
    window = Window(client, "?show=all")
    expected = {}
    for number in range(30):
        sample_id = window.shown
        verdict = ("keep", "accept", "none", "other", "skip")[number % 5]
        label = "two" if verdict == "other" else ""
        suggested = next(
            r["suggested_label"]
            for r in planted.run.scores.to_pylist()
            if r["sample_id"] == sample_id
        )
        following = window.say(verdict, label)
        given = planted.given[sample_id]
        said = (
            ("keep", None)
            if given
            in {"other": ("two",), "accept": (suggested,)}.get(
                verdict, ()
            )  # whatever the key: it is right
            else (verdict, {"accept": suggested, "other": "two"}.get(verdict))
        )
        expected[sample_id] = said
        assert (
            on_disk(planted) == expected and following != sample_id
        )  # on disk before the page answered
    assert len(expected) == 30 and "24</b> of 48 left" in window.html
    assert window.undo() in expected
    assert len(on_disk(planted)) == 29 and "1 decision undone." in window.html


def test_two_windows_do_not_lose_each_others_work(
    planted: Any, client: TestClient
) -> None:
    one, two = Window(client), Window(client)
    assert one.name != two.name and one.shown != two.shown
    for _ in range(4):
        one.say("keep")
        two.say("none")
    assert (
        sorted(v for v, _ in on_disk(planted).values()) == ["keep"] * 4 + ["none"] * 4
    )
    two.undo()
    assert (
        sorted(v for v, _ in on_disk(planted).values()) == ["keep"] * 4 + ["none"] * 3
    )


def test_a_decision_that_came_too_late_is_not_lost_but_asked_again(
    planted: Any, client: TestClient
) -> None:
    one = Window(client)
    sample_id = one.shown
    Decisions(planted.folder).add(sample_id, "none", by="a script")
    assert (
        one.say("keep") == sample_id
        and "Another window decided" in one.html
        and "no class fits" in one.html
    )
    assert on_disk(planted) == {sample_id: ("none", None)}
    one.say("keep")
    assert on_disk(planted) == {sample_id: ("keep", None)}


def post(client: TestClient, route: str, **fields: object) -> Any:
    return client.post(f"/{TOKEN}/{route}", data=fields, headers=HTMX)


def test_one_answer_for_a_whole_confusion_is_confirmed_and_undone_as_one(
    planted: Any, client: TestClient
) -> None:
    given, suggested, n = _pair(planted)
    pair = {"given": given, "suggested": suggested}
    answer = {"verdict": "accept", "w": "me", **pair}
    late = post(client, "decide-all", count=99, **answer)
    assert late.status_code == 409 and f"These are {n} images now" in late.text
    old = post(client, "decide-all", count=n, **answer)
    assert old.status_code == 422 and "Reload the page" in old.text
    assert on_disk(planted) == {}
    query = urlencode({"w": "me", **pair})
    screen = client.get(f"/{TOKEN}/cells?{query}&sort=class&count=1").json()
    answer["suggestions"] = screen["suggestions"]
    assert post(client, "decide-all", count=n, **answer).json()["written"] == n
    assert on_disk(planted) == {
        i: ("accept", suggested)
        for i in planted.wrong
        if (planted.given[i], planted.truth[i]) == (given, suggested)
    }
    undone = post(client, "undo-many", w="me").json()
    assert len(undone["rows"]) == n and on_disk(planted) == {}


def test_a_screen_of_the_grid_is_judged_in_one_write(
    planted: Any, client: TestClient
) -> None:
    page = client.get(f"/{TOKEN}/grid?w=me")
    assert page.status_code == 200 and 'id="grid"' in page.text
    screen = client.get(f"/{TOKEN}/cells?w=me&count=8&sort=name").json()
    paths = [cell["path"] for cell in screen["cells"]]
    assert screen["total"] == len(planted.wrong) and paths == sorted(paths)
    rows = ",".join(str(cell["row"]) for cell in screen["cells"])
    seen = ",".join(str(cell["seen"]) for cell in screen["cells"])
    answer = {"rows": rows, "seen": seen, "verdict": "accept", "w": "me", "name": "Ada"}
    # a page that does not say what it showed: of an earlier version
    for offered in ("", "{", "[1]", '"two"'):
        old = post(client, "decide-many", **answer, offered=offered)
        assert old.status_code == 422 and "Reload the page" in old.text
    assert on_disk(planted) == {}
    answer["offered"] = json.dumps([cell["offer"] for cell in screen["cells"]])
    assert post(client, "decide-many", **answer).json() == {"written": 8, "refused": 0}
    assert len(on_disk(planted)) == 8
    # sent once more: what was seen is no longer what holds
    assert post(client, "decide-many", **answer).json() == {"written": 0, "refused": 8}
    told = client.get(f"/{TOKEN}/some?w=me&rows={rows}").json()
    assert [c["person"] for c in told["cells"]] == ["Ada"] * 8
    assert told["progress"]["done"] == 8
    left = client.get(f"/{TOKEN}/rows").json()
    assert left["total"] == len(planted.wrong) - 8
    short = post(client, "decide-many", rows="1,2", seen="0", verdict="keep", w="me")
    assert short.status_code == 422


def test_a_suggestion_that_changes_before_the_answer_is_not_stored(
    planted: Any, review: Review, client: TestClient
) -> None:
    suspects, window = review.suspects, Window(client)
    one, expected = window.shown, window.form.fields["offered"]
    screen = client.get(f"/{TOKEN}/cells?w=me&count=3&start=1").json()["cells"]
    assert expected == planted.truth[one] and expected in window.html
    suspects.offered = (suspects.offered + 1) % len(suspects.columns.classes)
    window.say("accept")
    suspects.offered = (suspects.offered + 1) % len(suspects.columns.classes)
    fields = {
        "rows": ",".join(str(cell["row"]) for cell in screen),
        "seen": ",".join(str(cell["seen"]) for cell in screen),
    }
    offered = json.dumps([cell["offer"] for cell in screen])
    post(client, "decide-many", **fields, verdict="accept", offered=offered, w="me")
    shown = {suspects.columns.sample_id(c["row"]): c["offered"] for c in screen}
    wanted = {one: expected, **shown}
    assert on_disk(planted) == {i: ("accept", label) for i, label in wanted.items()}


def test_the_map_is_sent_as_numbers(planted: Any, client: TestClient) -> None:
    assert client.get(f"/{TOKEN}/map?w=me").status_code == 200
    assert len(client.get(f"/{TOKEN}/points").content) == 48 * 6
    assert len(client.get(f"/{TOKEN}/states?given=zero").content) == 48 * 2


@pytest.mark.parametrize("name", ["Ada", "  Ada \n Lovelace\t", "x" * 200, "<b>&", ""])
def test_a_name_goes_with_a_decision(
    planted: Any, client: TestClient, name: str
) -> None:
    window = Window(client)
    window.send("decide", {**window.form.fields, "verdict": "keep", "name": name})
    (by,) = [d.by for d in Decisions(planted.folder).all_current().values()]
    wanted = " ".join(name.split())[:60]
    assert by == (f"{wanted} @{window.name}" if wanted else window.name)
    page = client.get(f"/{TOKEN}/history?w={window.name}").text
    assert (
        wanted.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in page
    )


def _pair(planted: Any) -> tuple[str, str, int]:
    pairs = [(planted.given[i], planted.truth[i]) for i in planted.wrong]
    best = max(sorted(set(pairs)), key=pairs.count)
    return (*best, pairs.count(best))


def test_filters_stay_from_card_to_card(planted: Any, client: TestClient) -> None:
    given, suggested, n = _pair(planted)
    window = Window(
        client, f"?given={quote(given)}&suggested={quote(suggested)}&least=0.5"
    )
    for _ in range(n):
        assert (planted.given[window.shown], planted.truth[window.shown]) == (
            given,
            suggested,
        )
        window.say("keep")
    assert window.shown == "" and "Nothing left here" in window.html


def test_a_certain_image_is_shown_when_it_is_asked_for(
    planted: Any, client: TestClient
) -> None:
    window = Window(client, "?row=30")
    assert window.shown == planted.run.scores["sample_id"][30].as_py()
    # an address that names none shows what is next
    for row in ("48", "-1", "x"):
        assert Window(client, f"?row={row}").shown in planted.wrong


def test_hostile_names_are_text(planted: Any, client: TestClient) -> None:
    pages = [
        client.get(f"/{TOKEN}/?show=all").text,
        client.get(f"/{TOKEN}/classes?q=img").text,
    ]
    window = Window(client, "?show=all")
    for _ in range(20):
        window.say("keep")
        pages.append(window.html)
    pages.append(client.get(f"/{TOKEN}/history?w={window.name}").text)
    assert any("&lt;img src=x onerror=" in p for p in pages)
    for page in pages:
        for tag, attributes in Form(page).tags:
            assert not any(name.startswith("on") for name in attributes), (
                tag,
                attributes,
            )
            # the enlarged picture has an address only while it is shown
            if tag == "img" and attributes.get("id") != "zoomed":
                assert (attributes.get("src") or "").startswith("image?")


@pytest.mark.parametrize(
    "wanted",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "zero/../../run/run.json",
        "..%2f..%2fetc%2fpasswd",
        "row:0",
        "-1",
        "48",
        "",
    ],
)
def test_only_images_of_the_run_are_served(client: TestClient, wanted: str) -> None:
    assert client.get(f"/{TOKEN}/image", params={"row": wanted}).status_code == 404
    assert client.get(f"/{TOKEN}/image?row={wanted}").status_code == 404
    assert client.get(f"/{TOKEN}/image?row=0&size={wanted}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../review.py",
        "/assets/..%2f..%2freview.py",
        "/assets/vendor/htmx.min.js",
        "/docs",
        "/openapi.json",
    ],
)
def test_only_our_own_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(f"/{TOKEN}{path}").status_code == 404
    assert client.get(f"/{TOKEN}/assets/htmx.js").status_code == 200


def test_images_are_what_the_card_names(planted: Any, client: TestClient) -> None:
    import io

    import numpy as np
    from PIL import Image

    window = Window(client)
    answer = client.get(f"/{TOKEN}/{window.form.images[0]}")
    assert answer.headers["content-type"] == "image/webp"
    uris = dict(
        zip(
            planted.run.manifest["sample_id"].to_pylist(),
            planted.run.manifest["uri"].to_pylist(),
            strict=True,
        )
    )
    with (
        Image.open(planted.data / uri_to_path(uris[window.shown])) as wanted,
        Image.open(io.BytesIO(answer.content)) as got,
    ):
        assert np.array_equal(
            np.asarray(wanted.convert("L")), np.asarray(got.convert("L"))
        )


def test_strangers_get_nothing(planted: Any, client: TestClient) -> None:
    window = Window(client)
    fields = {**window.form.fields, "verdict": "keep"}
    for path in ("/", "/other-token/", f"/{TOKEN}x/", "/image", f"/{TOKEN[:-1]}/"):
        assert client.get(path).status_code == 404
    assert (
        client.get(f"/{TOKEN}/", headers={"host": "evil.example:9999"}).status_code
        == 421
    )
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:1"},
    ):
        assert (
            client.post(f"/{TOKEN}/decide", data=fields, headers=headers).status_code
            == 403
        )
    assert (
        client.get(
            f"/{TOKEN}/image",
            headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        ).status_code
        == 403
    )
    assert on_disk(planted) == {}
    policy = client.get(f"/{TOKEN}/").headers
    assert (
        "default-src 'none'" in policy["content-security-policy"]
        and policy["x-content-type-options"] == "nosniff"
    )


def test_nonsense_is_refused_and_not_saved(planted: Any, client: TestClient) -> None:
    window = Window(client)
    fields = window.form.fields
    for wrong in (
        {"verdict": "nonsense"},
        {"verdict": "other", "label": "no such class"},
        {"verdict": "keep", "seen": "x"},
        {"verdict": "undo"},
        {"verdict": "accept", "offered": "", "label": "two"},
        {"verdict": "accept", "offered": "no such class"},
    ):
        assert (
            client.post(f"/{TOKEN}/decide", data={**fields, **wrong}).status_code == 422
        )
    assert (
        client.post(
            f"/{TOKEN}/decide", data={**fields, "verdict": "keep", "sample_id": "x#y"}
        ).status_code
        == 404
    )
    assert (
        client.post(
            f"/{TOKEN}/audit",
            data={"w": "w", "sample_id": window.shown, "verdict": "accept"},
        ).status_code
        == 422
    )
    assert on_disk(planted) == {}


@pytest.mark.parametrize("length", [19, 5_000])
def test_numbers_of_thousands_of_digits_name_nothing(
    client: TestClient, length: int
) -> None:
    number, own = "9" * length, {"origin": f"http://{HOST}"}
    for page in (f"image?row={number}", f"rows?sort=similar&like={number}"):
        assert client.get(f"/{TOKEN}/{page}").status_code in (200, 404)
    some = client.get(f"/{TOKEN}/some?w=a&rows={number},0")
    assert [cell["row"] for cell in some.json()["cells"]] == [0]
    fields = {"rows": f"{number},0", "seen": "0,0", "verdict": "keep", "w": "a"}
    answer = client.post(f"/{TOKEN}/decide-many", data=fields, headers=own)
    assert answer.status_code == 422


def test_without_scripts_forms_work_too(planted: Any, client: TestClient) -> None:
    window = Window(client)
    answer = client.post(
        f"/{TOKEN}/decide",
        data={**window.form.fields, "verdict": "keep"},
        follow_redirects=False,
    )
    assert answer.status_code == 303 and len(on_disk(planted)) == 1
    assert (
        Form(client.get(answer.headers["location"]).text).fields["sample_id"]
        != window.shown
    )


def test_audit_asks_about_a_random_sample_and_the_report_shows_it(
    planted: Any, client: TestClient
) -> None:
    page = client.get(f"/{TOKEN}/audit?w=me").text
    assert (
        "It is <b>" not in page and "probably" not in page
    )  # no suggestion that could lead
    for _ in range(40):
        fields = Form(page, "audit").fields
        page = client.post(
            f"/{TOKEN}/audit",
            data={
                **fields,
                "verdict": "wrong" if fields["sample_id"] in planted.wrong else "keep",
            },
            headers=HTMX,
        ).text
    assert "40</b> of 43 judged" in page and "95 % confidence" in page
    html = client.get(f"/{TOKEN}/report").text
    assert "random sample" in html
    window = Window(client)
    assert (
        window.shown in planted.wrong
    )  # what the audit found wrong still waits for its right label


def test_page_report_and_scores_agree_after_every_answer(
    planted: Any, client: TestClient, review: Review
) -> None:
    """One posterior: what the page shows is what the run says as it stands."""
    from labelsieve.runs import standing

    window = Window(client)
    for number in range(5):
        sample_id = window.shown
        before = standing.of_run(planted.run)
        row = before.at[sample_id]
        cell = client.get(f"/{TOKEN}/some?w=x&rows={row}").json()["cells"][0]
        assert cell["p"] == round(float(before.p_wrong[row]), 3)
        assert cell["offered"] == before.classes[before.suggested[row]]
        window.say(("keep", "accept")[number % 2])
        now = standing.of_run(planted.run)
        assert now.learned_from == number + 1
        assert review.suspects.now.p_wrong.tolist() == now.p_wrong.tolist()


def test_to_name_the_given_label_is_to_keep_it(
    planted: Any, client: TestClient
) -> None:
    window = Window(client, "?show=kept&given=one")
    sample_id = window.shown
    window.say("other", "one")
    assert on_disk(planted) == {sample_id: ("keep", None)}


def test_two_windows_share_an_audit(planted: Any, client: TestClient) -> None:
    def ask(w: str) -> dict[str, str]:
        return Form(client.get(f"/{TOKEN}/audit?w={w}").text, "audit").fields

    def say(fields: dict[str, str], verdict: str, where: str = "audit") -> str:
        return client.post(
            f"/{TOKEN}/{where}", data={**fields, "verdict": verdict}, headers=HTMX
        ).text

    one, two = ask("one"), ask("two")
    assert one["sample_id"] != two["sample_id"]
    say(two, "keep")
    # sent twice; the first of the random order is still open in the other window
    assert "<b>1</b> of 43 judged" in say(two, "keep")
    assert "<b>2</b> of 43 judged" in say(one, "wrong")
    assert on_disk(planted) == {
        one["sample_id"]: ("wrong", None),
        two["sample_id"]: ("keep", None),
    }
    late = say(two, "wrong")
    assert (
        "Another window decided" in late and "the label is right" in late
    )  # an answer that counts for nothing says so
    assert (
        "1 decision undone" in say(one, "", "audit/undo")
        and Form(ask_page(client), "audit").fields == one
    )
    assert on_disk(planted) == {two["sample_id"]: ("keep", None)}


def ask_page(client: TestClient) -> str:
    return str(client.get(f"/{TOKEN}/audit?w=one").text)


def test_the_report_is_written_by_one_at_a_time(
    planted: Any, client: TestClient
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: client.get(f"/{TOKEN}/report").status_code, range(8))
        )
    assert answers == [200] * 8
