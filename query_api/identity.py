"""Who is asking: the one place where a request becomes a caller.

While no API key exists the API serves this machine only, and every caller has every scope; the tenant is a query
parameter. Keys replace :func:`caller_of` and nothing else.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from query_api.settings import LOOPBACK_HOSTS
from schemas.errors import HostRefused
from schemas.identity import check_tenant

DEFAULT_TENANT = "default"
ALL_SCOPES = frozenset({"search", "feedback", "publish", "admin"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose products a request sees, and what it may do."""

    tenant: str
    scopes: frozenset[str] = ALL_SCOPES


def caller_of(request: web.Request) -> Caller:
    """The caller of a request.

    Raises:
        InvalidProduct: ``invalid-tenant``.
    """
    return Caller(check_tenant(request.query.get("tenant", DEFAULT_TENANT)))


def check_access(request: web.Request, host: str) -> None:
    """Serve this machine's own programs and pages only.

    A web page elsewhere can make a browser send requests here: by a name that resolves to 127.0.0.1, which the Host
    header shows, or across origins, which the Origin header shows.

    Args:
        host: the address we listen on, an allowed name beside those of loopback.

    Raises:
        HostRefused: from elsewhere.
    """
    name = host_name(request.headers.get("Host", ""))
    if name not in LOOPBACK_HOSTS and name != host:
        raise HostRefused(f"only localhost is served while no API key exists, and Host is {name[:100]!r}")
    origin = request.headers.get("Origin")
    if origin and request.method not in _SAFE_METHODS and urlsplit(origin).netloc != request.headers["Host"]:
        raise HostRefused("a page of another origin may not change anything here")


def host_name(header: str) -> str:
    """The name within a Host header, without port and brackets; empty for one that is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
