"""What is recorded of a GraphQL error, and what is too private to be."""

from typing import Any

import pytest
import strawberry
from graphql import GraphQLError, Source
from strawberry.permission import BasePermission
from strawberry.types import ExecutionResult

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._strawberry.errors import error_attributes, error_type

DOCUMENT = Source("{ a\n  b\n  c }")


class PaymentError(Exception):
    pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(cause: Exception, **others: Any) -> GraphQLError:
    """An error as graphql-core makes it of what a resolver raised."""
    return GraphQLError(str(cause), original_error=cause, path=["a", 0, "b"], **others)


def extended(extensions: Any) -> GraphQLError:
    """An error to which the application has given any extensions at all."""
    error = GraphQLError("no")
    error.extensions = extensions
    return error


def wrapped(error: GraphQLError) -> GraphQLError:
    """An error that graphql-core has wrapped once more."""
    return GraphQLError(error.message, original_error=error, path=["a"])


def coded(code: Any) -> GraphQLError:
    return GraphQLError("no", extensions={"code": code})


def present(error: GraphQLError, *, executing: bool = True, **options: Any) -> dict[str, Any]:
    attributes = error_attributes(error, OTelConfig(**options), executing=executing)
    return {key: value for key, value in attributes.items() if value is not None}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (coded("UNAUTHENTICATED"), "UNAUTHENTICATED"),
        (coded("x" * 300), "x" * 256),
        (coded("\ud800"), "?"),
        (coded(42), "graphql.error.graphql_error.GraphQLError"),
        (coded(None), "graphql.error.graphql_error.GraphQLError"),
        (coded(["A"]), "graphql.error.graphql_error.GraphQLError"),
        (GraphQLError("no"), "graphql.error.graphql_error.GraphQLError"),
        (extended(None), "graphql.error.graphql_error.GraphQLError"),
        (extended(["code"]), "graphql.error.graphql_error.GraphQLError"),
        (extended("code"), "graphql.error.graphql_error.GraphQLError"),
        (raised(ValueError("no")), "ValueError"),
        (raised(PaymentError("no")), "tests.unit.test_errors.PaymentError"),
        (raised(PaymentError("no"), extensions={"code": "PAYMENT"}), "PAYMENT"),
        (wrapped(raised(PaymentError("no"))), "tests.unit.test_errors.PaymentError"),
        (wrapped(wrapped(GraphQLError("no"))), "graphql.error.graphql_error.GraphQLError"),
    ],
)
def test_the_class_of_an_error_is_its_code_else_that_of_its_cause(
    error: GraphQLError, name: str
) -> None:
    assert error_type(error) == name


def test_an_error_of_a_resolver_is_recorded_whole() -> None:
    error = raised(PaymentError("declined"), source=DOCUMENT, positions=[2, 6, 10])
    error.extensions = {"code": "PAYMENT"}
    assert present(error) == {
        "graphql.error.message": "declined",
        "graphql.error.path": "a[0].b",
        "graphql.error.locations": "1:3,2:3,3:3",
        "graphql.error.code": "PAYMENT",
        "exception.type": "tests.unit.test_errors.PaymentError",
        "exception.message": "declined",
    }


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (["a"], "a"),
        (["a", "b"], "a.b"),
        (["a", 0], "a[0]"),
        (["a", 0, 12, "b"], "a[0][12].b"),
        (["0", 0], "0[0]"),
        ([0, "a"], "[0].a"),
    ],
)
def test_a_path_is_written_as_the_draft_writes_it(path: list[str | int], written: str) -> None:
    assert present(GraphQLError("no", path=path))["graphql.error.path"] == written


@pytest.mark.parametrize("extensions", [None, ["code"], "code", {1: 2}])
def test_an_error_without_a_code_in_its_extensions_has_none(extensions: object) -> None:
    assert present(extended(extensions)) == {}


def test_an_error_before_execution_has_no_message() -> None:
    error = GraphQLError("Cannot query field 'secret'.", source=DOCUMENT, positions=[2])
    assert present(error, executing=False) == {"graphql.error.locations": "1:3"}


VARIABLES = GraphQLError("got invalid value 'hunter2'", original_error=GraphQLError("hunter2"))
"""How graphql-core reports a bad variable: within execution, without a path."""


def test_an_error_of_variables_has_no_message_though_execution_has_begun() -> None:
    assert present(VARIABLES) == {}


def test_what_a_source_raised_has_no_path_and_yet_is_the_applications() -> None:
    error = GraphQLError("down", original_error=PaymentError("down"))
    assert present(error) == {
        "graphql.error.message": "down",
        "exception.type": "tests.unit.test_errors.PaymentError",
        "exception.message": "down",
    }


