"""`Backoff`: the longer something has failed, the longer it is left alone."""

from time import monotonic

import attrs


@attrs.frozen(kw_only=True)
class Pace:
    """How long to leave something alone that fails, in seconds: doubled with each failure in a row.

    Attributes:
        first_s: After the first failure.
        most_s: At most.
    """

    first_s: float
    most_s: float

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        # The exponent is bounded, or a failure of weeks would be a number that no float holds.
        return float(min(self.most_s, self.first_s * 2 ** min(failures - 1, 32)))


@attrs.frozen(kw_only=True)
class Paces:
    """How long what fails is left alone.

    Attributes:
        outage: An offering whose Waldur or OpenNebula is not there.
        denial: An offering that Waldur lets this agent do nothing with: nothing but a person can change that.
        order: An order that fails while all others do not.
    """

    outage: Pace = Pace(first_s=5.0, most_s=300.0)
    denial: Pace = Pace(first_s=60.0, most_s=3600.0)
    order: Pace = Pace(first_s=5.0, most_s=600.0)


@attrs.define
class Backoff:
    """Something that fails now and then.

    Attributes:
        failures: How often it has failed in a row.
        reason: Why it failed last.
    """

    failures: int = attrs.field(default=0, init=False)
    reason: str = attrs.field(default="", init=False)
    _until_s: float = attrs.field(default=0.0, init=False)

    def failed(self, pace: Pace, reason: str = "", *, at_least_s: float = 0.0) -> None:
        """Note a failure.

        Args:
            pace: How long to leave it alone.
            reason: Why it failed.
            at_least_s: Seconds that somebody asked for.
        """
        self.failures += 1
        self.reason = reason
        self._until_s = monotonic() + max(pace.after(self.failures), at_least_s)

    def succeeded(self) -> None:
        """Note that it has not failed."""
        self.failures = 0
        self.reason = ""
        self._until_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds for which it is still to be left alone; 0 when it is not."""
        return max(0.0, self._until_s - monotonic())
