/*
 * Chromium with the example's page, told and telling by lines of JSON as in client.js.
 *
 * Usage: node browser.js CHROMIUM URL
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);

function say(saw, facts) {
  process.stdout.write(`${JSON.stringify({ saw, ...facts })}\n`);
}

const browser = await chromium.launch({ executablePath });
const context = await browser.newContext();
const page = await context.newPage();
page.on("console", (message) => process.stdout.write(message.type()==="info"? `${message.text()}\n`: JSON.stringify({saw:"console",text:message.text()})+"\n"));
page.on("crash", () => say("crashed"));

/** The processes of this browser, by the words of their command lines. */
async function processes(word) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return processInfo.map(({ id }) => id).filter((id) => readFileSync(`/proc/${id}/cmdline`, "utf8").includes(word));
}

async function signal(word, name) {
  for (const id of await processes(word)) process.kill(id, name);
}
let stopped=[];
const COMMANDS = {
  open: async () => page.goto(url),
  async ask({ document }) {
    await page.getByLabel("Document").fill(document);
    await page.getByRole("button", { name: "Ask" }).click();
  },
  stop: ({ id }) => page.locator(`#stop-${id}`).click(),
  leave: () => page.locator("#leave").click(),
  "close the tab": () => page.close(),
  "navigate away": () => page.goto("about:blank"),
  "navigate elsewhere": () => page.goto(new URL("/page.js",url).href),
  reload: () => page.reload(),
  "go offline": () => context.setOffline(true),
  "go online": () => context.setOffline(false),
  "kill the renderer": () => signal("--type=renderer", "SIGKILL"),
  "kill the network": () => signal("NetworkService", "SIGKILL"),
  "stop the network": async () => { stopped= await processes("NetworkService"); for (const id of stopped) process.kill(id, "SIGSTOP") },
  "continue": () => { for (const id of stopped) process.kill(id, "SIGCONT") },
  "stop the renderer": async () => { stopped= await processes("--type=renderer"); for (const id of stopped) process.kill(id, "SIGSTOP") },
  "close the browser": () => browser.close(),
};
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await COMMANDS[command.do](command);
  say("did", {what:command.do});
}
await browser.close();