@pytest.mark.parametrize(
    ("mode", "executing", "message", "exception"),
    [
        ("execution", True, "declined", "declined"),
        ("execution", False, None, None),
        ("all", True, "declined", "declined"),
        ("all", False, "declined", None),
        ("none", True, None, None),
        ("none", False, None, None),
    ],
)
def test_whose_messages_are_recorded_is_configured(
    mode: str, message: str | None, exception: str | None, *, executing: bool
) -> None:
    error = raised(PaymentError("declined"))
    attributes = present(error, executing=executing, error_messages=mode)
    assert attributes.get("graphql.error.message") == message
    assert attributes.get("exception.message") == exception
    assert ("exception.type" in attributes) == executing


def test_messages_of_variables_are_recorded_where_all_are() -> None:
    assert present(VARIABLES, error_messages="all") == {
        "graphql.error.message": "got invalid value 'hunter2'"
    }


def test_everything_is_cut() -> None:
    error = GraphQLError(
        "m" * 1000,
        path=["p" * 1000],
        source=DOCUMENT,
        positions=[2] * 1000,
        original_error=PaymentError("e" * 1000),
        extensions={"code": "c" * 1000},
    )
    assert present(error) == {
        "graphql.error.message": "m" * 512,
        "graphql.error.path": "p" * 256,
        "graphql.error.locations": ",".join(["1:3"] * 10),
        "graphql.error.code": "c" * 256,
        "exception.type": "tests.unit.test_errors.PaymentError",
        "exception.message": "e" * 512,
    }


def test_a_cause_without_words_has_an_empty_message() -> None:
    error = GraphQLError("masked", original_error=MuteError(), path=["a"])
    assert present(error) == {
        "graphql.error.message": "masked",
        "graphql.error.path": "a",
        "exception.type": "tests.unit.test_errors.MuteError",
        "exception.message": "",
    }


def test_an_error_that_the_application_made_has_no_exception() -> None:
    error = GraphQLError("not yours", path=["a"])
    assert present(error) == {"graphql.error.message": "not yours", "graphql.error.path": "a"}


# --- What the host itself raises -------------------------------------------------------------


@strawberry.input
class Login:
    password: str
    token: str


class Members(BasePermission):
    message = "members only"

    def has_permission(self, *_arguments: Any, **_options: Any) -> bool:
        return False


@strawberry.type
class Query:
    @strawberry.field
    def number(self) -> int:
        return "secret"  # type: ignore[return-value]

    @strawberry.field
    def text(self) -> str:
        return {"secret": 1}  # type: ignore[return-value]

    @strawberry.field
    def login(self, login: Login) -> str:
        return login.password

    @strawberry.field
    def nothing(self) -> None:
        return "secret"  # type: ignore[return-value]

    @strawberry.field
    def thing(self, id: strawberry.relay.GlobalID) -> str:  # noqa: A002  # GraphQL's name
        return id.node_id

    @strawberry.field(permission_classes=[Members])  # type: ignore[untyped-decorator]
    def guarded(self) -> str:
        return "yes"

    @strawberry.field
    def declined(self) -> str:
        raise PaymentError("declined")

    @strawberry.field
    def refused(self) -> str:
        raise GraphQLError("refused")

    @strawberry.field
    async def parsed(self) -> int:
        return int("seven")


LITERAL = 'query ($x: String = "d") { login(login: {password: "secret", token: $x}) }'


async def first_error(document: str, **variables: Any) -> GraphQLError:
    result = await strawberry.Schema(Query).execute(document, variable_values=variables)
    assert isinstance(result, ExecutionResult)
    assert result.errors
    return result.errors[0]


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ("{ number }", {}),
        ("{ text }", {}),
        ("{ nothing }", {}),
        ('{ thing(id: "secret") }', {}),
        (LITERAL, {"x": None}),
        ("query ($l: Login!) { login(login: $l) }", {"l": {"password": "secret"}}),
    ],
    ids=["a number", "a text", "nothing", "an id", "a literal", "a variable"],
)
async def test_what_the_host_itself_raises_has_no_message_for_it_quotes_what_is_private(
    document: str, variables: dict[str, Any]
) -> None:
    error = await first_error(document, **variables)
    assert "secret" not in str(present(error))
    assert "graphql.error.message" not in present(error)
    assert "exception.message" not in present(error)
    assert present(error, error_messages="all")["graphql.error.message"] == error.message


@pytest.mark.parametrize(
    ("document", "message", "exception"),
    [
        ("{ declined }", "declined", "tests.unit.test_errors.PaymentError"),
        ("{ refused }", "refused", None),
        ("{ guarded }", "members only", None),
        ("{ parsed }", "invalid literal for int() with base 10: 'seven'", "ValueError"),
    ],
    ids=["its own error", "a GraphQLError", "a permission", "what it called"],
)
async def test_what_the_application_raises_in_a_resolver_has_a_message(
    document: str, message: str, exception: str | None
) -> None:
    attributes = present(await first_error(document))
    assert attributes["graphql.error.message"] == message
    assert attributes.get("exception.type") == exception
    assert attributes.get("exception.message") == (message if exception else None)
