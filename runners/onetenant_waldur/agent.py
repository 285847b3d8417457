"""`Agent`: all offerings of a settings file, and one cycle of each of its two tasks."""

import datetime as dt
import enum
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import opennebula_tenancy as ont
from onetenant_waldur import log
from onetenant_waldur.offering import Offering
from onetenant_waldur.orders import process_orders
from onetenant_waldur.reports import UsageSnapshot, report_usage
from onetenant_waldur.settings import OfferingSettings, Settings
from onetenant_waldur.waldur import Patience, Waldur


class Mode(enum.StrEnum):
    """What an agent does, by the names that today's units have for it."""

    ORDER_PROCESS = "order_process"
    REPORT = "report"


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


class Agent:
    """All offerings of a settings file at work. A context manager that closes their connections.

    Args:
        settings: The settings.
        patience: How long to wait for Waldur.
        timeout: How long to wait for OpenNebula.
        retry: How often, and for how long, calls of OpenNebula are tried.
        clock: What time it is.

    Attributes:
        offerings: The offerings.

    Raises:
        SettingsError: An endpoint or its credentials cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience: Patience | None = None,
        timeout: ont.Timeout | None = None,
        retry: ont.RetryPolicy | None = None,
        clock: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._timeout = timeout
        self._retry = retry
        self._clock = clock
        self._clouds: dict[tuple[str, str], ont.Cloud] = {}
        self._redaction = log.Redaction(settings.secrets())
        self.offerings = tuple(self._offering(one) for one in settings.offerings)

    def introduce(self) -> bool:
        """Log, once, what the settings ask for and the agent does not do.

        Returns:
            Whether Waldur has all of the offerings.
        """
        for remark in self._settings.remarks:
            log.get().warning("settings_remark", remark=remark)
        known = [offering.introduce() for offering in self.offerings]
        return all(known)

    def cycle(self, modes: Collection[Mode], stopping: Callable[[], bool] = lambda: False) -> bool:
        """Do each task once, for all offerings.

        Args:
            modes: The tasks.
            stopping: Asked before each order and each resource whether to stop.

        Returns:
            Whether all went well: no order erred or was left, and all usage was reported.
        """
        well = True
        if Mode.ORDER_PROCESS in modes:
            well &= self.process_orders(stopping)
        if Mode.REPORT in modes:
            well &= self.report_usage(stopping)
        return well

    def process_orders(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Carry out the orders of all offerings.

        Returns:
            Whether none erred, and none was left.
        """
        well = True
        for offering in self.offerings:
            if offering.settings.processes_orders and not stopping():
                tally = process_orders(offering, stopping)
                well &= not (tally.erred or tally.left)
        return well

    def report_usage(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Report the usage of all offerings.

        Returns:
            Whether Waldur knows all usage now.
        """
        well = True
        snapshot = UsageSnapshot()
        today = self._clock().astimezone(self._settings.general.timezone).date()
        for offering in self.offerings:
            if offering.settings.reports_usage and not stopping():
                tally = report_usage(offering, snapshot, today, stopping)
                well &= not tally.failed
        return well

    def close(self) -> None:
        """Close the connections that are kept."""
        for offering in self.offerings:
            offering.waldur.close()
        for cloud in self._clouds.values():
            cloud.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _offering(self, settings: OfferingSettings) -> Offering:
        general = self._settings.general
        return Offering(
            settings=settings,
            waldur=Waldur(
                settings.waldur_api_url,
                settings.waldur_api_token,
                verify=settings.verify_ssl,
                proxy=general.global_proxy or None,
                patience=self._patience,
            ),
            cloud=self._cloud(settings),
            log=log.get().bind(offering=settings.name),
            redaction=self._redaction,
            expose_details=general.expose_backend_error_details,
        )

    def _cloud(self, settings: OfferingSettings) -> ont.Cloud:
        """The connection to an offering's cloud, shared with the other offerings that it serves."""
        backend = settings.backend_settings
        identity = (backend.api_url, backend.credentials)
        if identity not in self._clouds:
            self._clouds[identity] = ont.connect(*identity, timeout=self._timeout, retry=self._retry, on_call=_log_call)
        return self._clouds[identity]


def _log_call(record: ont.CallRecord) -> None:
    log.get().debug(
        "opennebula_call",
        method=record.method,
        call_id=record.call_id,
        outcome=record.outcome,
        seconds=round(record.seconds, 4),
    )
