"""`VdcSpec`: what can be asked for."""

import pytest

from opennebula_tenancy import Quota, SettingsError, StorageScope, VdcSpec


def test_a_name_is_enough_and_a_key_is_made_up() -> None:
    spec = VdcSpec(name="acme")
    assert spec.key
    assert spec.key != VdcSpec(name="acme").key
    assert (spec.clusters, spec.zone, spec.external_networks, spec.storage_datastores) == (None, 0, (), None)
    assert spec.storage_scope is StorageScope.IMAGES
    assert not spec.quota


def test_ids_may_come_in_any_iterable() -> None:
    spec = VdcSpec(name="acme", key="k", clusters=[0, 100], external_networks=range(2), storage_datastores={1})
    assert (spec.clusters, spec.external_networks, spec.storage_datastores) == ((0, 100), (0, 1), (1,))
    assert hash(spec) == hash(
        VdcSpec(name="acme", key="k", clusters=(0, 100), external_networks=(0, 1), storage_datastores=(1,))
    )


def test_a_storage_scope_may_be_given_by_its_value() -> None:
    assert VdcSpec(name="acme", storage_scope="both").storage_scope is StorageScope.BOTH


def test_all_problems_of_a_spec_come_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        VdcSpec(
            name="a b",
            key="",
            clusters=(),
            zone=-1,
            external_networks=(1, 1),
            storage_datastores=(True, "1", 2**31),  # type: ignore[arg-type]
            storage_scope="tapes",
            quota=Quota(cpu=1),
        )
    assert caught.value.problems == (
        "the group name 'a b' has ' ', which OpenNebula does not take in one",
        "the key '' is empty, and OpenNebula drops empty values",
        "clusters: a tenant without a cluster can run nothing; None means all of them",
        "zone: -1 is not an id",
        "external_networks: an id is named twice",
        "storage_datastores: True is not an id",
        "storage_datastores: '1' is not an id",
        f"storage_datastores: {2**31} is not an id",
        "storage_scope: 'tapes' is not one of images, disks, both",
    )


@pytest.mark.parametrize("scope", StorageScope)
def test_two_names_for_one_limit_are_refused(scope: StorageScope) -> None:
    quota = Quota(storage_mb=1, system_disk_mb=2)
    if scope is StorageScope.IMAGES:
        assert VdcSpec(name="acme", quota=quota, storage_scope=scope).quota == quota
        return
    with pytest.raises(SettingsError, match=rf"with the storage scope {scope} storage_mb sets the same limit"):
        VdcSpec(name="acme", quota=quota, storage_scope=scope)


def test_a_limit_of_floating_ips_on_no_network_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"quota\.floating_ips: no external network is named"):
        VdcSpec(name="acme", quota=Quota(floating_ips=0))
    assert VdcSpec(name="acme", quota=Quota(floating_ips=0), external_networks=(0,)).quota.floating_ips == 0
