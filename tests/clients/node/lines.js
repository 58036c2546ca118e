/*
 * How these programs are told what to do and tell what they saw: a line of JSON each, on standard
 * input and output.
 */
import { createInterface } from "node:readline";

/** Tells something that was seen. */
export function say(saw, facts) {
  process.stdout.write(`${JSON.stringify({ saw, ...facts })}\n`);
}

/** Carries out `{"do": NAME, ...}` by the function of that name, until the input ends. */
export async function obey(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    await commands[command.do](command);
  }
}
