"""Recording an application that does not know the library.

`opentelemetry-instrument python app.py` does it, or from code:

    from strawberry_ws_otel.instrumentor import StrawberryWebSocketInstrumentor

    StrawberryWebSocketInstrumentor().instrument()

This is the one module that replaces attributes of the hosts' classes and of the application's:

* Of each view class it replaces what `OTelViewMixin` would override: `run`,
  `create_websocket_response`, and the classes of the adapter and the handlers. Classes are changed
  and views are not: a view that holds its own `run` would be a reference cycle, and some
  applications make a view for every request.
* `instrument()` changes `GraphQLView` and all classes derived from it. A class that is derived
  later is changed when `GraphQLView.__init__` makes its first view. If its own `__init__` does not
  call that one, it is changed when its first request arrives at `GraphQLView.run`.
* Each class of a hierarchy is changed. The first `run` that a request passes records, which is that
  of the view's own class, as if a mixin stood in front of it. Those that are called below it, also
  those of another view, find that the code serves a recorded request already, and hand on.
* `Schema.get_extensions`, which Strawberry calls for every operation (0.319 to 0.341), adds the
  extension. So it does not matter when a schema was made.
* A view with `OTelViewMixin` and a schema with `OTelExtension` record by themselves.

`uninstrument()` puts back what was replaced. A connection that is open then is recorded until it
ends: its handler, socket and messages were taken at its handshake. Operations that begin on it
later are recorded as without the extension.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial, wraps
from inspect import getattr_static
from os import environ
from typing import Any, Final
from weakref import WeakValueDictionary

from strawberry import Schema
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel._aiohttp.view import OTelViewMixin, serve, upgraded
from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._connection import current_request
from strawberry_ws_otel._environment import config_from
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.extension import OTelExtension
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.setup import SetupCheck

try:
    from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # it has no types
        BaseInstrumentor,
    )
except ModuleNotFoundError as error:
    raise ImportError(
        "the instrumentor needs opentelemetry-instrumentation:"
        ' pip install "strawberry-ws-otel[instrument]"'
    ) from error

_RECORDED: Final = "_otel_recorded"
"""What a class that is changed holds its `_ViewClass` as."""

_KEYWORDS: Final = frozenset({"config", "tracer_provider", "meter_provider"})

_MISSING: Final = object()


class StrawberryWebSocketInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the same
    """Records every `GraphQLView` of aiohttp and every schema of a process.

    `instrument()` takes `config`, or reads the options from the environment, and `tracer_provider`
    and `meter_provider`, which `config` may also have.
    """

    _instrumentation: "_Instrumentation | None" = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what is instrumented, as in `pyproject.toml`."""
        return ("strawberry-graphql >= 0.319.0", "aiohttp >= 3.11.0")

    def instrument(self, **kwargs: Any) -> None:
        """Instrument the hosts; what code says here replaces what the environment said before.

        `opentelemetry-instrument` has instrumented them before the application is imported. A
        second call without any of these keywords is a WARNING of OpenTelemetry's, and nothing else.
        """
        if self.is_instrumented_by_opentelemetry and _KEYWORDS & kwargs.keys():
            # It may raise, so it comes before anything is put back.
            kwargs["config"] = _config_of(kwargs)
            self.uninstrument()
        super().instrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        """Begin to record.

        Raises:
            TypeError: `config` is no `OTelConfig`, or a provider is none.
        """
        self._instrumentation = _Instrumentation(_config_of(kwargs))
        self._instrumentation.begin()

    def _uninstrument(self, **_kwargs: Any) -> None:
        """Put back everything that was replaced."""
        if self._instrumentation is not None:
            self._instrumentation.end()
            self._instrumentation = None


def _config_of(keywords: Mapping[str, Any]) -> OTelConfig:
    """Return the configuration that the keywords of `instrument()` ask for."""
    config = keywords.get("config")
    if config is None:
        config = config_from(environ)
    elif not isinstance(config, OTelConfig):
        raise TypeError(f"config must be an OTelConfig, not {config!r}")
    return _with_providers(config, keywords.get("tracer_provider"), keywords.get("meter_provider"))


