"""The bindings of pyone read every kind of answer."""

from xml.etree import ElementTree as ET

import pytest

from conformance.answers import ANSWERS, Objects


bindings = pytest.importorskip("pyone.bindings")

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

METHODS = list({(answer.make, answer.method, bool(answer.item)): answer for answer in ANSWERS}.values())


def parsed(text):
    return bindings.parseString(text.encode())


@pytest.mark.parametrize("answer", METHODS, ids=lambda answer: answer.name)
def test_an_answer_is_parsed_into_an_object_of_its_type(one, make, image, answer):
    oid = answer.make(Objects(make, image))
    text = one.ok(answer.method, *(answer.arguments if answer.item else (oid,)))
    found = parsed(text)
    assert type(found).__name__.removesuffix("Sub") == ET.fromstring(text).tag
    if answer.item:
        assert oid in [item.ID for item in getattr(found, answer.item)]
    else:
        assert oid == found.ID


def test_quotas_are_lists(one, make):
    objects = Objects(make, image=0)
    empty = parsed(one.ok("one.group.info", objects.group()))
    full = parsed(one.ok("one.group.info", objects.group_with_everything()))
    assert empty.VM_QUOTA.VM == []
    assert [vm.VMS for vm in full.VM_QUOTA.VM] == ["1"]
    assert [entry.SIZE for entry in full.DATASTORE_QUOTA.DATASTORE] == ["1"]
    assert len(full.USERS.ID) == 1


def test_ranges_and_leases_are_lists(one, make):
    network = parsed(one.ok("one.vn.info", Objects(make, image=0).network_in_use()))
    (ar,) = network.AR_POOL.AR
    assert [lease.IP for lease in ar.LEASES.LEASE] == ["10.7.0.1"]
    assert network.USED_LEASES == 1
