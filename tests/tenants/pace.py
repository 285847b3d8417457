"""How fast tests give up."""

import os

import opennebula_tenancy as ont


QUICK = ont.RetryPolicy(attempts=3, budget_s=5, wait_s=0.001, wait_max_s=0.005, settle_s=0.001)
"""Retries whose waits cost a test no time."""

THOROUGH = "THOROUGH" in os.environ
"""Whether every kind of fault hits every call: what otherwise takes turns."""
