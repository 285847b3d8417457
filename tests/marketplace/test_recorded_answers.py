"""The embedded marketplace answers as the recorded Waldur does: status, headers and body, field by field.

The recorded exchanges are one story, so they are played in their order, once for this module. What cannot be the same
in two runs is compared by kind and by role in the story, never skipped:

- a UUID of the recording always stands for the same UUID here, and no two for one;
- a time of the recording always stands for the same time here, and earlier ones for earlier ones;
- a token is the token of the user who asked.

Everything else is compared as it is, to the type of a number and the order of the fields. Headers compared: those
recorded, which are Allow, Content-Length, Content-Type, Link, WWW-Authenticate and X-Result-Count; a header of these
that was not recorded must be absent. Nothing that was recorded is left out.
"""

import datetime as dt
import itertools
import json
import re
import uuid
from pathlib import Path

import pytest
import requests

from marketplace.pace import PATIENCE_S
from onetenant_waldur.marketplace import Behaviour, Marketplace


CASSETTES = Path(__file__).parents[2] / "cassettes" / "waldur"
SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(CASSETTES.glob("*.json"))}
HEADERS = ("Allow", "Content-Length", "Content-Type", "Link", "WWW-Authenticate", "X-Result-Count")

UUID = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TOKEN = re.compile(r"\b[0-9a-f]{40}\b")

# What the first requests name before any answer has shown it.
KNOWN = {
    "60e1d3ed6925454fab98dc32f3055410": lambda waldur: waldur.vdc,
    "4b8ffbf477e640cbabd0726eab8b88e1": lambda waldur: waldur.vm,
    "c042422106a24c5cb2916a622c758379": lambda waldur: waldur.vdc.customer,
    "e5c79a25aeff4490aa91ad29d454a12f": lambda waldur: waldur.project,
    "4e1c15999be14f379d26ec025f26bcc9": lambda waldur: next(plan for plan in waldur.vm.plans if plan.name == "Small"),
}
# Orders that were placed between two recorded exchanges: before which, and what their UUIDs are in the recording.
UNRECORDED = {
    "095-vm-order": ("vm-one", "3388aef6a4044737a631a1cfddfddfae", "b5ebdc308e334688bbb48cea8d80e0bd"),
    "111-bad-approve": ("vm-bad", "66c70ab0eece435698ab8bbcc06c0301", None),
    "114-bad2-approve": ("vm-bad2", "245bdb5278cb4d46ac85953c3e2d270b", "c43a067b8c5f4f42b009017ccec835e8"),
    "121-bad3-approve": ("vm-bad3", "85dd79a79a4b4592aa741edf001743f3", "c407b8b5a6a94ceca9c3d60b9284abfe"),
    "125-reject-by-provider": ("vm-no", "09d44998d14d49fdb35649a2796005f5", "4090220b3ef84d49837723078b52cf9c"),
    "128-exec-set-state-executing": (
        "vm-exec",
        "fb9c3da1e4354c5f8d601126e5c73989",
        "5f13623c83964537b4ff5ad00cec4750",
    ),
}
SSH_KEY = "2321d7b3a42746408e7a64f9b6507255"


