"""Clusters, hosts, datastores and zones."""

import pytest


pytestmark = pytest.mark.live


def members(one, cluster, element):
    return [int(item.text) for item in one.xml("one.cluster.info", cluster).find(element)]


def clusters(one, datastore):
    return [int(item.text) for item in one.xml("one.datastore.info", datastore).find("CLUSTERS")]


ALLOCATING = "Error allocating a new {}. {}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ("x" * 129, "Invalid NAME, max length is 128 chars"),
        ("a&b", "Invalid NAME, char '&' is not allowed"),
        ("a:b", "Invalid NAME, char ':' is not allowed"),
    ],
)
def test_a_cluster_name_that_is_not_allowed(one, make, name, text):
    one.fails(16384, ALLOCATING.format("cluster", text), "one.cluster.allocate", name)
    one.fails(2048, text, "one.cluster.rename", make.cluster(), name)


def test_a_cluster_name_may_have_spaces(one, make):
    name = make.name("cluster") + " a, é"
    assert one.xml("one.cluster.info", make.cluster(name)).findtext("NAME") == name


def test_a_taken_cluster_name(one, make):
    name = make.name("cluster")
    cluster = make.cluster(name)
    text = ALLOCATING.format("cluster", f"NAME is already taken by CLUSTER {cluster}.")
    one.fails(16384, text, "one.cluster.allocate", name)
    other = make.cluster()
    text = f"cluster cannot be renamed to {name} because it collides with cluster {cluster}"
    one.fails(2048, text, "one.cluster.rename", other, name)


def test_a_new_cluster_reserves_nothing(one, make):
    found = one.xml("one.cluster.info", make.cluster()).find("TEMPLATE")
    assert {item.tag: item.text for item in found} == {"RESERVED_CPU": None, "RESERVED_MEM": None}


def test_updating_a_cluster(one, make):
    cluster = make.cluster()
    one.ok("one.cluster.update", cluster, 'A="1"', 1)
    found = one.xml("one.cluster.info", cluster).find("TEMPLATE")
    assert [item.tag for item in found] == ["A", "RESERVED_CPU", "RESERVED_MEM"]
    one.ok("one.cluster.update", cluster, 'A="1"', 0)
    assert [item.tag for item in one.xml("one.cluster.info", cluster).find("TEMPLATE")] == ["A"]


def test_the_default_cluster_cannot_be_deleted(one):
    one.fails(2048, "Cannot delete cluster. System Clusters (ID < 100) cannot be deleted.", "one.cluster.delete", 0)


@pytest.mark.parametrize(("noun", "words"), [("host", "hosts"), ("datastore", "datastores"), ("network", "vnets")])
def test_a_cluster_with_something_in_it_cannot_be_deleted(one, make, noun, words):
    cluster = make.cluster()
    if noun == "network":
        make.network(cluster=cluster)
    else:
        getattr(make, noun)(cluster)
    text = f"Cannot delete cluster. Cluster {cluster} is not empty, it contains 1 {words}."
    one.fails(2048, text, "one.cluster.delete", cluster)


def test_a_host_moves_between_clusters(one, make):
    first, second = make.cluster(), make.cluster()
    host = make.host(first)
    assert members(one, first, "HOSTS") == [host]
    assert one.ok("one.cluster.addhost", second, host) == second
    assert (members(one, first, "HOSTS"), members(one, second, "HOSTS")) == ([], [host])
    assert one.xml("one.host.info", host).findtext("CLUSTER_ID") == str(second)
    assert one.ok("one.cluster.delhost", second, host) == second
    assert one.xml("one.host.info", host).findtext("CLUSTER_ID") == "0"
    assert members(one, second, "HOSTS") == []


def test_a_datastore_is_in_several_clusters_and_in_none(one, make):
    first, second = make.cluster(), make.cluster()
    datastore = make.datastore(first)
    assert one.ok("one.cluster.adddatastore", second, datastore) == second
    assert one.ok("one.cluster.adddatastore", second, datastore) == second
    assert clusters(one, datastore) == [first, second]
    one.ok("one.cluster.deldatastore", first, datastore)
    assert one.ok("one.cluster.deldatastore", first, datastore) == first
    one.ok("one.cluster.deldatastore", second, datastore)
    assert clusters(one, datastore) == []
    assert members(one, first, "DATASTORES") == []


def test_a_network_joins_and_leaves_a_cluster(one, make):
    cluster = make.cluster()
    network = make.network()
    assert one.ok("one.cluster.addvnet", cluster, network) == cluster
    assert members(one, cluster, "VNETS") == [network]
    found = [int(item.text) for item in one.xml("one.vn.info", network).find("CLUSTERS")]
    assert found == [0, cluster]
    assert one.ok("one.cluster.delvnet", cluster, network) == cluster
    assert members(one, cluster, "VNETS") == []


@pytest.mark.parametrize(
    ("noun", "words"),
    [("host", "host"), ("datastore", "datastore"), ("vnet", "virtual network")],
)
@pytest.mark.parametrize("verb", ["add", "del"])
def test_missing_members(one, make, verb, noun, words):
    cluster = make.cluster()
    assert one.fails(1024, f"Error getting {words} [99999].", f"one.cluster.{verb}{noun}", cluster, 99999) == 99999


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("", "dummy", "dummy"),
            "Invalid HOSTNAME, HOSTNAME length should be greater than 1, but smaller than 64 characters",
        ),
        (("a&b", "dummy", "dummy"), "Invalid HOSTNAME, '&' is invalid character for a HOSTNAME"),
        (("x1", "", "dummy"), "IM_MAD_NAME cannot be empty."),
        (("x1", "dummy", ""), "VMM_MAD_NAME cannot be empty."),
    ],
)
def test_a_host_that_cannot_be(one, arguments, text):
    one.fails(16384, ALLOCATING.format("host", text), "one.host.allocate", *arguments, 0)


