"""Expressions of SCHED_REQUIREMENTS."""

import pytest

from opennebula_tenancy.emulator.requirements import matches


HOST = (
    "<HOST><ID>3</ID><NAME>node-3</NAME><CLUSTER_ID>100</CLUSTER_ID><HOST_SHARE><MAX_CPU>800</MAX_CPU></HOST_SHARE>"
    "<MONITORING><CAPACITY><FREE_CPU>700</FREE_CPU></CAPACITY></MONITORING>"
    "<TEMPLATE><RACK>a1</RACK><LOAD>0.5</LOAD></TEMPLATE></HOST>"
)


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("", True),
        ("ID = 3", True),
        ("ID=4", False),
        ('ID="3"', True),
        ('NAME = "node-*"', True),
        ('NAME != "node-*"', False),
        ('RACK = "a?" & CLUSTER_ID = 100', True),
        ("MAX_CPU > 799 & MAX_CPU < 801", True),
        ("LOAD = 0.5", True),
        ("FREE_CPU > 699 & CLUSTER_ID = 100", True),
        ("CLUSTER_ID @> 100", True),
        ("NOTHING = 1", False),
        ("NOTHING != 1", False),
        ("!(ID = 4) & ID = 3", True),
        ("ID = 3 | ID = 4 & ID = 5", False),
        ("ID = 3 | (ID = 4 & ID = 5)", True),
    ],
)
def test_a_host_meets_an_expression_or_not(expression, met):
    assert matches(expression, HOST) is met


@pytest.mark.parametrize("expression", ["ID", "ID =", "ID = 3 ID", "(ID = 3", "= 3", "ID ? 3", "& ID = 3"])
def test_what_does_not_parse_is_an_error(expression):
    with pytest.raises(ValueError, match="syntax error"):
        matches(expression, HOST)
