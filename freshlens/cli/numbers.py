"""How commands read numbers."""

from math import isfinite

import click


class FiniteRange(click.FloatRange):
    """A finite number within a range; nan, which compares with nothing, would pass for one."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number
