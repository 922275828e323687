"""When a codebook has to be learnt anew: a pure decision from what was measured at the last build."""

from msgspec.structs import replace

from index_nodes.generations.manifest import IndexFacts
from index_nodes.settings import BuildPolicy

_SECONDS_PER_DAY = 86_400


def why_retrain(policy: BuildPolicy, facts: IndexFacts, rows: int, now_us: int, rejected: int = 0) -> str | None:
    """The reason to train, None to encode with the codebook there is.

    Args:
        facts: of the generation that the build starts from; without lists it has no codebook, and none is kept.
        rows: that the build will hold.
        rejected: builds on this generation that were rejected before.
    """
    if not facts.nlist:
        return None
    if rejected:
        return "the last build with this codebook was rejected"
    age_us = now_us - facts.trained_at_us
    if age_us >= policy.retrain_age_us:
        return f"the codebook is {age_us / 1e6 / _SECONDS_PER_DAY:.0f} days old"
    growth = rows / max(1, facts.trained_rows)
    if not 1 / policy.retrain_growth < growth < policy.retrain_growth:
        return f"{rows} rows, trained for {facts.trained_rows}"
    if facts.imbalance >= policy.retrain_imbalance * facts.trained_imbalance:
        return f"list imbalance {facts.imbalance:.2f}, at training {facts.trained_imbalance:.2f}"
    if facts.residual > policy.retrain_residual * facts.trained_residual:
        return f"residual error {facts.residual:.3f}, at training {facts.trained_residual:.3f}"
    return None


def stamped(facts: IndexFacts, parent: IndexFacts, is_reused: bool, rows: int, now_us: int) -> IndexFacts:
    """The facts of a new index, with where its codebook comes from."""
    if not facts.nlist:
        return facts
    if is_reused:
        return replace(
            facts,
            codebook_epoch=parent.codebook_epoch,
            trained_at_us=parent.trained_at_us,
            trained_rows=parent.trained_rows,
            trained_residual=parent.trained_residual,
            trained_imbalance=parent.trained_imbalance,
        )
    return replace(
        facts,
        codebook_epoch=parent.codebook_epoch + 1,
        trained_at_us=now_us,
        trained_rows=rows,
        trained_residual=facts.residual,
        trained_imbalance=facts.imbalance,
    )
