"""A page that talks graphql-ws to the quickstart's server, and shows all that it sees."""
