/* Runs operations over graphql-ws, and shows their results, their ends, and closes. */
import { createClient } from "./graphql-ws/client.js";

const form = document.querySelector("form");
const retries = new URLSearchParams(location.search).get("retries");
const messages = (errors) => errors.map(({ message }) => message);
let asked = 0;

function element(name, facts) {
  return Object.assign(document.createElement(name), facts);
}

/** Tells the reader of the page, and whoever reads its console. */
function say(saw, facts) {
  const line = JSON.stringify({ saw, ...facts });
  document.querySelector("#seen").append(element("li", { textContent: line }));
  console.info(line);
}

const client = createClient({
  url: new URL("graphql", location.href).href.replace(/^http/, "ws"),
  retryAttempts: Number(retries ?? 5),
  on: { closed: ({ code, reason }) => say("closed", { code, reason }) },
});

/** Begins an operation, which has a button until it is over or stopped. */
function ask(query) {
  const id = String.fromCharCode("a".charCodeAt(0) + (asked++ % 26));
  const button = element("button", { textContent: `Stop ${id}` });
  const over = (facts) => {
    if (button.isConnected) say("over", { id, errors: [], ...facts });
    button.remove();
  };
  document.querySelector("#operations").append(button);
  const stop = client.subscribe(
    { query },
    {
      next: ({ data, errors = [] }) => say("result", { id, data, errors: messages(errors) }),
      error: (error) => over(Array.isArray(error) ? { errors: messages(error) } : { lost: true }),
      complete: over,
    },
  );
  button.addEventListener("click", () => {
    button.remove();
    stop();
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(form.elements.document.value);
});
document.querySelector("#leave").addEventListener("click", () => client.dispose());
say("ready");
