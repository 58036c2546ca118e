"""A page that speaks graphql-ws to the quickstart's server, and shows what it receives."""
