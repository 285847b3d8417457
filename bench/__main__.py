"""Print all tables: `python -m bench [--tenants 1000] [--repeat 5]`."""

import argparse

from bench.machines import machines
from bench.orders import orders
from bench.usage import operations, usage


parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("--tenants", type=int, default=1000)
parser.add_argument("--repeat", type=int, default=5)
options = parser.parse_args()
usage(options.tenants, options.repeat)
operations()
machines()
orders()
