"""The commands of `onetenant`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from opennebula_tenancy.admin_credentials import ResetIncomplete
from opennebula_tenancy.cli import doctor as examination
from opennebula_tenancy.cli.amounts import Amount
from opennebula_tenancy.cli.command import Program
from opennebula_tenancy.cli.failures import WRONG_USAGE, Failure
from opennebula_tenancy.cli.output import Answer, Value
from opennebula_tenancy.cli.progress import watched
from opennebula_tenancy.cli.session import Session, say, tenant_called
from opennebula_tenancy.cli.shown import figures, identity, login, parts
from opennebula_tenancy.errors import Conflict, NotFound, VerificationFailed
from opennebula_tenancy.quota import Metric, Quota
from opennebula_tenancy.vdc_spec import StorageScope, VdcSpec


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy.cloud import Cloud
    from opennebula_tenancy.plan import Change, Plan, Progress, Step


F = TypeVar("F", bound=Callable[..., Any])

_TENANT = click.argument("tenant", metavar="NAME_OR_ID")
_LIMITS: Mapping[str, tuple[Metric, str]] = {
    "--cpu": (Metric.CPU, "Cores of all VMs; may be fractional."),
    "--memory": (Metric.MEMORY, "Memory of all VMs."),
    "--storage": (Metric.STORAGE, "Storage, as the tenant's storage scope counts it."),
    "--floating-ips": (Metric.FLOATING_IPS, "Addresses on the external networks."),
    "--vms": (Metric.VMS, "VMs."),
    "--running-cpu": (Metric.RUNNING_CPU, "Cores of VMs that run."),
    "--running-memory": (Metric.RUNNING_MEMORY, "Memory of VMs that run."),
    "--running-vms": (Metric.RUNNING_VMS, "VMs that run."),
    "--images": (Metric.IMAGES, "Images in each datastore."),
    "--system-disk": (Metric.SYSTEM_DISK, "Disks of VMs on system datastores."),
}
_SIZES = frozenset({Metric.MEMORY, Metric.STORAGE, Metric.RUNNING_MEMORY, Metric.SYSTEM_DISK})


def _limits(command: F) -> F:
    """The options that name limits, each as the field of `Quota`."""
    for flag, (metric, what) in reversed(list(_LIMITS.items())):
        kind = Amount(size=metric in _SIZES)
        command = click.option(flag, metric.field, type=kind, metavar=kind.name.upper(), help=what)(command)
    return command


def _spec(command: F) -> F:
    """The options that ask for a tenant."""
    for option in (
        click.option(
            "--storage-datastore",
            "storage_datastores",
            type=int,
            multiple=True,
            metavar="ID",
            help="An image datastore that limits of storage hold on; those of the clusters when omitted. Repeatable.",
        ),
        click.option(
            "--storage-scope",
            type=click.Choice([str(scope) for scope in StorageScope]),
            default=str(StorageScope.IMAGES),
            show_default=True,
            help="What counts as storage.",
        ),
        click.option(
            "--external-network",
            "external_networks",
            type=int,
            multiple=True,
            metavar="ID",
            help="A network whose leases count as floating IPs. Repeatable.",
        ),
        click.option(
            "--cluster",
            "clusters",
            type=int,
            multiple=True,
            metavar="ID",
            help="A cluster that the tenant may use; all of them when omitted. Repeatable.",
        ),
        click.option(
            "--admin/--no-admin",
            default=None,
            help="Whether it has an administrator account, NAME_admin; one that it has stays when omitted.",
        ),
        _limits,
        click.option("--key", help="What the tenant is known by; made up, and said, when omitted."),
        click.option("--name", required=True, help="The name of the tenant."),
    ):
        command = option(command)
    return command


def _asked_for(options: dict[str, Any]) -> VdcSpec:
    """The tenant that the options ask for."""
    quota = Quota(**{metric.field: options.pop(metric.field) for metric in Metric})
    for field in ("clusters", "storage_datastores"):
        options[field] = options[field] or None  # none named means all of them
    if options["key"] is None:
        del options["key"]
    return VdcSpec(quota=quota, **options)


def _changes(changes: tuple[Change, ...]) -> Answer:
    rows = [(change.action, change.subject, change.before, change.after) for change in changes]
    return Answer.listing(("action", "subject", "before", "after"), rows)


def _plan_of(cloud: Cloud, spec: VdcSpec) -> Plan:
    """The plan; where the name is that of a tenant with another key, the refusal says which."""
    try:
        return cloud.vdcs.plan(spec)
    except Conflict as conflict:
        if (other := cloud.vdcs.find(spec.name)) is not None and other.key != spec.key:
            conflict.add_note(f"the tenant {other.name} is there with the key {other.key}: to change it, say --key")
        raise


def _refuse_loss_of_network(plan: Plan) -> None:
    """There are no options to ask for a network with; what was made with one is not to lose it for that."""
    if lost := [
        str(change)
        for change in plan.changes
        if change.action == "delete" and change.subject.startswith(("network ", "router "))
    ]:
        raise Failure(f"this would {' and '.join(lost)}: to change limits, use onetenant quota", WRONG_USAGE)


def _say_plan(session: Session, spec: VdcSpec, plan: Plan) -> None:
    """Write a plan to stdout."""
    answer = _changes(plan.changes)
    data: dict[str, Value] = {"name": spec.name, "key": spec.key, "changes": answer.data, "notes": plan.notes}
    session.answer(Answer(data, answer.header, answer.rows))
    say(f"{spec.name}: {len(plan)} to change, with the key {spec.key}" if plan else f"{spec.name}: nothing to do")
    for note in plan.notes:
        say(f"note: {note}")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="opennebula-tenancy")
@click.pass_context
def program(context: click.Context, /, **options: Any) -> None:
    """Make, change, measure and remove the tenants of an OpenNebula cloud.

    Answers go to stdout, messages to stderr. Limits are a number, `default`, `unlimited`, or 0 to allow nothing; sizes
    are in MB as OpenNebula counts them, or have a unit: 512m, 8g, 1t.
    """
    context.obj = Session(**options)


@program.command("list", attempt="list the tenants")
@click.pass_obj
def list_command(session: Session) -> None:
    """List the tenants."""
    with session.cloud() as cloud:
        rows = [tuple(identity(vdc).values()) for vdc in cloud.vdcs.list()]
    session.answer(Answer.listing(("id", "vdc_id", "name", "key"), rows))


@program.command("show", attempt="show the tenant {tenant}")
@_TENANT
@click.pass_obj
def show_command(session: Session, tenant: str) -> None:
    """Show a tenant: what it has, its limits and what it uses."""
    with session.cloud() as cloud:
        vdc = tenant_called(cloud, tenant)
        limits, used = figures(vdc.quota()), figures(vdc.usage())
        held = parts(vdc)
    session.answer(Answer.record({**identity(vdc), **held, "limits": limits, "usage": used}))


@program.command("plan", attempt="plan the tenant {name}")
@_spec
@click.pass_obj
def plan_command(session: Session, /, **options: Any) -> None:
    """Say what create would change. Changes nothing."""
    spec = _asked_for(options)
    with session.cloud() as cloud:
        _say_plan(session, spec, _plan_of(cloud, spec))


@program.command("create", attempt="make the tenant {name}")
@_spec
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.pass_obj
def create_command(session: Session, /, dry_run: bool, **options: Any) -> None:
    """Make a tenant, or make one what is asked for, and verify it.

    With the --key of a tenant that is there, or of a run that was interrupted, it goes on from what it finds. The
    password of an administrator account that it makes is in the answer, and cannot be shown again.
    """
    spec = _asked_for(options)
    with session.cloud() as cloud:
        plan = _plan_of(cloud, spec)
        if dry_run:
            _say_plan(session, spec, plan)
            return
        _refuse_loss_of_network(plan)
        session.key = spec.key
        say(str(plan))
        say(f"the key is {spec.key}; to repeat this run, add --key {spec.key}")
        with watched() as progress:
            vdc = cloud.vdcs.ensure(spec, progress=progress)
        known = vdc.admin.credentials() if vdc.admin else None
    session.answer(Answer.record({**identity(vdc), **({"admin": login(known)} if known else {})}))
    say(f"{spec.name} is as asked for, and was verified")


@program.command("quota", attempt="work on the limits of the tenant {tenant}")
@_TENANT
@_limits
@click.pass_obj
def quota_command(session: Session, /, tenant: str, **limits: Any) -> None:
    """Show the limits of a tenant; with options, set those that are named and keep the others."""
    wanted = Quota(**limits)
    with session.cloud() as cloud:
        vdc = tenant_called(cloud, tenant)
        held = vdc.set_quota(wanted) if wanted else vdc.quota()
    data: dict[str, Value] = {"id": vdc.id, "name": vdc.name, "limits": figures(held)}
    session.answer(Answer(data, ("limit", "value"), list(figures(held).items())))
    if wanted:
        say(f"the limits of {vdc.name} are as asked for, and were verified")


@program.command("reset-password", attempt="reset the password of the administrator of the tenant {tenant}")
@_TENANT
@click.pass_obj
def reset_password_command(session: Session, tenant: str) -> None:
    """Give the administrator of a tenant a new password, and show it, once. The old one is refused from then on."""
    with session.cloud() as cloud:
        vdc = tenant_called(cloud, tenant)
        if vdc.admin is None:
            advice = f"onetenant create --key {vdc.key} --admin makes one"
            raise Failure(f"the tenant {vdc.name} has no administrator account; {advice}", WRONG_USAGE)
        try:
            known = vdc.admin.reset_password()
        except ResetIncomplete as error:
            session.answer(Answer.record({"id": vdc.id, "name": vdc.name, **login(error.credentials)}))
            raise
    session.answer(Answer.record({"id": vdc.id, "name": vdc.name, **login(known)}))
    say(f"all that {known.username} could log in with before is refused")


@program.command("usage", attempt="say what is used")
@click.argument("tenant", metavar="[NAME_OR_ID]", required=False)
@click.pass_obj
def usage_command(session: Session, tenant: str | None) -> None:
    """Say what every tenant uses at this moment, or one of them."""
    with session.cloud() as cloud:
        if tenant is not None:
            vdc = tenant_called(cloud, tenant)
            found = [(vdc, vdc.usage())]
        else:
            used = cloud.vdcs.usage()
            # The two are two calls: a tenant that comes or goes between them is left out.
            found = [(vdc, used[vdc.id]) for vdc in cloud.vdcs.list() if vdc.id in used]
    data: list[Value] = [{"id": vdc.id, "name": vdc.name, "usage": figures(usage)} for vdc, usage in found]
    header = ("id", "name", *(metric.field for metric in Metric))
    rows = [(vdc.id, vdc.name, *figures(usage).values()) for vdc, usage in found]
    session.answer(Answer(data if tenant is None else data[0], header, rows))


@program.command("delete", attempt="remove the tenant {tenant}")
@click.argument("tenant", metavar="[NAME_OR_ID]", required=False)
@click.option("--key", help="Remove what carries this key: also a tenant that was never finished.")
@click.option("--terminate-vms", is_flag=True, help="Terminate its VMs as well, which loses their disks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_command(session: Session, tenant: str | None, key: str | None, terminate_vms: bool, yes: bool) -> None:
    """Remove a tenant. Refused while it has members or objects of theirs."""
    if (tenant is None) == (key is None):
        raise click.UsageError("name the tenant, or give its --key")
    removed: list[Change] = []

    def note(step: Step) -> None:
        removed.append(step.change)
        if show is not None:
            show(step)

    show: Progress | None
    with session.cloud() as cloud:
        vdc = tenant_called(cloud, tenant) if tenant is not None else None
        which = f"the tenant {vdc.name} (group {vdc.id}, VDC {vdc.vdc_id})" if vdc else f"what has the key {key}"
        if not yes:
            its_vms = " and all its VMs" if terminate_vms else ""
            click.confirm(f"Remove {which}{its_vms} at {cloud.endpoint}?", abort=True, err=True)
        with watched() as show:
            if vdc is not None:
                vdc.delete(progress=note, terminate_vms=terminate_vms)
            else:
                cloud.vdcs.delete(key=key or "", progress=note, terminate_vms=terminate_vms)
        _verify_gone(cloud, removed)
    session.answer(_changes(tuple(removed)))
    say(f"{which} is gone" if removed else "nothing of it was there any more")


def _verify_gone(cloud: Cloud, removed: list[Change]) -> None:
    """Look once more for the groups that were removed."""
    for noun, _, ident in (change.subject.partition(" ") for change in removed):
        if noun != "group":
            continue
        try:
            cloud.vdcs.get(int(ident))
        except NotFound:
            continue
        raise VerificationFailed(f"OpenNebula accepted the removal of group {ident}, and it is still there")


@program.command("doctor", attempt="examine the connection")
@click.pass_context
def doctor_command(context: click.Context) -> None:
    """Check that the endpoint and the credentials are found, and that they do for tenants. Changes nothing.

    Exits with 1 when a check fails.
    """
    session: Session = context.obj
    checks = list(examination.examine(session))
    session.answer(
        Answer.listing(("check", "result", "detail"), [(check.name, check.result, check.detail) for check in checks])
    )
    if not all(check.well for check in checks):
        context.exit(1)