def _with_providers(config: OTelConfig, tracer_provider: Any, meter_provider: Any) -> OTelConfig:  # noqa: ANN401  # checked by `OTelConfig`
    """Return a configuration with these providers in place of those that it does not name."""
    if config.tracer_provider is None:
        config = replace(config, tracer_provider=tracer_provider)
    if config.meter_provider is None:
        config = replace(config, meter_provider=meter_provider)
    return config


class _Replaced:
    """The attributes of one class that were replaced, until they are put back."""

    def __init__(self, owner: type) -> None:
        self.owner = owner
        self._attributes: dict[str, tuple[Any, Any]] = {}

    def replace(self, name: str, value: object) -> None:
        """Set an attribute, whatever the metaclass of the application thinks of it."""
        self._attributes[name] = vars(self.owner).get(name, _MISSING), value
        type.__setattr__(self.owner, name, value)

    def put_back(self) -> None:
        """Set each attribute as it was, or delete it: the class may have inherited it."""
        for name, (original, ours) in self._attributes.items():
            if vars(self.owner).get(name, _MISSING) is not ours:
                # Somebody else has replaced it since, and calls ours, which hands on from now on.
                continue
            if original is _MISSING:
                type.__delattr__(self.owner, name)
            else:
                type.__setattr__(self.owner, name, original)


class _ViewClass:
    """What the views of one class record into. An `otel_config` of one view is not read."""

    def __init__(self, owner: type, config: OTelConfig) -> None:
        own = getattr(owner, "otel_config", None)
        if isinstance(own, OTelConfig):
            config = _with_providers(own, config.tracer_provider, config.meter_provider)
        self.config = config
        self._closes = CloseLog()
        self._telemetry: Telemetry | None = None
        self.failures = FailureLog()
        self.setup = SetupCheck(self.failures)
        self.replaced = _Replaced(owner)
        self.refused: str | None = None
        """Why the class of the adapter or of a handler cannot be recorded."""

    def telemetry(self) -> Telemetry:
        """Return the tracer and the instruments of now: global providers may be set later."""
        if self._telemetry is None or not self._telemetry.is_current(self.config):
            self._telemetry = Telemetry(self.config, self.failures, self._closes)
            if self.refused is not None:
                owner = self.replaced.owner.__qualname__
                self.failures.warn_once("%s is recorded without messages: %s", owner, self.refused)
        return self._telemetry


