"""Tenants on an OpenNebula cloud: make, change, measure and remove them.

A tenant is an OpenNebula group with a VDC of its own and limits that OpenNebula enforces. Begin with `connect`.
"""

from opennebula_tenancy._transport.http import Timeout
from opennebula_tenancy._transport.retry import RetryPolicy
from opennebula_tenancy._transport.rpc import CallRecord
from opennebula_tenancy.admin_credentials import Credentials, CredentialSource, ResetIncomplete
from opennebula_tenancy.admin_user import AdminUser
from opennebula_tenancy.cloud import Cloud, Ping, connect
from opennebula_tenancy.diagram import Diagram, Machine
from opennebula_tenancy.errors import (
    AllocationFailed,
    AlreadyAssigned,
    AlreadyExists,
    ApiError,
    AuthenticationFailed,
    BadRequest,
    Conflict,
    DuplicateObject,
    EnteredFailureState,
    InternalError,
    NotAuthorized,
    NotEmpty,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PoolExhausted,
    ProtocolViolation,
    QuotaExceeded,
    RollbackIncomplete,
    ServerUnready,
    SettingsError,
    TenancyError,
    TransportError,
    VerificationFailed,
    WaitTimeout,
    WentAway,
    WrongState,
)
from opennebula_tenancy.floating_ip import FloatingIp
from opennebula_tenancy.network import Network
from opennebula_tenancy.network_spec import NetworkSpec
from opennebula_tenancy.plan import Change, Plan, Step
from opennebula_tenancy.quota import Limit, Metric, Quota, Usage
from opennebula_tenancy.quota_mapper import Component, QuotaMapper
from opennebula_tenancy.router import Router
from opennebula_tenancy.security_rule import SecurityRule
from opennebula_tenancy.subnets import SubnetPool, Utilisation
from opennebula_tenancy.vdc import Vdc
from opennebula_tenancy.vdc_figures import VdcFigures
from opennebula_tenancy.vdc_spec import StorageScope, VdcSpec
from opennebula_tenancy.vm import Vm
from opennebula_tenancy.vm_figures import VmFigures
from opennebula_tenancy.vm_size import VmSize, VmUsage
from opennebula_tenancy.vm_spec import Allowed, VmSpec
from opennebula_tenancy.vm_status import VmStatus


__all__ = [
    "AdminUser",
    "AllocationFailed",
    "Allowed",
    "AlreadyAssigned",
    "AlreadyExists",
    "ApiError",
    "AuthenticationFailed",
    "BadRequest",
    "CallRecord",
    "Change",
    "Cloud",
    "Component",
    "Conflict",
    "CredentialSource",
    "Credentials",
    "Diagram",
    "DuplicateObject",
    "EnteredFailureState",
    "FloatingIp",
    "InternalError",
    "Limit",
    "Machine",
    "Metric",
    "Network",
    "NetworkSpec",
    "NotAuthorized",
    "NotEmpty",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Ping",
    "Plan",
    "PoolExhausted",
    "ProtocolViolation",
    "Quota",
    "QuotaExceeded",
    "QuotaMapper",
    "ResetIncomplete",
    "RetryPolicy",
    "RollbackIncomplete",
    "Router",
    "SecurityRule",
    "ServerUnready",
    "SettingsError",
    "Step",
    "StorageScope",
    "SubnetPool",
    "TenancyError",
    "Timeout",
    "TransportError",
    "Usage",
    "Utilisation",
    "Vdc",
    "VdcFigures",
    "VdcSpec",
    "VerificationFailed",
    "Vm",
    "VmFigures",
    "VmSize",
    "VmSpec",
    "VmStatus",
    "VmUsage",
    "WaitTimeout",
    "WentAway",
    "WrongState",
    "connect",
]
