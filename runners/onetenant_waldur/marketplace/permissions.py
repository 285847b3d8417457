"""Who sees what, and who may do what: Waldur's role model, as far as orders, resources and usage need it."""

from onetenant_waldur.marketplace.records import (
    Offering,
    Order,
    Organisation,
    Permission,
    Project,
    Resource,
    Role,
    User,
)


def connected(user: User, scope: Organisation | Project | Offering) -> bool:
    """Whether a user has any role there."""
    return any(grant.scope is scope for grant in user.grants)


def allowed(user: User, permission: Permission, *scopes: Organisation | Project | Offering) -> bool:
    """Whether a user is staff, or has a role with this permission on one of the scopes."""
    return user.is_staff or any(grant.scope in scopes and permission in grant.role.permissions for grant in user.grants)


def provides(user: User, offering: Offering) -> bool:
    """Whether a user is on the provider's side of an offering."""
    return user.is_staff or connected(user, offering.customer) or connected(user, offering)


def consumes(user: User, project: Project) -> bool:
    """Whether a user is in a project, or in its organisation."""
    return user.is_staff or connected(user, project) or connected(user, project.customer)


def sees_order(user: User, order: Order) -> bool:
    """Orders are shown to both sides."""
    return consumes(user, order.project) or provides(user, order.offering)


def manages_resource(user: User, resource: Resource) -> bool:
    """Whether marketplace-provider-resources shows a resource to a user."""
    return provides(user, resource.offering)


def consumes_resource(user: User, resource: Resource) -> bool:
    """Whether marketplace-resources shows a resource to a user."""
    return consumes(user, resource.project)


def owns_organisation(user: User, organisation: Organisation) -> bool:
    """Whether a user is owner of an organisation, and not a mere manager there."""
    return user.is_staff or any(grant.scope is organisation and grant.role is Role.OWNER for grant in user.grants)


def may_change(user: User, resource: Resource) -> bool:
    """Whether a user may order changes of a resource."""
    return allowed(user, Permission.CHANGE_RESOURCE, resource.project, resource.project.customer)


def members(users: list[User], project: Project) -> list[tuple[User, Role]]:
    """Everybody with a role in a project, with that role."""
    return [(user, grant.role) for user in users for grant in user.grants if grant.scope is project]