class _Instrumentation:
    """All that is replaced between `instrument()` and `uninstrument()`."""

    def __init__(self, config: OTelConfig) -> None:
        self._config = config
        self._failures = FailureLog()
        self._is_active = False
        self._lock = threading.RLock()
        # By id: the metaclass of an application may make classes that cannot be hashed.
        self._view_classes = WeakValueDictionary[int, type]()
        self._hosts = (_Replaced(GraphQLView), _Replaced(Schema))

    def begin(self) -> None:
        """Replace the attributes of the hosts, and of all view classes that there are."""
        self._is_active = True
        fuse = Fuse(self._failures, "the instrumentation")
        with fuse:
            view, schema = self._hosts
            view.replace("__init__", self._init(GraphQLView.__init__))
            schema.replace("get_extensions", self._get_extensions(Schema.get_extensions))
            for each in _with_derived(GraphQLView):
                self._view_class(each)
        if fuse.blown:
            self.end()

    def end(self) -> None:
        """Put everything back."""
        with self._lock:
            self._is_active = False
            replaced = [vars(each)[_RECORDED].replaced for each in self._view_classes.values()]
            for each in (*replaced, *self._hosts):
                each.put_back()
            self._view_classes.clear()

    def _view_class(self, class_: type) -> _ViewClass | None:
        """Return what the views of a class record into; None if a mixin records them."""
        # Not `issubclass`, which hashes the class here.
        if GraphQLView not in class_.__mro__ or OTelViewMixin in class_.__mro__:
            return None
        if _RECORDED not in vars(class_):
            # Views may be made in several threads.
            with self._lock:
                if self._is_active and _RECORDED not in vars(class_):
                    self._change(class_)
        return vars(class_).get(_RECORDED)

    def _change(self, class_: type) -> None:
        recorded = _ViewClass(class_, self._config)
        replace_ = recorded.replaced.replace
        replace_(_RECORDED, recorded)
        self._view_classes[id(class_)] = class_
        # Where the layers over adapters and handlers log failures of ours.
        replace_("_otel_failures", recorded.failures)
        for layers in (ADAPTER_LAYER, *HANDLER_LAYERS):
            own = getattr_static(class_, layers.attribute)
            try:
                layered = layers.over(own)
            except TypeError as error:
                # The mixin refuses it, too. The host fails with it, unless it serves HTTP only.
                recorded.refused = str(error)
                continue
            if layered is not own:
                replace_(layers.attribute, layered)
        replace_("create_websocket_response", self._create_websocket_response(class_))
        replace_("run", self._run(class_))

    def _recorded(self, view: object) -> _ViewClass | None:
        """Return what a request is recorded into; None if something further out records it."""
        with Fuse(self._failures):
            if self._is_active and current_request() is None:
                return self._view_class(type(view))
        return None

    # --- What stands in the classes --------------------------------------------------------------

    def _init(self, host: Callable[..., None]) -> Callable[..., None]:
        @wraps(host)
        def __init__(view: object, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # stands for it
            recorded: _ViewClass | None = None
            with Fuse(self._failures):
                recorded = self._view_class(type(view)) if self._is_active else None
                if recorded is not None:
                    # The instruments: gauges exist before the first request.
                    recorded.telemetry()
            host(view, *args, **kwargs)
            if recorded is not None:
                recorded.setup.view_made(view, recorded.config)

        return __init__

    def _run(self, owner: type) -> Callable[..., Any]:
        host = _Host(owner, "run")

        @wraps(host.method)
        async def run(view: object, request: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
            serve_as_host = partial(host.of(view), request, *args, **kwargs)
            recorded = self._recorded(view)
            if recorded is None:
                return await serve_as_host()
            return await serve(request, serve_as_host, recorded.telemetry, recorded.failures)

        return run

    def _create_websocket_response(self, owner: type) -> Callable[..., Any]:
        host = _Host(owner, "create_websocket_response")

        @wraps(host.method)
        async def create_websocket_response(view: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
            ws = await host.of(view)(*args, **kwargs)
            # Only what the outermost returns is what the host gets: others may wrap it.
            if owner is type(view):
                upgraded(ws, self._failures)
            return ws

        return create_websocket_response

    def _get_extensions(
        self, host: Callable[..., list[SchemaExtension]]
    ) -> Callable[..., list[SchemaExtension]]:
        config = self._config

        class Extension(OTelExtension):
            otel_config = config

        @wraps(host)
        def get_extensions(schema: Schema, *args: Any, **kwargs: Any) -> list[SchemaExtension]:
            extensions = host(schema, *args, **kwargs)
            with Fuse(self._failures):
                if self._is_active and not any(isinstance(e, OTelExtension) for e in extensions):
                    # The first one is entered first and left last.
                    return [Extension(), *extensions]
            return extensions

        return get_extensions


class _Host:
    """A method of a class as it was before it was replaced."""

    def __init__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name
        self._original = vars(owner).get(name, _MISSING)
        self.method = getattr(owner, name)

    def of(self, view: object) -> Callable[..., Any]:
        """Return the method, bound to a view as Python binds it."""
        method: Callable[..., Any]
        if self._original is _MISSING:
            method = getattr(super(self._owner, view), self._name)
        elif (bind := getattr(type(self._original), "__get__", None)) is not None:
            method = bind(self._original, view, type(view))
        else:
            method = self._original
        return method


def _with_derived(class_: type) -> Iterator[type]:
    """Return a class and all that are derived from it, bases first."""
    yield class_
    derived: list[type] = type.__subclasses__(class_)
    for each in derived:
        yield from _with_derived(each)
