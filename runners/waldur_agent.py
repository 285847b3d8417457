"""The Waldur agent, to be run from a checkout: `python runners/waldur_agent.py -m order_process -c config.yaml`."""

from onetenant_waldur.cli import main


if __name__ == "__main__":
    main()
