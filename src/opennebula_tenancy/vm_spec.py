"""`VmSpec`: a virtual machine as it is asked for. `Allowed`: what may be asked for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy._wire.names import Kind, name_problem
from opennebula_tenancy._wire.template import text_problem
from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.ids import id_problems
from opennebula_tenancy.scheduling import expression_problem
from opennebula_tenancy.ssh_key import SshKey
from opennebula_tenancy.vm_size import VmSize


_ATTRIBUTE = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_OURS = frozenset({"SSH_PUBLIC_KEY", "NETWORK"})
"""What a CONTEXT has of its own accord."""


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values, or what is no sequence as it is: it is named with all other problems."""
    return tuple(values) if isinstance(values, Iterable) else values


def _texts(values: str | Iterable[str]) -> tuple[str, ...]:
    """One text or more: a text is not taken for a sequence of its characters."""
    return (values,) if isinstance(values, str) else _tuple(values)


def _ids(values: Iterable[int] | None) -> frozenset[int] | None:
    return None if values is None else frozenset(values)


def _context(values: Mapping[str, str]) -> Mapping[str, str]:
    return dict(values) if isinstance(values, Mapping) else values


@attrs.frozen(kw_only=True)
class Allowed:
    """What a virtual machine may be made of, besides what is the tenant's own.

    Whoever makes machines for a tenant may use everything, and OpenNebula does not ask whether the tenant may: so this
    library does. Where nothing is named (None), what belongs to the provider's group 0 may be used. What carries
    another tenant's key may never be.

    Attributes:
        templates: The ids of the VM templates. One that is the tenant's own is not allowed unless it stands here: a
            tenant could write into it what is not the tenant's.
        images: The ids of the images that may be added as disks.
        networks: The ids of the networks, besides the tenant's own.
    """

    templates: frozenset[int] | None = attrs.field(default=None, converter=_ids)
    images: frozenset[int] | None = attrs.field(default=None, converter=_ids)
    networks: frozenset[int] | None = attrs.field(default=None, converter=_ids)


PROVIDERS = Allowed()
"""All that belongs to the provider."""


@attrs.frozen(kw_only=True)
class VmSpec:
    """A virtual machine as it is asked for, in a tenant.

    Attributes:
        name: Its name. Other machines may have the same.
        vdc: The id of the tenant: `Vdc.id`.
        template: The id of the VM template that it is made of.
        key: The idempotency key: `ensure` with the same key works on the same machine, whatever happened before. Made
            up when omitted, so that the same `VmSpec` value can be used again.
        size: Its size. What is not named is as the template says.
        ssh_keys: Public keys that may log in, as their `.pub` files have them. They replace those of the template.
        network: The id of its first network; the tenant's own when None, if it has one.
        networks: The ids of further networks.
        keep_template_nics: Whether it gets the interfaces of the template too, behind those of its networks.
        images: The ids of images that it gets as further disks.
        clusters: The ids of the clusters where it may run; all those of the tenant when None.
        sched_requirements: Where it may run, as an expression of OpenNebula's scheduler: as well as in the clusters.
        context: What else it is told at its boot. What the template's CONTEXT says stays where it is not named here.

    Raises:
        SettingsError: A value cannot be; all problems at once.
    """

    name: str
    vdc: int
    template: int
    key: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    size: VmSize = attrs.field(factory=VmSize)
    ssh_keys: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    network: int | None = None
    networks: tuple[int, ...] = attrs.field(default=(), converter=_tuple)
    keep_template_nics: bool = False
    images: tuple[int, ...] = attrs.field(default=(), converter=_tuple)
    clusters: tuple[int, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_tuple))
    sched_requirements: str | None = None
    context: Mapping[str, str] = attrs.field(factory=dict, converter=_context, repr=False)

    def __attrs_post_init__(self) -> None:
        if problems := tuple(self._problems()):
            raise SettingsError(*problems)

    def _problems(self) -> Iterator[str]:
        yield from _text_problems("name", self.name, lambda name: name_problem(Kind.VM, name))
        yield from _text_problems("key", self.key, ownership.key_problem)
        yield from id_problems("vdc", (self.vdc,))
        yield from id_problems("template", (self.template,))
        yield from id_problems("network", () if self.network is None else (self.network,))
        for name in ("networks", "images"):
            yield from id_problems(name, getattr(self, name))
        yield from id_problems("clusters", () if self.clusters is None else self.clusters)
        if self.clusters == ():
            yield "clusters: a machine without a cluster cannot run; None means all those of the tenant"
        if self.sched_requirements is not None and (problem := expression_problem(self.sched_requirements)):
            yield f"sched_requirements: the expression {problem}"
        for name, kind in (("size", VmSize), ("keep_template_nics", bool)):
            if not isinstance(value := getattr(self, name), kind):
                yield f"{name}: {value!r} is no {kind.__name__}"
        yield from self._key_problems()
        yield from self._context_problems()

    def _key_problems(self) -> Iterator[str]:
        keys: Any = self.ssh_keys
        if not isinstance(keys, tuple):
            yield "ssh_keys: this is no list of keys"
            return
        for number, key in enumerate(keys):
            try:
                SshKey.parse(key)
            except SettingsError as error:
                yield f"ssh_keys[{number}]: {error}"

    def _context_problems(self) -> Iterator[str]:
        context: Any = self.context
        if not isinstance(context, Mapping):
            yield "context: this is no mapping of names to values"
            return
        for name, value in context.items():
            if not isinstance(name, str) or not _ATTRIBUTE.match(name):
                yield f"context: {name!r} is not a name of upper case letters, digits and underscores"
            elif name in _OURS:
                yield f"context.{name}: this library writes it"
            elif not isinstance(value, str):
                yield f"context.{name}: {type(value).__name__} is no text"
            elif problem := text_problem(value):
                yield f"context.{name}: the value {problem}"
            elif "$" in value:
                yield f"context.{name}: the value has a '$', which OpenNebula takes for a variable"

    @property
    def keys_text(self) -> str:
        """The public keys as a CONTEXT has them: one a line, each once."""
        return "\n".join(dict.fromkeys(str(SshKey.parse(key)) for key in self.ssh_keys))


def _text_problems(name: str, value: Any, judge: Callable[[str], str | None]) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{name}: {value!r} is no text"
    elif problem := judge(value):
        yield problem
