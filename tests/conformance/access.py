"""Reading access rules."""

from conformance.caller import One


def rules_of(one: One, who: str) -> list[str]:
    """The rules of a user or group, without who and without the zone, e.g. `HOST/%0 MANAGE`, in order of id.

    Args:
        one: Calls as oneadmin.
        who: `#5` or `@100`.
    """
    found = [(int(item.findtext("ID", "")), item.findtext("STRING", "")) for item in one.xml("one.acl.info")]
    return [text.removeprefix(f"{who} ").rsplit(" ", 1)[0] for _, text in sorted(found) if text.startswith(f"{who} ")]
