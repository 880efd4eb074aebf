from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

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
                if k in ("w", "given", "suggested", "least", "everything")
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
    window = Window(client, "?everything=1")
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
    assert len(expected) == 30 and "24</b> of 48 decided" in window.html
    assert window.undo() in expected
    assert len(on_disk(planted)) == 29 and "1 decision was undone." in window.html


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


def test_bulk_accept_asks_first_and_is_undone_as_one(
    planted: Any, client: TestClient
) -> None:
    window = Window(client)
    given, suggested, n = _pair(planted)
    address = f"/{TOKEN}/bulk?w={window.name}&given={quote(given)}&suggested={quote(suggested)}"
    assert "There are none" in client.get(address + "&above=0.96").text
    page = client.get(address + "&above=0.9").text
    assert f"Yes, all {n} are" in page and on_disk(planted) == {}
    fields = Form(page, "bulk").fields
    assert (
        client.post(
            f"/{TOKEN}/bulk", data={**fields, "count": "99"}, follow_redirects=False
        )
        .headers["location"]
        .startswith(f"/{TOKEN}/bulk?")
    )
    assert on_disk(planted) == {}
    client.post(f"/{TOKEN}/bulk", data=fields)
    assert on_disk(planted) == {
        i: ("accept", suggested)
        for i in planted.wrong
        if (planted.given[i], planted.truth[i]) == (given, suggested)
    }
    window.undo()
    assert on_disk(planted) == {}


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


def test_hostile_names_are_text(planted: Any, client: TestClient) -> None:
    pages = [
        client.get(f"/{TOKEN}/?everything=1").text,
        client.get(f"/{TOKEN}/classes?q=img").text,
    ]
    window = Window(client, "?everything=1")
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
            assert tag != "img" or (attributes.get("src") or "").startswith("image?")


@pytest.mark.parametrize(
    "wanted",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "zero/../../run/run.json",
        "..%2f..%2fetc%2fpasswd",
        "row:0",
        "",
    ],
)
def test_only_images_of_the_run_are_served(client: TestClient, wanted: str) -> None:
    assert client.get(f"/{TOKEN}/image", params={"id": wanted}).status_code == 404
    assert client.get(f"/{TOKEN}/image?id={wanted}").status_code == 404


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
    assert "40</b> of 100 judged" in page and "prediction-powered" in page
    html = client.get(f"/{TOKEN}/report").text
    assert "random sample of 40 images" in html
    window = Window(client)
    assert (
        window.shown in planted.wrong
    )  # what the audit found wrong still waits for its right label


def test_the_order_is_refined_after_a_batch(client: TestClient, review: Review) -> None:
    window = Window(client)
    for _ in range(10):
        window.say("keep")
    assert (
        review.suspects.refined_on == 10
        and "order refined from 10 decisions" in window.html
    )


def test_to_agree_with_a_model_that_agrees_is_to_keep(
    planted: Any, client: TestClient
) -> None:
    window = Window(client, "?everything=1&given=one&suggested=one")
    assert "the model agrees" in window.html and "It is <b>" not in window.html
    sample_id = window.shown
    window.say("accept")
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
    assert "<b>1</b> of 100 judged" in say(two, "keep")
    assert "<b>2</b> of 100 judged" in say(one, "wrong")
    assert on_disk(planted) == {
        one["sample_id"]: ("wrong", None),
        two["sample_id"]: ("keep", None),
    }
    late = say(two, "wrong")
    assert (
        "Another window decided" in late and "the label is right" in late
    )  # an answer that counts for nothing says so
    assert (
        "1 decision was undone" in say(one, "", "audit/undo")
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
