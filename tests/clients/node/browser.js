/*
 * Chromium with one tab, in which a page writes to the console what it saw, as lines of JSON. It is
 * told what a user does there, and what happens to the browser's processes.
 *
 * Usage: node browser.js CHROMIUM URL
 */
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { obey, say } from "./lines.js";

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath });
const context = await browser.newContext();
const page = await context.newPage();
page.on("console", (message) => {
  if (message.type() === "info") process.stdout.write(`${message.text()}\n`);
});
await page.goto(url);

const RENDERER = "--type=renderer";
const NETWORK = "--utility-sub-type=network.mojom.NetworkService";
const frozen = [];

/** Those processes of this browser that have this on their command lines. */
async function processes(mark) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const ids = processInfo.map(({ id }) => id);
  return ids.filter((id) => readFileSync(`/proc/${id}/cmdline`, "utf8").includes(mark));
}

async function kill(mark) {
  for (const id of await processes(mark)) process.kill(id, "SIGKILL");
}

function thaw() {
  while (frozen.length > 0) process.kill(frozen.pop(), "SIGCONT");
}

try {
  await obey({
    async ask({ document }) {
      await page.getByLabel("Document").fill(document);
      await page.getByRole("button", { name: "Ask" }).click();
    },
    stop: ({ id }) => page.getByRole("button", { name: `Stop ${id}` }).click(),
    leave: () => page.getByRole("button", { name: "Leave" }).click(),
    "close the tab": () => page.close(),
    "navigate away": () => page.goto("about:blank"),
    reload: () => page.reload(),
    "go offline": () => context.setOffline(true),
    "go online": () => context.setOffline(false),
    "close the browser": () => browser.close(),
    "kill the renderer": () => kill(RENDERER),
    "kill the network": () => kill(NETWORK),
    async "freeze the network"() {
      frozen.push(...(await processes(NETWORK)));
      for (const id of frozen) process.kill(id, "SIGSTOP");
      say("frozen");
    },
    thaw,
  });
} finally {
  thaw();
  process.exit(); // which kills the browser, and is quicker than to close it
}
