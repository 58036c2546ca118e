/*
 * The clients by their names. Each is made of a URL, options of its own, and what is to be called
 * when it is `closing` a socket, and when that is `closed`, and is
 *
 *     ask(document, variables, observer), which returns how to stop the operation
 *     leave(), which closes in an orderly way
 *
 * An observer is told of `next`, of `complete`, and of an `error`: an array of GraphQL errors, or
 * anything else if the socket is gone.
 */
import { ApolloClient, CombinedGraphQLErrors, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client as UrqlClient, subscriptionExchange } from "@urql/core";
import { getOperationAST, parse } from "graphql";
import { createClient } from "graphql-ws";
import { SubscriptionClient } from "subscriptions-transport-ws";
import WebSocket from "ws";

// Node has one of its own from version 22 on; Apollo's link takes it for granted.
globalThis.WebSocket ??= WebSocket;

/** A socket that tells when its client closes it, which is before the server answers. */
function telling(on) {
  return class extends WebSocket {
    close(code, reason) {
      super.close(code, reason);
      on.closing({ code });
    }
  };
}

function graphqlWsClient(url, options, on) {
  return createClient({ url, webSocketImpl: telling(on), retryAttempts: 0, ...options, on });
}

function graphqlWs(url, options, on) {
  const client = graphqlWsClient(url, options, on);
  return {
    ask: (query, variables, observer) => client.subscribe({ query, variables }, observer),
    leave: () => client.dispose(),
    terminate: () => client.terminate(),
  };
}

function apollo(url, options, on) {
  const socket = graphqlWsClient(url, options, on);
  const client = new ApolloClient({ link: new GraphQLWsLink(socket), cache: new InMemoryCache() });

  function tell(observer, { data, error }) {
    if (error && !CombinedGraphQLErrors.is(error)) observer.error(error);
    else if (data || error) observer.next({ data, errors: error?.errors });
  }

  return {
    ask(document, variables, observer) {
      const asked = { query: gql(document), variables, errorPolicy: "all" };
      if (getOperationAST(asked.query).operation === "subscription") {
        const subscription = client.subscribe(asked).subscribe({
          next: (result) => tell(observer, result),
          complete: () => observer.complete(),
        });
        return () => subscription.unsubscribe();
      }
      client.query(asked).then((result) => {
        tell(observer, result);
        observer.complete();
      });
    },
    leave() {
      client.stop();
      return socket.dispose();
    },
  };
}

function urql(url, options, on) {
  const socket = graphqlWsClient(url, options, on);
  const client = new UrqlClient({
    url: url.replace(/^ws/, "http"),
    exchanges: [
      subscriptionExchange({
        enableAllOperations: true,
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
        }),
      }),
    ],
  });
  return {
    ask(document, variables, observer) {
      const { operation } = getOperationAST(parse(document));
      let last;
      const { unsubscribe } = client[operation](document, variables).subscribe((result) => {
        const { data, error, hasNext } = result;
        // It hands out what it had before with an error, and the last result again at the end.
        const news = { data: data === last ? null : data, errors: error?.graphQLErrors };
        last = data;
        if (error?.networkError) observer.error(error.networkError);
        else if (!data && error) observer.error(error.graphQLErrors);
        else if (hasNext) observer.next(news);
        else {
          if (operation === "query") observer.next(news);
          observer.complete();
        }
      });
      return unsubscribe;
    },
    leave: () => socket.dispose(),
  };
}

function subscriptionsTransportWs(url, options, on) {
  class ToldSocket extends telling(on) {
    constructor(...how) {
      super(...how);
      this.addEventListener("close", on.closed);
    }
  }
  const client = new SubscriptionClient(url, options, ToldSocket);
  return {
    ask(query, variables, observer) {
      const subscription = client.request({ query, variables }).subscribe({
        ...observer,
        error: (error) => observer.error([error]),
      });
      return () => subscription.unsubscribe();
    },
    leave: () => client.close(),
  };
}

export const CLIENTS = {
  "graphql-ws": graphqlWs,
  "Apollo Client": apollo,
  urql,
  "subscriptions-transport-ws": subscriptionsTransportWs,
};
