"""What this installation refuses although it can be read: pictures by flags, looks or a score, and query texts."""

from processors.pictures.blocklist import BlockList
from processors.pictures.gate_settings import GateSettings
from processors.pictures.safety import QueryPolicy, SafetyScorer, SensitiveTerms
from schemas.embeddings import Space, Vector
from schemas.errors import PictureBlocked, PictureRejected, QueryAbstained
from topics.store import ObjectStore


class Gate:
    """Refuses pictures of products and of queries alike. Without arguments it lets everything pass."""

    def __init__(
        self,
        reject: frozenset[str] = frozenset(),
        blocked: BlockList | None = None,
        scorer: SafetyScorer | None = None,
        policy: QueryPolicy | None = None,
    ) -> None:
        self._reject, self._blocked, self._scorer, self._policy = reject, blocked, scorer, policy

    async def refresh(self) -> None:
        """Read the block list again if it is time; raises OSError, TransientError if it could never be read."""
        if self._blocked is not None:
            await self._blocked.refresh_if_due()

    def check(self, tenant: str, flags: tuple[str, ...], *hashes: bytes) -> None:
        """Do nothing if a picture may be used.

        Args:
            flags: of :class:`processors.pictures.decode.Quality`.
            hashes: perceptual ones, of the picture and of a part of it that is asked about.

        Raises:
            PictureBlocked, PictureRejected
        """
        for phash in hashes:
            if self._blocked is not None and (entry := self._blocked.match(tenant, phash)):
                raise PictureBlocked(f"the picture looks like {entry.id} on the block list")
        if refused := [flag for flag in flags if flag in self._reject]:
            raise PictureRejected(f"the picture is {', '.join(refused)}")

    @property
    def scores_vectors(self) -> bool:
        """Whether :meth:`check_vector` looks at anything."""
        return self._scorer is not None

    def check_vector(self, vector: Vector) -> None:
        """Do nothing if the safety scorer lets this embedding pass; raises PictureRejected."""
        if self._scorer is not None and (score := self._scorer.score(vector)) >= self._scorer.threshold:
            raise PictureRejected(
                f"the safety score is {score:.2f}, from {self._scorer.threshold:.2f} on it is refused"
            )

    def check_text(self, text: str) -> None:
        """Do nothing if a query's text may be answered; raises QueryAbstained."""
        if self._policy is not None and self._policy.abstains(text):
            raise QueryAbstained("there is no answer to such a query here")


def open_gate(settings: GateSettings, store: ObjectStore | None, space: Space) -> Gate:
    """The gate as the settings say, without a block list where there is no store.

    Raises:
        SettingsError: the safety model cannot be read or is of another space, or the sensitive terms cannot be read.
    """
    policy = None if settings.sensitive_terms is None else SensitiveTerms.load(settings.sensitive_terms)
    scorer = None if settings.safety_model is None else SafetyScorer.load(settings.safety_model, space)
    blocked = None if store is None else BlockList(store, bits=settings.blocklist_bits)
    return Gate(settings.reject, blocked, scorer, policy)
