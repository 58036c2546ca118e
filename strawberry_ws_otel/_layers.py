"""Laying a recording class over a class of the view's: its adapter's, or one of its handlers'.

A view holds a class, or whatever makes instances of one: a function, a static method, a partial, a
property. What it makes is recorded all the same.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final, get_origin

from strawberry_ws_otel._failsafe import Fuse

DERIVED: Final = "_otel_derived"
"""What stands in the body of a class that the library has derived."""


def is_derived(cls: type) -> bool:
    """Whether the library has derived a class, and not the application."""
    return DERIVED in vars(cls)


class Layers:
    """The recording layer over all classes of one kind."""

    def __init__(
        self,
        attribute: str,
        kind: type,
        layer: type,
        begin: Callable[..., object] = lambda *_arguments, **_keywords: None,
    ) -> None:
        """Lay `layer` over what a view has as `attribute`, which are subclasses of `kind`.

        Args:
            attribute: of the view.
            kind: the host's class.
            layer: the class that records.
            begin: what is called with an instance that was not made of a class with the layer, and
                with the arguments that it was made with.
        """
        self.attribute = attribute
        self.begin = begin
        self._kind = kind
        self._layer = layer

    def over(self, value: Any) -> Any:  # noqa: ANN401  # whatever a class can hold
        """Return a view's attribute with the recording layer over what it makes.

        Raises:
            TypeError: it makes nothing of the kind.
        """
        # The host's own handlers are generic, and given with their parameters.
        made = get_origin(value) or value
        if isinstance(made, RecordedFactory):
            return made
        if isinstance(made, type) and issubclass(made, self._kind):
            return made if issubclass(made, self._layer) else self.derived(made)
        if not isinstance(made, type) and (callable(made) or hasattr(made, "__get__")):
            return RecordedFactory(made, self)
        raise TypeError(
            f"{self.attribute} must be a subclass of {self._kind.__name__}, or a callable that"
            f" makes instances of one, not {value!r}"
        )

    def derived(self, class_: type) -> Any:  # noqa: ANN401  # a class of both
        """Return a class of the same name with the layer in front."""
        names = {
            "__module__": class_.__module__,
            "__qualname__": class_.__qualname__,
            DERIVED: True,
        }
        return type(class_.__name__, (self._layer, class_), names)

    def is_laid_over(self, instance: object) -> bool:
        """Whether the class of an instance has the layer."""
        return isinstance(instance, self._layer)


class RecordedFactory:
    """An attribute that is no class: what it makes is recorded.

    It is bound to the view as the application's own would be.
    """

    def __init__(self, factory: Any, layers: Layers) -> None:  # noqa: ANN401  # whatever it is
        self._factory = factory
        self._layers = layers
        # A factory may make classes as well, and they are not to be kept for ever.
        self._derived: Callable[[Any], Any] = lru_cache(maxsize=16)(layers.derived)

    def __get__(self, view: object, owner: type | None = None) -> Callable[..., Any]:
        bind = getattr(type(self._factory), "__get__", None)
        factory = bind(self._factory, view, owner) if bind else self._factory
        return partial(self._make, factory, getattr(view, "_otel_failures", None))

    def _make(
        self,
        factory: Callable[..., Any],
        failures: Any,  # noqa: ANN401  # of the view, if it has some
        /,
        *arguments: Any,
        **keywords: Any,
    ) -> Any:  # noqa: ANN401  # the application's
        made = factory(*arguments, **keywords)
        with Fuse(failures):
            if not self._layers.is_laid_over(made):
                made.__class__ = self._derived(type(made))
                self._layers.begin(made, *arguments, **keywords)
        return made