class Story:
    """Both runs side by side: what of the recording is what here."""

    def __init__(self, waldur):
        self.waldur = waldur
        self.here = {}
        self.recorded = {}
        self.times = {}
        for recorded, known in KNOWN.items():
            self.bind(recorded, known(waldur).uuid)

    def bind(self, recorded, here):
        assert self.here.setdefault(recorded, here) == here
        assert self.recorded.setdefault(here, recorded) == recorded

    def bind_time(self, recorded, here):
        assert self.times.setdefault(recorded, here) == here

    def translate(self, text):
        """A text of the recording with the UUIDs that are known put in place."""

        def put(match):
            found = self.here.get(match[0].replace("-", ""), match[0].replace("-", ""))
            return str(uuid.UUID(found)) if "-" in match[0] else found

        return UUID.sub(put, text)

    def compare(self, recorded, here, where, user):
        """Differences, as sentences."""
        if isinstance(recorded, dict) and isinstance(here, dict):
            if list(recorded) != list(here):
                return [f"{where}: fields {list(here)} instead of {list(recorded)}"]
            pairs = [(recorded[name], here[name], f"{where}.{name}") for name in recorded]
        elif isinstance(recorded, list) and isinstance(here, list) and len(recorded) == len(here):
            pairs = [(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(recorded, here, strict=True))]
        elif isinstance(recorded, str) and isinstance(here, str):
            return self.compare_text(recorded, here, where, user)
        else:
            same = recorded == here and type(recorded) is type(here)
            return [] if same else [f"{where}: {here!r} instead of {recorded!r}"]
        return list(itertools.chain.from_iterable(self.compare(*pair, user) for pair in pairs))

    def compare_text(self, recorded, here, where, user):
        if recorded == "<token>":
            return [] if here == self.waldur.tokens[user] else [f"{where}: not the user's token"]
        try:
            for pattern, bind in ((UUID, self.bind), (TIME, self.bind_time)):
                for pair in zip(pattern.findall(recorded), pattern.findall(here), strict=True):
                    bind(*pair)
                recorded, here = pattern.sub("*", recorded), pattern.sub("*", here)
        except (AssertionError, ValueError):
            return [f"{where}: {here!r} does not stand for {recorded!r}"]
        return [] if recorded == here else [f"{where}: {here!r} instead of {recorded!r}"]

    def place_unrecorded(self, name, order, resource):
        """Order what nobody recorded the order of."""
        attributes = {"template_id": 3, "ssh_public_key": self.translate(SSH_KEY)}
        placed = self.waldur.consumer("staff").place_order(self.waldur.vm, name, attributes=attributes, plan="Small")
        self.bind(order, placed.order)
        if resource:
            self.bind(resource, placed.resource)

    def play(self, name, sample):
        """Send a recorded request; the differences of the answer."""
        if name in UNRECORDED:
            self.place_unrecorded(*UNRECORDED[name])
        asked, recorded, user = sample["request"], sample["response"], sample["request"]["as"]
        headers = {"Host": "127.0.0.1:8000", **asked["headers"]}
        if user:
            headers["Authorization"] = f"Token {self.waldur.tokens[user]}"
        elif sample["name"] == "bad-token":
            headers["Authorization"] = f"Token {'0' * 40}"
        body = asked["body"]
        if isinstance(body, dict):
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        answer = requests.request(
            asked["method"],
            self.waldur.api_url.removesuffix("/api/") + self.translate(asked["path"]),
            headers=headers,
            data=None if body is None else self.translate(body),
            timeout=PATIENCE_S,
        )
        is_json = answer.headers.get("Content-Type") == "application/json" and answer.content
        here = {
            "status": answer.status_code,
            "headers": {header: answer.headers[header] for header in HEADERS if header in answer.headers},
            "body": answer.json() if is_json else answer.text,
        }
        recorded = recorded | {
            "headers": {header: recorded["headers"][header] for header in HEADERS if header in recorded["headers"]}
        }
        return self.compare(recorded, here, "", user)


def ticking():
    """A clock in the time of the recording, so that its month is this month. It ticks once a millisecond."""
    start = dt.datetime(2026, 11, 22, 1, 13, 55, 1, tzinfo=dt.UTC)
    ticks = itertools.count()
    return lambda: start + dt.timedelta(milliseconds=next(ticks))


@pytest.fixture(scope="module")
def played():
    with Marketplace(Behaviour(stale_creation_order=True), clock=ticking()) as waldur:
        story = Story(waldur)
        differences = {name: story.play(name, sample) for name, sample in SAMPLES.items()}
        yield story, differences


@pytest.mark.parametrize("name", SAMPLES)
def test_the_answer_is_the_recorded_one(name, played):
    _story, differences = played
    assert differences[name] == []


def test_things_happen_in_the_recorded_order(played):
    story, _differences = played
    recorded = sorted(story.times)
    assert [story.times[time] for time in recorded] == sorted(story.times.values())
    assert len(set(story.times.values())) == len(recorded) > 40


def test_headers_compared_are_all_that_were_recorded():
    assert {header for sample in SAMPLES.values() for header in sample["response"]["headers"]} == set(HEADERS)


def test_no_recording_has_a_token_or_a_password():
    for path in CASSETTES.glob("*.json"):
        text = path.read_text()
        assert not TOKEN.search(text), path
        assert all(value == "<password>" for value in re.findall(r'password": "([^"]*)"', text)), path


def test_a_difference_would_be_seen(played):
    story, _differences = played
    recorded = SAMPLES["053-order-done"]["response"]["body"]
    for field, value in (("state", "executing"), ("limits", {"cpu": 5}), ("uuid", "0" * 32), ("fixed_price", 0.0)):
        assert story.compare(recorded, recorded | {field: value}, "", "provider"), field
