"""Backup jobs, of no VMs here: `one.backupjob.*`, `one.backupjobpool.info` (BackupJob.cc, BackupJobAPI.cc)."""

import itertools
import re
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import ids
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, integer


_PRIORITIES = range(100)
_MAX_USER_PRIORITY = 50
"""What BackupJobAllocateAPI grants users who are no administrators."""

_NUMBER = re.compile(r"\s*([+-]?\d+)", re.ASCII)


@attrs.define(eq=False, kw_only=True)
class BackupJob(PoolObject):
    """A backup job.

    Attributes:
        priority: From 0 to 99; the highest comes first.
    """

    kind: ClassVar[Kind] = Kind.BACKUPJOB

    priority: int = 50

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        collections = ("SCHED_ACTIONS", "UPDATED_VMS", "OUTDATED_VMS", "BACKING_UP_VMS", "ERROR_VMS")
        return (
            f"<BACKUPJOB><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.lock_xml()}{self.permissions.xml()}"
            f"<PRIORITY>{self.priority}</PRIORITY><LAST_BACKUP_TIME>0</LAST_BACKUP_TIME>"
            f"<LAST_BACKUP_DURATION>0</LAST_BACKUP_DURATION>{''.join(ids(name, ()) for name in collections)}"
            f"{self.template.xml()}</BACKUPJOB>"
        )

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - nothing depends on the old one
        """Complete the template, as BackupJob::parse does.

        Raises:
            Refusal: DISK_IDS is no list of ids, or BACKUP_VMS names a VM that exists (INTERNAL).
        """
        template = self.template
        for name in ("NAME", "PRIORITY", "SCHED_ACTION"):
            template.erase(name)
        template.set("KEEP_LAST", str(max(_leading(template.take("KEEP_LAST") or "") or 0, 0)))
        template.set("BACKUP_VOLATILE", "YES" if template.yes("BACKUP_VOLATILE") else "NO")
        self._choose("FS_FREEZE", "NONE", "AGENT", "SUSPEND")
        self._choose("MODE", "FULL", "INCREMENT")
        if template.text("MODE") == "INCREMENT":
            self._choose("INCREMENT_MODE", "CBT", "SNAPSHOT")
        self._choose("EXECUTION", "SEQUENTIAL", "PARALLEL")
        disks = template.text("DISK_IDS") or ""
        if template.erase("DISK_IDS"):
            template.set("DISK_IDS", _disk_ids(disks))
        numbers = (_leading(part) for part in (template.take("BACKUP_VMS") or "").split(","))
        vms = [number for number, _ in itertools.groupby(numbers) if number is not None]
        if any(vm in cloud.pool_of(Kind.VM) for vm in vms):
            raise internal("The embedded OpenNebula implements no backup job of VMs that exist")
        template.set("BACKUP_VMS", ",".join(map(str, vms)))

    def _choose(self, name: str, default: str, *others: str) -> None:
        value = (self.template.text(name) or "").upper()
        self.template.set(name, value if value in others else default)


def _leading(text: str) -> int | None:
    """The number that a text begins with, as a C++ stream reads it, or None."""
    found = _NUMBER.match(text)
    return int(found[1]) if found else None


def _disk_ids(text: str) -> str:
    numbers = [integer(part) for part in text.split(",")] if text else []
    found = {number for number in numbers if number is not None and number >= 0}
    if len(found) < len(set(numbers)):
        raise internal(f"Invalid DISK_IDS value: {text}")
    return ",".join(map(str, sorted(found)))


@method("one.backupjob.allocate", Kind.BACKUPJOB, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new backup job."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.BACKUPJOB)))
    priority = template.integer("PRIORITY")
    if priority is not None and priority not in _PRIORITIES:
        raise internal("Wrong priority value")
    if priority is not None and priority > _MAX_USER_PRIORITY and not call.is_admin:
        raise unauthorized()
    name = template.take("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    pool = call.cloud.pool(BackupJob)
    taken = pool.named(name, call.uid)
    if taken is not None:
        raise internal(f"NAME is already taken by BACKUP JOB {taken.id}.")
    if template.vectors("SCHED_ACTION"):
        raise internal("The embedded OpenNebula implements no SCHED_ACTION of backup jobs")
    made = BackupJob(
        name=name,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    given = _leading(template.text("PRIORITY") or "") or 0
    if template.erase("PRIORITY") and given in _PRIORITIES:
        made.priority = given
    made.template_updated(call.cloud, template)
    if not template.storable:
        raise internal("Error transforming the Backup Job to XML.")
    return pool.add(made).id


@method("one.backupjob.info", Kind.BACKUPJOB, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns backup job information."""
    return verbs.info(call, BackupJob, oid)


@method("one.backupjobpool.info", Kind.BACKUPJOB)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the backup job pool."""
    bodies = (job.xml(call.cloud) for job in call.visible(BackupJob, flag, start, end))
    return verbs.pool_xml("BACKUPJOB_POOL", bodies)


sharing.declare("backupjob", BackupJob, chown=verbs.chown)


@method("one.backupjob.delete", Kind.BACKUPJOB, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a backup job."""
    return verbs.delete(call, BackupJob, oid, call.cloud.pool(BackupJob).remove)
