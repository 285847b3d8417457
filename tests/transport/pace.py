"""How often calls are tried here: without waiting."""

from opennebula_tenancy import RetryPolicy


ONCE = RetryPolicy(attempts=1, settle_s=0)
QUICK = RetryPolicy(attempts=4, wait_s=0.001, wait_max_s=0.002, settle_s=0)
