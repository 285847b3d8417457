"""`Agent`: all offerings of a settings file, and one cycle of each of its two tasks."""

import datetime as dt
import enum
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import opennebula_tenancy as ont
from onetenant_waldur import log
from onetenant_waldur.backoff import Paces
from onetenant_waldur.offering import Offering
from onetenant_waldur.order_desk import OrderDesk
from onetenant_waldur.order_round import OrderRound
from onetenant_waldur.reports import UsageReport
from onetenant_waldur.settings import OfferingSettings, Settings, accounts_of
from onetenant_waldur.stock import Stock
from onetenant_waldur.stop import AtOnce, LetGo, Stopping
from onetenant_waldur.waldur import Waldur
from onetenant_waldur.waldur_calls import Patience, utc_now


class Mode(enum.StrEnum):
    """What an agent does, by the names that today's units have for it."""

    ORDER_PROCESS = "order_process"
    REPORT = "report"


class Agent:
    """All offerings of a settings file at work. A context manager that closes their connections.

    Args:
        settings: The settings.
        patience: How long to wait for Waldur.
        timeout: How long to wait for OpenNebula.
        retry: How often, and for how long, calls of OpenNebula are tried.
        paces: How long what fails is left alone.
        clock: The clock of this machine. What month it is, Waldur says.
        redaction: What keeps secrets out of texts, and learns those that come up; that of the settings when omitted.

    Attributes:
        offerings: The offerings.
        redaction: What keeps secrets out of texts.

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
        paces: Paces | None = None,
        clock: Callable[[], dt.datetime] = utc_now,
        redaction: log.Redaction | None = None,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._timeout = timeout
        self._retry = retry
        self._clock = clock
        self._stop = Stopping()
        self._clouds: dict[tuple[str, str, bool | str], ont.Cloud] = {}
        self._waldurs: dict[tuple[str, str, bool | str], Waldur] = {}
        self._connections = _budget(settings)
        self.redaction = redaction or log.Redaction(settings.secrets())
        self.offerings = tuple(self._offering(one) for one in settings.offerings)
        attempts, paces = settings.general.max_attempts, paces or Paces()
        self._desks = tuple(
            OrderDesk(one, max_attempts=attempts, paces=paces)
            for one in self.offerings
            if one.settings.processes_orders
        )
        self._reports = tuple(
            UsageReport(one, settings.general.timezone, paces) for one in self.offerings if one.settings.reports_usage
        )

    def introduce(self, stop: Stopping | None = None) -> bool:
        """Log, once, what the settings ask for and the agent does not do, and whether the offerings can be served.

        Args:
            stop: Whether to stop: asked before each call.

        Returns:
            Whether Waldur has all of the offerings, and the clouds have what they are made with.
        """
        for remark in self._settings.remarks:
            log.get().warning("settings_remark", remark=remark)
        self._stop = AtOnce(stop or Stopping())
        try:
            known = [offering.introduce() for offering in self.offerings]
        except LetGo:
            return False
        return all(known)

    def cycle(self, modes: Collection[Mode], stop: Stopping | None = None) -> bool:
        """Do each task once, for all offerings.

        Args:
            modes: The tasks.
            stop: Whether to stop: asked before each order, each resource and each call.

        Returns:
            Whether all went well: no order erred or was left, and all usage was reported.
        """
        well = True
        if Mode.ORDER_PROCESS in modes:
            well &= self.process_orders(stop)
        if Mode.REPORT in modes:
            well &= self.report_usage(stop)
        return well

    def process_orders(self, stop: Stopping | None = None) -> bool:
        """Carry out the orders of all offerings, several at the same time.

        Returns:
            Whether none erred, and none was left.
        """
        self._stop = stop or Stopping()
        tally = OrderRound(self._desks, self._stop).run(self._settings.general.max_workers)
        return not (tally.erred or tally.left)

    def report_usage(self, stop: Stopping | None = None) -> bool:
        """Report the usage of all offerings, and how their resources are.

        Returns:
            Whether Waldur knows all of it now.
        """
        self._stop = stop or Stopping()
        well = True
        stock = Stock()
        try:
            for report in self._reports:
                if not self._stop.requested:
                    well &= report.send(stock, self._stop)
        except LetGo:
            return False
        return well

    def close(self) -> None:
        """Close the connections that are kept."""
        for waldur in self._waldurs.values():
            waldur.close()
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
            waldur=self._waldur(settings),
            cloud=self._cloud(settings),
            log=log.get().bind(offering=settings.name),
            redaction=self.redaction,
            expose_details=general.expose_backend_error_details,
        )

    def _waldur(self, settings: OfferingSettings) -> Waldur:
        """The access to an offering's Waldur, shared with the other offerings that are sold there."""
        general = self._settings.general
        identity = (settings.waldur_api_url, settings.waldur_api_token, settings.verify)
        if identity not in self._waldurs:
            self._waldurs[identity] = Waldur(
                settings.waldur_api_url,
                settings.waldur_api_token,
                verify=settings.verify,
                proxy=general.global_proxy or None,
                patience=self._patience,
                max_connections=general.max_workers,
                before_call=self._checkpoint,
                clock=self._clock,
            )
        return self._waldurs[identity]

    def _cloud(self, settings: OfferingSettings) -> ont.Cloud:
        """The connection to an offering's cloud, shared with the other offerings that it serves."""
        backend = settings.backend_settings
        identity = (backend.api_url, backend.credentials, backend.verify)
        if identity not in self._clouds:
            self._clouds[identity] = ont.connect(
                backend.api_url,
                backend.credentials,
                verify=backend.verify,
                timeout=self._timeout,
                max_connections=self._connections[backend.api_url],
                retry=self._retry,
                on_call=self._called,
                admin_credentials=self._settings.admin_credentials,
            )
        return self._clouds[identity]

    def _called(self, record: ont.CallRecord) -> None:
        log.get().debug(
            "opennebula_call",
            method=record.method,
            call_id=record.call_id,
            outcome=record.outcome,
            seconds=round(record.seconds, 4),
        )
        self._checkpoint()

    def _checkpoint(self) -> None:
        self._stop.checkpoint()


def _budget(settings: Settings) -> dict[str, int]:
    """How many calls each connection may have under way at an address: together no more than a server is to see."""
    connections = accounts_of(settings.offerings)
    return {
        address: settings.general.max_connections // len(accounts)
        for accounts in connections.values()
        for address, *_ in accounts
    }
