"""Limits and usage of a user, of a group, and the default limits: what oned keeps under `*_QUOTA`.

Four sections hold rows of text, as oned does: DATASTORE, NETWORK and IMAGE rows are found by their literal `ID`, VM
rows by their `CLUSTER_IDS` (none: the row for all clusters). Every row has a limit and a `_USED` counter per metric.
Numbers are 32-bit floats that are written back with at most two decimals after each change (src/um/Quota.cc), so a
counter here drifts exactly as a real one does.

A limit of -1 stands for the default limit, -2 for none at all. Default quotas know only -2.
"""

import re
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from opennebula_tenancy.emulator.markup import cdata


DEFAULT: Final = -1.0
"""The limit that the default quotas give."""
UNLIMITED: Final = -2.0
"""No limit, even where the default quotas have one."""

VM_METRICS: Final = (
    "VMS",
    "RUNNING_VMS",
    "CPU",
    "RUNNING_CPU",
    "MEMORY",
    "RUNNING_MEMORY",
    "PCI_DEV",
    "RUNNING_PCI_DEV",
    "PCI_NIC",
    "RUNNING_PCI_NIC",
    "SYSTEM_DISK_SIZE",
)
"""Metrics of the VM section in the order in which they are checked. CPU in cores, MEMORY and SYSTEM_DISK_SIZE in MB."""

_FLOAT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
_INT = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_FLOAT_MAX = 3.4028234663852886e38
_INT_MAX = 2**31 - 1

Row = dict[str, str]


class QuotaError(Exception):
    """A limit was reached, or cannot be set. The text is oned's, without the prefix that names whose limit it is."""


