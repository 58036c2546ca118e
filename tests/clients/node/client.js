/*
 * One GraphQL client of clients.js: it asks for operations, stops them, and leaves.
 *
 *     {"do": "ask", "id": "a", "document": "query { hello }", "variables": {}}
 *     {"do": "stop", "id": "a"}
 *     {"do": "leave"}
 *
 * It tells each `result` of an operation, that one is `over`, and that a socket is
 * `closing`, by the client, or `closed`.
 *
 * Usage: node client.js CLIENT URL OPTIONS, where the options are the client's own, as JSON.
 */
import { CLIENTS } from "./clients.js";
import { obey, say } from "./lines.js";

const [name, url, options] = process.argv.slice(2);
const stops = new Map();
const messages = (errors) => errors.map(({ message }) => message);

/** What an operation tells its asker, until it is over or stopped. */
function observer(id) {
  const over = (facts) => stops.delete(id) && say("over", { id, errors: [], ...facts });
  return {
    next: ({ data = null, errors = [] }) =>
      stops.has(id) && say("result", { id, data, errors: messages(errors) }),
    error: (error) => over(Array.isArray(error) ? { errors: messages(error) } : { lost: true }),
    complete: over,
  };
}

const client = CLIENTS[name](url, JSON.parse(options), {
  closing: ({ code }) => say("closing", { code }),
  closed: ({ code, reason }) => say("closed", { code, reason: String(reason ?? "") }),
  pong: () => say("pong"),
});

await obey({
  ask({ id, document, variables }) {
    stops.set(id, undefined);
    const stop = client.ask(document, variables, observer(id));
    if (stops.has(id)) stops.set(id, stop);
  },
  stop({ id }) {
    const stop = stops.get(id);
    stops.delete(id);
    stop();
  },
  leave: () => void client.leave(),
  terminate: () => client.terminate(),
});
process.exit();
