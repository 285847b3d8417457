"""Lists: filters, order, pages and the choice of fields, as Waldur's query strings have them."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from werkzeug.datastructures import MultiDict

from onetenant_waldur.marketplace import refusals


T = TypeVar("T")

DEFAULT_PAGE_SIZE = 10
"""Records on a page that was not given a size."""
MAX_PAGE_SIZE = 300
"""Records on a page at most, whatever was asked for."""

Predicate = Callable[[Any], bool]
Filter = Callable[[str, Sequence[str]], Predicate]
"""Given the parameter's name and its values, says which records pass."""

PAGING = frozenset({"page", "page_size", "field", "o"})


def hex_uuid(text: str) -> str | None:
    """A UUID in any notation as 32 hexadecimal digits, or None if it is none."""
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return None


def by_uuid(read: Callable[[Any], str]) -> Filter:
    """A filter by identity, with or without dashes."""

    def accept(name: str, values: Sequence[str]) -> Predicate:
        wanted = {hex_uuid(value) for value in values}
        if None in wanted:
            raise refusals.invalid({name: ["Enter a valid UUID."]})
        return lambda record: read(record) in wanted

    return accept


def by_choice(read: Callable[[Any], str], choices: Iterable[str]) -> Filter:
    """A filter by one or more of the known values."""
    known = frozenset(choices)

    def accept(name: str, values: Sequence[str]) -> Predicate:
        for value in values:
            if value not in known:
                text = f"Select a valid choice. {value} is not one of the available choices."
                raise refusals.invalid({name: [text]})
        return lambda record: read(record) in values

    return accept


def by_text(read: Callable[[Any], str]) -> Filter:
    """A filter by the exact value; the last one given counts."""
    return lambda _name, values: lambda record: read(record) == values[-1]


def by_part(read: Callable[[Any], str]) -> Filter:
    """A filter by a part of the value, in any case."""
    return lambda _name, values: lambda record: values[-1].casefold() in read(record).casefold()


def by_day(read: Callable[[Any], dt.date], passes: Callable[[dt.date, dt.date], bool]) -> Filter:
    """A filter by a date: `passes(date of the record, date given)`."""

    def accept(name: str, values: Sequence[str]) -> Predicate:
        try:
            day = dt.date.fromisoformat(values[-1])
        except ValueError:
            raise refusals.invalid({name: ["Enter a valid date."]}) from None
        return lambda record: passes(read(record), day)

    return accept


def by_time(read: Callable[[Any], dt.datetime], passes: Callable[[dt.datetime, dt.datetime], bool]) -> Filter:
    """A filter by a time: `passes(time of the record, time given)`. A time without a zone is UTC."""

    def accept(name: str, values: Sequence[str]) -> Predicate:
        try:
            time = dt.datetime.fromisoformat(values[-1])
        except ValueError:
            raise refusals.invalid({name: ["Enter a valid date/time."]}) from None
        zoned = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
        return lambda record: passes(read(record), zoned)

    return accept


def choose(records: Iterable[T], query: MultiDict[str, str], filters: Mapping[str, Filter]) -> list[T]:
    """The records that pass every filter of a query.

    Waldur ignores parameters that it does not know. Here they are refused with 501, because a filter that is silently
    ignored makes a test pass that should not.
    """
    chosen = list(records)
    for name, values in query.lists():
        if name in PAGING:
            continue
        if name not in filters:
            raise refusals.not_embedded(f"the filter {name!r}")
        passes = filters[name](name, values)
        chosen = [record for record in chosen if passes(record)]
    return chosen


def order_by(
    records: Iterable[T],
    query: MultiDict[str, str],
    keys: Mapping[str, Callable[[T], Any]],
    default: Callable[[T], Any],
) -> list[T]:
    """Sort by `o=`, a comma separated list of keys, each with a minus for descending order."""
    chosen = sorted(records, key=default)
    for key in reversed(",".join(query.getlist("o")).split(",")):
        name = key.removeprefix("-")
        if name and name not in keys:
            text = f"Select a valid choice. {key} is not one of the available choices."
            raise refusals.invalid({"o": [text]})
        if name:
            chosen.sort(key=keys[name], reverse=key.startswith("-"))
    return chosen


def select(row: dict[str, Any], query: MultiDict[str, str]) -> dict[str, Any]:
    """Only the fields named by `field=`, in the record's own order; all of them if none of the names is one."""
    wanted = [name for name in row if name in query.getlist("field")]
    return {name: row[name] for name in wanted} if wanted else row


def page(records: Sequence[T], query: MultiDict[str, str], url: str) -> tuple[Sequence[T], dict[str, str]]:
    """One page of the records, and the headers that tell of the others.

    Raises:
        Refusal: 404 if there is no such page.
    """
    size = _page_size(query)
    last = max(1, -(-len(records) // size))
    number = _page_number(query, last)
    pages = {"first": 1, "prev": number - 1, "next": number + 1, "last": last}
    links = [f'<{_at_page(url, at)}>; rel="{rel}"' for rel, at in pages.items() if 1 <= at <= last]
    headers = {"X-Result-Count": str(len(records)), "Link": ", ".join(links)}
    return records[(number - 1) * size : number * size], headers


def _page_size(query: MultiDict[str, str]) -> int:
    text = query.get("page_size", "")
    size = int(text) if text.isdecimal() else 0
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def _page_number(query: MultiDict[str, str], last: int) -> int:
    text = query.get("page", "1")
    number = last if text == "last" else int(text) if text.isdecimal() else 0
    if not 1 <= number <= last:
        raise refusals.Refusal(404, {"detail": "Invalid page."})
    return number


def _at_page(url: str, number: int) -> str:
    # Parameters are sorted as rest_framework.utils.urls does it; the first page goes without its number.
    scheme, host, path, query, fragment = urlsplit(url)
    parameters = parse_qs(query, keep_blank_values=True)
    parameters.pop("page", None)
    if number > 1:
        parameters["page"] = [str(number)]
    return urlunsplit((scheme, host, path, urlencode(sorted(parameters.items()), doseq=True), fragment))