def single(number: float) -> float:
    """The nearest 32-bit float: oned computes with these."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def parse_float(text: str) -> float | None:
    """The number in a text as a C++ stream reads it, or None when there is none or something stands behind it."""
    match = _FLOAT.fullmatch(text)
    if match is None:
        return None
    number = float(match[1])
    return single(number) if abs(number) <= _FLOAT_MAX else None


def parse_int(text: str) -> int | None:
    """The 32-bit integer in a text as a C++ stream reads it, or None when there is none or something stands behind."""
    match = _INT.fullmatch(text)
    if match is None or not -_INT_MAX - 1 <= int(match[1]) <= _INT_MAX:
        return None
    return int(match[1])


def float_text(number: float) -> str:
    """A number as oned writes it: no decimals when it is whole, else two (`one_util::float_to_str`)."""
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}"


@attrs.frozen(kw_only=True)
class StorageCharge:
    """Room that an image takes in a datastore.

    Attributes:
        datastore_id: The datastore, as text: rows are found by literal id.
        size_mb: Size in MB.
        images: How many images it is: 1, or 0 where only a size changes.
    """

    datastore_id: str
    size_mb: float
    images: int = 1


@attrs.frozen(kw_only=True)
class Charge:
    """What an object takes, or what a change adds (amounts may be negative then).

    Attributes:
        vm: Amount per metric of `VM_METRICS`. Only the metrics named are checked and counted.
        cluster_id: Cluster the VM is in, to count it in the row of that cluster too. None: it is on no host yet.
        skip_global: Count only in the row of the cluster.
        leases: Network id, as text, of each lease taken.
        images: Image id, as text, of each disk that runs from an image.
        storage: Room in datastores.
    """

    vm: Mapping[str, float] = attrs.field(factory=dict)
    cluster_id: int | None = None
    skip_global: bool = False
    leases: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    storage: tuple[StorageCharge, ...] = ()


@attrs.define(kw_only=True)
class QuotaSection:
    """The rows of one section.

    Attributes:
        name: Name of a row, and of a block that sets one: `VM`, `DATASTORE`.
        metrics: The metrics in the order in which they are checked.
        default: Whether these are default limits.
        rows: The rows in the order in which they were made.
    """

    name: str
    metrics: tuple[str, ...]
    default: bool = False
    rows: list[Row] = attrs.field(factory=list)
    key: str = attrs.field(default="ID")

    def row(self, row_id: str) -> Row | None:
        """The row with this literal id (VM: list of clusters), or None."""
        return next((row for row in self.rows if row.get(self.key, "") == row_id), None)

    def is_id(self, row_id: str) -> bool:
        """Whether a row may have this id: any integer, known or not. VM rows need none."""
        return self.key != "ID" or parse_int(row_id) is not None

    def put(self, block: Mapping[str, str]) -> Row | None:
        """Make the row that a block names, or set all its limits: those the block leaves out become unset.

        Args:
            block: Attribute names and values of the block. Only metrics and ids are looked at.

        Returns:
            The row when it was made now.

        Raises:
            QuotaError: A limit is negative, or the id is not a number.
        """
        row_id = block.get(self.key, "")
        row = self.row(row_id) if self.is_id(row_id) else None
        limits = {metric: self._limit(block.get(metric, "")) for metric in self.metrics}
        if not self.is_id(row_id) or None in limits.values():
            pairs = ",".join(f"{name}={value}" for name, value in sorted(block.items()))
            raise QuotaError(f"Negative limits or bad format in quota {self.name} = [ {pairs} ]")
        texts = {metric: float_text(limit) for metric, limit in limits.items() if limit is not None}
        if row is not None:
            row.update(texts)
            return None
        made = texts | {f"{metric}_USED": "0" for metric in self.metrics}
        if row_id:
            made[self.key] = row_id
        self.rows.append(made)
        return made

    def _limit(self, text: str) -> float | None:
        """The limit a text asks for, None when it is one that is refused."""
        number = parse_float(text)
        if number is None:
            return UNLIMITED if self.default else DEFAULT
        allowed = (UNLIMITED,) if self.default else (UNLIMITED, DEFAULT)
        return number if number >= 0 or number in allowed else None

    def check(self, row_id: str, amounts: Mapping[str, float], defaults: "QuotaSection") -> None:
        """Count amounts in a row, which is made where there is none, unless a limit is exceeded.

        Raises:
            QuotaError: The first limit exceeded, in the order of the metrics. Nothing was counted.
        """
        if not self.is_id(row_id):
            raise QuotaError(f"String '{row_id}' is not a valid ID")
        row = self.row(row_id)
        if row is None:
            row = dict.fromkeys(self.metrics, "-1") | {f"{metric}_USED": "0" for metric in self.metrics}
            if row_id and self.key == "ID":
                row["ID"] = row_id
            self.rows.append(row)
        default = defaults.row(row_id)
        for metric in self.metrics:
            if metric not in amounts:
                continue
            limit = _number(row[metric])
            if limit == DEFAULT:
                limit = _number(default[metric]) if default is not None else UNLIMITED
            usage = single(_number(row[f"{metric}_USED"]) + single(amounts[metric]))
            if limit != UNLIMITED and usage > limit:
                where = f" with ID: {row_id}" if row_id else ""
                raise QuotaError(f"limit of {limit:g} reached for {metric} quota in {self.name}{where}")
        self._count(row, amounts, 1)

    def add(self, row_id: str, amounts: Mapping[str, float]) -> None:
        """Count amounts in a row without looking at its limits. Where there is no row, nothing is counted."""
        row = self.row(row_id)
        if row is not None:
            self._count(row, amounts, 1)

    def remove(self, row_id: str, amounts: Mapping[str, float]) -> None:
        """Count amounts out of a row, and drop the row when nothing is left in it."""
        row = self.row(row_id)
        if row is not None:
            self._count(row, amounts, -1)
            self.clean(row)

    def _count(self, row: Row, amounts: Mapping[str, float], sign: int) -> None:
        for metric in self.metrics:
            if metric in amounts:
                used = f"{metric}_USED"
                row[used] = float_text(single(_number(row[used]) + sign * single(amounts[metric])))

    def clean(self, row: Row) -> None:
        """Drop a row that limits nothing and counts nothing. A row of clusters that limits nothing goes anyway."""
        clusters = bool(row.get("CLUSTER_IDS"))
        if clusters:
            row.update(dict.fromkeys([name for name in self.metrics if _number(row[name]) == DEFAULT], "-2"))
        unset = UNLIMITED if self.default or clusters else DEFAULT
        for metric in self.metrics:
            if _number(row[metric]) != unset or (not clusters and _number(row[f"{metric}_USED"]) != 0):
                return
        self.rows = [other for other in self.rows if other is not row]

    def to_xml(self) -> str:
        """The section's element, its rows' elements sorted by name as in any oned template."""
        body = "".join(
            f"<{self.name}>"
            + "".join(f"<{name}>{cdata(value)}</{name}>" for name, value in sorted(row.items()))
            + f"</{self.name}>"
            for row in self.rows
        )
        return f"<{self.name}_QUOTA>{body}</{self.name}_QUOTA>"


def _number(text: str) -> float:
    """The number in a row, which holds nothing else."""
    number = parse_float(text)
    if number is None:
        raise ValueError(f"{text!r} is no number that a quota row can hold")
    return number


class Quotas:
    """All limits and usage of one user or group, or the default limits of all users or groups."""

    def __init__(self, *, default: bool = False) -> None:
        self.default = default
        self.datastore = QuotaSection(name="DATASTORE", metrics=("SIZE", "IMAGES"), default=default)
        self.network = QuotaSection(name="NETWORK", metrics=("LEASES",), default=default)
        self.vm = QuotaSection(name="VM", metrics=VM_METRICS, default=default, key="CLUSTER_IDS")
        self.image = QuotaSection(name="IMAGE", metrics=("RVMS",), default=default)

    @property
    def sections(self) -> tuple[QuotaSection, ...]:
        """The sections in the order of oned's XML."""
        return (self.datastore, self.network, self.vm, self.image)

    def set(
        self,
        blocks: Mapping[str, Sequence[Mapping[str, str]]],
        *,
        clusters: Collection[int] = (),
        in_clusters: Callable[[frozenset[int]], Iterable[Charge]] = lambda _ids: (),
    ) -> None:
        """Set limits. Only rows that a block names are touched, and those wholly.

        Args:
            blocks: Blocks by name of section (`VM`, `DATASTORE`, `NETWORK`, `IMAGE`); other names are ignored. The
                `VM` blocks of `one.group.quota` have a `GID` more, those of `one.user.quota` a `UID`: the server adds
                it, and error texts show it.
            clusters: The clusters there are, for `CLUSTER_IDS`.
            in_clusters: What each VM of this user or group in one of the clusters takes, to start the counters of a
                new row of clusters.

        Raises:
            QuotaError: The text of the refusal. Limits of a user or group are all as before then; of default limits
                those set before the refused one stay, as in oned, which keeps the one set of them in memory.
        """
        before = self._snapshot()
        try:
            for section in (self.datastore, self.network, self.image, self.vm):
                for block in blocks.get(section.name, ()):
                    if section is self.vm:
                        self._put_vm(block, clusters, in_clusters)
                    else:
                        section.put(block)
                        self._clean(section, block.get("ID", ""))
        except QuotaError:
            if not self.default:
                self._restore(before)
            raise

    def _put_vm(
        self,
        block: Mapping[str, str],
        clusters: Collection[int],
        in_clusters: Callable[[frozenset[int]], Iterable[Charge]],
    ) -> None:
        ids = cluster_ids(block.get("CLUSTER_IDS", ""))
        row_id = ",".join(map(str, sorted(ids)))
        if "CLUSTER_IDS" in block:
            block = {**block, "CLUSTER_IDS": row_id}
        if self.vm.row(row_id) is None:
            for cluster in sorted(ids):
                if cluster not in clusters:
                    raise QuotaError(f"Cluster {cluster} does not exist")
                if self._cluster_row(cluster) is not None:
                    raise QuotaError(f"Quota for cluster id {cluster} already exists")
        if self.vm.put(block) is not None and ids:
            for charge in in_clusters(frozenset(ids)):
                self.vm.add(row_id, charge.vm)
        self._clean(self.vm, row_id)

    def _cluster_row(self, cluster_id: int | None) -> Row | None:
        if cluster_id is None:
            return None
        return next((row for row in self.vm.rows if cluster_id in cluster_ids(row.get("CLUSTER_IDS", ""))), None)

    @staticmethod
    def _clean(section: QuotaSection, row_id: str) -> None:
        row = section.row(row_id)
        if row is not None:
            section.clean(row)

    def check(self, charge: Charge, defaults: "Quotas") -> None:
        """Count a charge, unless a limit is exceeded: leases first, then the VM, disks and datastores.

        Args:
            charge: What is taken.
            defaults: The default limits of users or groups.

        Raises:
            QuotaError: The first limit exceeded. Nothing was counted.
        """
        before = self._snapshot()
        try:
            for network_id in charge.leases:
                self.network.check(network_id, {"LEASES": 1}, defaults.network)
            for row_id in self._vm_rows(charge):
                self.vm.check(row_id, charge.vm, defaults.vm)
            for image_id in charge.images:
                self.image.check(image_id, {"RVMS": 1}, defaults.image)
            for storage in charge.storage:
                self._check_storage(storage, defaults)
        except QuotaError:
            self._restore(before)
            raise

    def _check_storage(self, storage: StorageCharge, defaults: "Quotas") -> None:
        if storage.size_mb < 0:
            raise QuotaError("Image size must be a positive integer value")
        amounts = {"SIZE": storage.size_mb, "IMAGES": storage.images}
        self.datastore.check(storage.datastore_id, amounts, defaults.datastore)

    def add(self, charge: Charge) -> None:
        """Count the VM part of a charge whatever the limits are (oned does so when a VM starts to run again)."""
        for row_id in self._vm_rows(charge):
            self.vm.add(row_id, charge.vm)

    def remove(self, charge: Charge) -> None:
        """Count a charge out again, and drop the rows that are empty then."""
        for network_id in charge.leases:
            self.network.remove(network_id, {"LEASES": 1})
        for row_id in self._vm_rows(charge):
            self.vm.remove(row_id, charge.vm)
        for image_id in charge.images:
            self.image.remove(image_id, {"RVMS": 1})
        for storage in charge.storage:
            amounts = {"SIZE": storage.size_mb, "IMAGES": storage.images}
            self.datastore.remove(storage.datastore_id, amounts)

    def _vm_rows(self, charge: Charge) -> tuple[str, ...]:
        """Ids of the VM rows that a charge counts in: that of its cluster if there is one, and the general one."""
        if not charge.vm:
            return ()
        row = self._cluster_row(charge.cluster_id)
        of_cluster = () if row is None else (row["CLUSTER_IDS"],)
        return of_cluster if charge.skip_global else (*of_cluster, "")

    def to_xml(self) -> str:
        """The four elements, as they stand in the bodies of users and groups, and in default quotas."""
        return "".join(section.to_xml() for section in self.sections)

    def _snapshot(self) -> tuple[list[Row], ...]:
        return tuple([dict(row) for row in section.rows] for section in self.sections)

    def _restore(self, before: tuple[list[Row], ...]) -> None:
        for section, rows in zip(self.sections, before, strict=True):
            section.rows = rows


def cluster_ids(text: str) -> set[int]:
    """The numbers in a comma separated list, as `one_util::split_unique` takes them: what is none is left out."""
    matches = (_INT.match(part) for part in text.split(","))
    return {int(match[1]) for match in matches if match is not None}
