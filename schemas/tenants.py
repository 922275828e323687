"""What a tenant declares about its events: the kind of its versions, and types and volatility of its attributes."""

import msgspec

from schemas.fields import Kind
from schemas.versions import VersionKind

ATTRIBUTE_TYPES = {
    "boolean": Kind.BOOLEAN,
    "integer": Kind.NUMBER,
    "number": Kind.NUMBER,
    "string": Kind.STRING,
    "strings": Kind.STRING,
}
"""What an attribute may be declared as, and with what its values are compared."""


class TenantDeclaration(msgspec.Struct, frozen=True):
    """One tenant's declaration; the default serves a tenant that never declared anything.

    Attributes:
        versions: the kind of every version this tenant sends.
        attributes: declared types by attribute name, of :data:`ATTRIBUTE_TYPES`.
        volatile: attributes that form part of the offer group.
    """

    tenant: str
    versions: VersionKind = VersionKind.MICROSECONDS
    attributes: dict[str, str] = {}
    volatile: tuple[str, ...] = ()