def test_a_taken_host_name(one, make):
    name = make.name("host")
    host = make.host(0, name)
    text = ALLOCATING.format("host", f"NAME is already taken by HOST {host}.")
    one.fails(16384, text, "one.host.allocate", name, "dummy", "dummy", 0)


def test_a_host_without_cluster_is_in_the_default_one(one, make):
    info = one.xml("one.host.info", make.host(-1))
    assert (info.findtext("CLUSTER_ID"), info.findtext("CLUSTER")) == ("0", "default")


def test_a_host_in_a_missing_cluster(one):
    arguments = "x1", "dummy", "dummy", 99999
    assert one.fails(1024, "Error getting cluster [99999].", "one.host.allocate", *arguments) == 99999


def test_a_monitored_host_knows_its_capacity(one):
    share = one.until(lambda x: x.findtext("STATE") == "2", "one.host.info", 0).find("HOST_SHARE")
    assert int(share.findtext("MAX_CPU")) > 0
    assert int(share.findtext("MAX_MEM")) > 0
    assert int(share.findtext("TOTAL_CPU")) >= int(share.findtext("MAX_CPU"))


def test_a_running_vm_is_counted_on_its_host(one, make):
    host = make.host(0, driver="dummy")
    one.until(lambda x: x.findtext("STATE") == "2", "one.host.info", host)
    template = make.template(f'SCHED_REQUIREMENTS="ID={host}"', size='CPU="0.5"\nMEMORY="64"')
    vm = make.vm(template)
    info = one.xml("one.host.info", host)
    assert [item.text for item in info.find("VMS")] == [str(vm)]
    share = info.find("HOST_SHARE")
    assert (share.findtext("CPU_USAGE"), share.findtext("MEM_USAGE")) == ("50", "65536")
    assert share.findtext("RUNNING_VMS") == "1"
    text = "Cannot delete host. Can not remove a host with running VMs"
    one.fails(2048, text, "one.host.delete", host)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ('NAME="{name}"', "No DS_MAD in template."),
        ('NAME="{name}"\nTM_MAD="dummy"', "No DS_MAD in template."),
        ('NAME="{name}"\nDS_MAD="dummy"', "No TM_MAD in template."),
        ('NAME="{name}"\nTM_MAD="nope"\nDS_MAD="dummy"', 'TM_MAD named "nope" is not defined in oned.conf'),
        ('NAME="{name}"\nTM_MAD="dummy"\nDS_MAD="nope"', 'DS_MAD named "nope" is not defined in oned.conf'),
        ('NAME="a&b"\nTM_MAD="dummy"\nDS_MAD="dummy"', "Invalid NAME, char '&' is not allowed"),
    ],
)
def test_a_datastore_that_cannot_be(one, make, template, text):
    one.fails(8192, text, "one.datastore.allocate", template.format(name=make.name("ds")), 0)


def test_a_taken_datastore_name(one, make):
    name = make.name("ds")
    datastore = make.datastore(name=name)
    template = f'NAME="{name}"\nTM_MAD="dummy"\nDS_MAD="dummy"'
    one.fails(8192, f"NAME is already taken by DATASTORE {datastore}.", "one.datastore.allocate", template, 0)


def test_a_datastore_in_a_missing_cluster(one, make):
    template = f'NAME="{make.name("ds")}"\nTM_MAD="dummy"\nDS_MAD="dummy"'
    assert one.fails(1024, "Error getting cluster [99999].", "one.datastore.allocate", template, 99999) == 99999


@pytest.mark.parametrize(("kind", "number"), [("IMAGE_DS", "0"), ("SYSTEM_DS", "1"), ("FILE_DS", "2")])
def test_kinds_of_datastores(one, make, kind, number):
    assert one.xml("one.datastore.info", make.datastore(kind=kind)).findtext("TYPE") == number


def test_a_datastore_with_an_image_cannot_be_deleted(one, make):
    datastore = make.datastore()
    one.until(lambda x: int(x.findtext("FREE_MB")) > 0, "one.datastore.info", datastore)
    make.image(datastore=datastore)
    text = f"Cannot delete datastore. Datastore {datastore} is not empty."
    one.fails(2048, text, "one.datastore.delete", datastore)


def test_the_zone_is_alone(one):
    info = one.xml("one.zone.info", 0)
    assert (info.findtext("ID"), info.findtext("STATE")) == ("0", "0")
    assert list(info.find("SERVER_POOL")) == []


def test_the_zone_cannot_be_deleted(one):
    one.needs("one.zone.delete")
    one.fails(2048, "Cannot delete zone. System Zones (ID < 100) cannot be deleted.", "one.zone.delete", 0)


@pytest.mark.parametrize("pool", ["hostpool", "clusterpool", "datastorepool", "zonepool"])
def test_pools_list_the_highest_id_first(one, make, pool):
    make.cluster()
    ids = [int(item.findtext("ID")) for item in one.xml(f"one.{pool}.info")]
    assert ids == sorted(ids, reverse=True)
    assert 0 in ids
