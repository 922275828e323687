"""What a caller may say about the order of the answer: fields of a search, checked once. Pure."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from query_api.ranking.settings import WEIGHT_MAX, RankSettings, Weights
from schemas.errors import InvalidQuery
from schemas.filters import Filter, parse_filter

Mode = Literal["exact", "similar"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=WEIGHT_MAX)]
ModeField = Annotated[
    Mode | None,
    Meta(
        description="`exact`: this very product, by its looks alone; `similar`: others like it, unlike each other.",
        examples=["similar"],
    ),
]
Diversity = Annotated[
    Share | None,
    Meta(
        description="0: the best first; towards 1: the less a result resembles those before it, the better.",
        examples=[0.2],
    ),
]
Verify = Annotated[
    bool | None,
    Meta(
        description="Compare the pictures of the ten best point by point with that of the query; null: when in doubt.",
        examples=[True],
    ),
]
Personalise = Annotated[bool, Meta(description="False: what the session clicked on does not count.", examples=[False])]
Explain = Annotated[
    bool, Meta(description="Say of every result what each stage contributed to its score.", examples=[True])
]

DIVERSITY_SIMILAR = 0.3
"""Of a search in the mode ``similar`` that names none."""
PREFERRED = 0.2
"""Weight of attributes in a search that prefers some and names no weight, where the settings have none either."""


class WeightsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts how much in the score; those left out are as the server is set."""

    visual: Annotated[Weight | None, Meta(description="Similarity of the pictures.", examples=[1.0])] = None
    attributes: Annotated[Weight | None, Meta(description="What `prefer` names.", examples=[0.2])] = None
    personal: Annotated[Weight | None, Meta(description="What the session clicked on.", examples=[0.1])] = None
    fresh: Annotated[Weight | None, Meta(description="Newer products first.", examples=[0.0])] = None
    agreement: Annotated[
        Weight | None, Meta(description="What disagreement of picture and text takes away.", examples=[0.0])
    ] = None


class RankFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a search that decide on the order of its answer."""

    mode: ModeField = None
    diversity: Diversity = None
    weights: Annotated[
        WeightsBody | None, Meta(description="What counts how much; by default as the server is set.")
    ] = None
    prefer: Annotated[
        dict[str, Any] | None,
        Meta(description="As `filter`, but who does not pass only comes later.", examples=[{"color": "red"}]),
    ] = None
    verify: Verify = None
    personalise: Personalise = True
    explain: Explain = False


class RankParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same as query parameters, beside a raw picture."""

    mode: ModeField = None
    diversity: Diversity = None
    verify: Verify = None
    personalise: Personalise = True
    explain: Explain = False


class RankOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The checked form of RankFields, with the settings' own where nothing was said."""

    weights: Weights = Weights()
    mode: Mode | None = None
    diversity: float = 0.0
    prefer: Filter | None = None
    verify: bool | None = None
    personalise: bool = True
    explain: bool = False
    collapse: bool = False
    """The mode asks for one of several near-duplicates only."""


def options_of(given: RankFields, settings: RankSettings) -> RankOptions:
    """The checked options.

    Raises:
        InvalidQuery: ``prefer`` is no filter; an exact search with diversity.
    """
    if given.mode == "exact" and given.diversity:
        raise InvalidQuery('mode "exact" looks for one product: leave diversity out, or use mode "similar"')
    is_similar = given.mode == "similar"
    prefer = None if given.prefer is None else parse_filter(given.prefer)
    diversity = given.diversity if given.diversity is not None else DIVERSITY_SIMILAR if is_similar else 0.0
    return RankOptions(
        weights=_weights(given, settings.weights, prefers=prefer is not None),
        mode=given.mode,
        diversity=diversity,
        prefer=prefer,
        verify=given.verify,
        personalise=given.personalise,
        explain=given.explain,
        collapse=is_similar,
    )


def _weights(given: RankFields, settings: Weights, *, prefers: bool) -> Weights:
    base = Weights(settings.visual, personal=0.0) if given.mode == "exact" else settings
    if prefers and not base.attributes:
        base = base._replace(attributes=PREFERRED)
    if given.weights is None:
        return base
    chosen = {name: getattr(given.weights, name) for name in Weights._fields}
    return base._replace(**{name: value for name, value in chosen.items() if value is not None})
