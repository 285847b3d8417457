"""Tenants on an OpenNebula cloud: make, change, measure and remove them.

A tenant is an OpenNebula group with a VDC of its own and limits that OpenNebula enforces. Begin with `connect`.
"""

from opennebula_tenancy._transport.http import Timeout
from opennebula_tenancy._transport.retry import RetryPolicy
from opennebula_tenancy._transport.rpc import CallRecord
from opennebula_tenancy.cloud import Cloud, Ping, connect
from opennebula_tenancy.errors import (
    AllocationFailed,
    AlreadyAssigned,
    AlreadyExists,
    ApiError,
    AuthenticationFailed,
    BadRequest,
    Conflict,
    DuplicateObject,
    InternalError,
    NotAuthorized,
    NotEmpty,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ProtocolViolation,
    QuotaExceeded,
    RollbackIncomplete,
    ServerUnready,
    SettingsError,
    TenancyError,
    TransportError,
    VerificationFailed,
    WrongState,
)
from opennebula_tenancy.plan import Change, Plan, Step
from opennebula_tenancy.quota import Limit, Metric, Quota, Usage
from opennebula_tenancy.quota_mapper import Component, QuotaMapper
from opennebula_tenancy.vdc import Vdc
from opennebula_tenancy.vdc_spec import StorageScope, VdcSpec


__all__ = [
    "AllocationFailed",
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
    "DuplicateObject",
    "InternalError",
    "Limit",
    "Metric",
    "NotAuthorized",
    "NotEmpty",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Ping",
    "Plan",
    "ProtocolViolation",
    "Quota",
    "QuotaExceeded",
    "QuotaMapper",
    "RetryPolicy",
    "RollbackIncomplete",
    "ServerUnready",
    "SettingsError",
    "Step",
    "StorageScope",
    "TenancyError",
    "Timeout",
    "TransportError",
    "Usage",
    "Vdc",
    "VdcSpec",
    "VerificationFailed",
    "WrongState",
    "connect",
]
