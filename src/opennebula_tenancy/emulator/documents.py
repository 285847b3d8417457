"""Documents: `one.document.*`, `one.documentpool.info` (Document.cc, DocumentAPI.cc)."""

from typing import Any, ClassVar

import attrs

from opennebula_tenancy.emulator import sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.syntax import parsed


_MAX_NAME_BYTES = 128


@attrs.define(eq=False, kw_only=True)
class Document(PoolObject):
    """A document: a template that OpenNebula only stores, e.g. a service of OneFlow.

    Attributes:
        type: What its program keeps in it, as a number: 100 a service of OneFlow, 101 a template of one.
    """

    kind: ClassVar[Kind] = Kind.DOCUMENT

    type: int

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<DOCUMENT><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME><TYPE>{self.type}</TYPE>{self.permissions.xml()}"
            f"{self.lock_xml()}{self.template.xml()}</DOCUMENT>"
        )


@method("one.document.allocate", Kind.DOCUMENT, Right.CREATE)
def allocate(call: Call, text: str, kind: int) -> int:
    """Allocates a new document."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.DOCUMENT)))
    pool = call.cloud.pool(Document)
    name = template.take("NAME") or f"document-{pool.next_id}"
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise internal("NAME is too long; max length is 128 chars.")
    # Nothing else is asked of a name, but the body is to be XML.
    if not template.storable or "&" in name or "<" in name:
        raise internal("Error transforming the Document to XML.")
    made = Document(
        name=name,
        type=kind,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    return pool.add(made).id


@method("one.document.info", Kind.DOCUMENT, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns document information."""
    return verbs.info(call, Document, oid)


@method("one.documentpool.info", Kind.DOCUMENT)
def pool_info(call: Call, flag: int, start: int, end: int, kind: int) -> str:
    """Returns the documents of a type."""
    paged = end < -1
    visible = call.visible(Document, flag) if paged else call.visible(Document, flag, start, end)
    found = [document for document in visible if document.type == kind]
    if paged:
        found = found[max(start, 0) : max(start, 0) - end]
    return verbs.pool_xml("DOCUMENT_POOL", (document.xml(call.cloud) for document in found))


def _chown(call: Call, kind: type[Any], oid: int, uid: int, gid: int) -> None:
    verbs.set_owners(call, *verbs.check_owners(call, kind, oid, uid, gid, unique=False))


sharing.declare("document", Document, chown=_chown, unique_names=False)


@method("one.document.delete", Kind.DOCUMENT, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a document."""
    return verbs.delete(call, Document, oid, call.cloud.pool(Document).remove)
