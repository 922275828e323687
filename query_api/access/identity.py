"""Who is asking: the one place where a request becomes a caller.

While no API key exists the API serves this machine only, and every caller has every scope; the tenant is a query
parameter. Once one exists the key says whose products a request sees, whatever else the request says.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web

from query_api.access.api_keys import EVERY_TENANT, SCOPES, ApiKey, Scope
from query_api.settings import LOOPBACK_HOSTS
from schemas.errors import HostRefused, ScopeMissing, TenantRefused
from schemas.identity import check_tenant

DEFAULT_TENANT = "default"
ALL_SCOPES: frozenset[Scope] = frozenset(SCOPES)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose products a request sees, and what it may do.

    Attributes:
        key_id: the key it came with; None while there are no keys.
        sees_all: it may name any tenant, and be told of all of them together.
    """

    tenant: str
    scopes: frozenset[Scope] = ALL_SCOPES
    key_id: str | None = None
    sees_all: bool = True


_CALLER = web.RequestKey("caller", Caller)


def caller_of(request: web.Request) -> Caller:
    """The caller of a request, as the guard of its route found it."""
    return request[_CALLER]


def remember(request: web.Request, caller: Caller) -> None:
    """Note the caller for :func:`caller_of`."""
    request[_CALLER] = caller


@lru_cache(maxsize=1024)
def local_caller(asked: str | None) -> Caller:
    """Who asks while no key exists: everybody on this machine may do everything, for the tenant that they name.

    Raises:
        InvalidProduct: ``invalid-tenant``.
    """
    return Caller(check_tenant(DEFAULT_TENANT if asked is None else asked))


def key_caller(key: ApiKey, asked: str | None) -> Caller:
    """Who asks with a key. The key's tenant counts; naming another one is refused, not ignored.

    Raises:
        TenantRefused: the tenant asked for is not the key's. InvalidProduct: ``invalid-tenant``.
    """
    sees_all = key.tenant == EVERY_TENANT
    own = DEFAULT_TENANT if sees_all else key.tenant
    tenant = check_tenant(own if asked is None else asked)
    if tenant != own and not sees_all:
        raise TenantRefused(f"this key is for tenant {key.tenant!r}")
    return Caller(tenant, frozenset(key.scopes), key.id, sees_all)


def check_may(caller: Caller, scope: Scope, *, of_all_tenants: bool) -> None:
    """Do nothing if the caller may use a route.

    Raises:
        ScopeMissing: the key lacks the scope. TenantRefused: the route tells of all tenants, and the key is for one.
    """
    if scope not in caller.scopes:
        raise ScopeMissing(f"this needs a key with scope {scope!r}")
    if of_all_tenants and not caller.sees_all:
        raise TenantRefused("this tells of all tenants, and the key is for one of them")


def check_access(request: web.Request, host: str, origins: tuple[str, ...] = ()) -> None:
    """While no key exists: serve this machine's own programs and pages only.

    A web page elsewhere can make a browser send requests here: by a name that resolves to 127.0.0.1, which the Host
    header shows, or across origins, which the Origin header shows.

    Args:
        host: the address we listen on, an allowed name beside those of loopback.
        origins: pages of these may write, too.

    Raises:
        HostRefused: from elsewhere.
    """
    name = host_name(request.headers.get("Host", ""))
    if name not in LOOPBACK_HOSTS and name != host:
        raise HostRefused(f"only localhost is served while no API key exists, and Host is {name[:100]!r}")
    origin = request.headers.get("Origin")
    if not origin or request.method in _SAFE_METHODS or origin in origins:
        return
    if _netloc(origin) != request.headers["Host"]:
        raise HostRefused("a page of another origin may not change anything here")


def _netloc(origin: str) -> str:
    """Host and port of an Origin header; empty for one that is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def host_name(header: str) -> str:
    """The name within a Host header, without port and brackets; empty for one that is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
