// Wires the page: what to ask for, the composer, the key, the colours.

import { Answer, element } from "./answer.js";
import { ApiError, apiKey, ask, setApiKey, stream } from "./api.js";
import { Gauges } from "./gauges.js";

const byId = (id) => document.getElementById(id);
const EXAMPLES = {
  completion: [
    "class Stack:\n    def __init__(self",
    "import os\n\n\ndef find_files(folder, suffix):\n",
    "class Color:\n    def __init__(self, red, green, blue):\n",
  ],
  chat: ["Write a Python function that counts the words of a text.", "Return the lines of a file.", "Parse a date."],
};
const MODES = {
  completion: { path: "v1/completions", label: "Text to continue", keys: "Ctrl + Enter runs, Esc stops" },
  chat: { path: "v1/chat/completions", label: "Message", keys: "Enter sends, Shift + Enter breaks the line, Esc stops" },
};
/** The shortest time between two drawings of an answer. */
const FRAME_MS = 16;
const ENDS = { stop: "ended by itself", length: "limit reached", tool_calls: "called a tool" };

let mode = "completion";
let messages = [];
let running = null;
let offline = false;

function setMode(name) {
  mode = name;
  for (const other of Object.keys(MODES)) byId(`mode-${other}`).setAttribute("aria-pressed", String(other === name));
  byId("prompt-label").textContent = MODES[name].label;
  byId("keys").textContent = MODES[name].keys;
  byId("send").textContent = name === "chat" ? "Send" : "Run";
  const buttons = EXAMPLES[name].map((text) => {
    const button = element("button", "example", text);
    button.type = "button";
    button.addEventListener("click", () => {
      byId("prompt").value = text;
      grow();
      byId("prompt").focus();
    });
    return button;
  });
  byId("examples").replaceChildren(...buttons);
}

function clear() {
  running?.abort();
  messages = [];
  for (const answer of byId("log").querySelectorAll(".answer")) answer.remove();
  byId("welcome").hidden = false;
  byId("prompt").focus();
}

/** The form's sampling fields; what is left empty is the server's default. */
function sampling() {
  const number = (id) => (byId(id).value === "" ? undefined : Number(byId(id).value));
  return {
    temperature: number("temperature"),
    top_p: number("top-p"),
    max_tokens: number("max-tokens"),
    seed: number("seed"),
  };
}

function summarise() {
  const { temperature, top_p, max_tokens, seed } = sampling();
  const parts = [temperature === 0 ? "greedy" : `temperature ${temperature ?? 1}`];
  if (temperature !== 0 && (top_p ?? 1) < 1) parts.push(`top-p ${top_p}`);
  if (max_tokens) parts.push(`${max_tokens} tokens`);
  if (seed !== undefined) parts.push(`seed ${seed}`);
  byId("sampling-summary").textContent = parts.join(", ");
}

async function run() {
  const prompt = byId("prompt").value;
  if (running || !prompt.trim()) return;
  const chatting = mode === "chat";
  const said = chatting ? { messages: [...messages, { role: "user", content: prompt }] } : { prompt };
  const answer = new Answer(prompt, !chatting);
  byId("welcome").hidden = true;
  byId("log").append(answer.root);
  busy(new AbortController());
  if (chatting) byId("prompt").value = "";
  grow();
  const began = [];
  const waiting = [];
  let timer = 0;
  let cost = 0;
  // A server faster than the page must not keep it from drawing or from being clicked: a quarter of its time is enough.
  const show = () => {
    const start = performance.now();
    clearTimeout(timer);
    timer = 0;
    for (const choice of waiting.splice(0)) answer.add(choice);
    follow(answer.root);
    cost = performance.now() - start;
  };
  let reason = "stopped";
  try {
    const body = { ...said, ...sampling(), stream_options: { include_steps: true } };
    for await (const chunk of stream(MODES[mode].path, body, running.signal)) {
      for (const choice of chunk.choices) {
        const steps = choice.tidar?.steps ?? [];
        if (steps.length) began.push(performance.now());
        if (steps.some((step) => step.tokens[0]?.source === "denoised")) byId("key-denoised").hidden = false;
        waiting.push(choice);
        if (choice.finish_reason) reason = ENDS[choice.finish_reason] ?? choice.finish_reason;
      }
      timer ||= setTimeout(show, Math.max(FRAME_MS, 3 * cost));
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      reason = "failed";
      answer.fail(error.message);
      if (error.status === 401) askForKey(error.message);
    }
  } finally {
    show();
    if (chatting && answer.text) messages = [...said.messages, { role: "assistant", content: answer.text }];
    answer.finish(reason, began.length > 1 ? (began.at(-1) - began[0]) / 1000 : null);
    busy(null);
    follow(answer.root);
    say(`The answer is complete: ${answer.summary.textContent}`);
  }
}

function busy(controller) {
  running = controller;
  byId("send").hidden = Boolean(controller);
  byId("stop").hidden = !controller;
  document.body.classList.toggle("busy", Boolean(controller));
  if (controller) say("Answering.");
  else byId("prompt").focus({ preventScroll: true });
}

function say(text) {
  byId("status").textContent = text;
}

/** Keep the end of the newest answer in view, unless the reader has scrolled away from it. */
function follow(root) {
  const log = byId("log");
  if (log.scrollHeight - log.scrollTop - log.clientHeight < root.clientHeight + 200) log.scrollTop = log.scrollHeight;
}

function grow() {
  const field = byId("prompt");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 240)}px`;
}

function askForKey(note) {
  byId("key-note").textContent = note ?? "The key stays in this tab and goes to this server only.";
  byId("key").value = apiKey();
  if (!byId("key-dialog").open) byId("key-dialog").showModal();
}

const THEMES = [
  ["", "Auto", "Colours: as the system"],
  ["light", "Light", "Colours: light"],
  ["dark", "Dark", "Colours: dark"],
];

function setTheme(name) {
  const [value, text, label] = THEMES.find(([known]) => known === name) ?? THEMES[0];
  document.documentElement.dataset.theme = value;
  byId("theme").textContent = text;
  byId("theme").setAttribute("aria-label", label);
  localStorage.setItem("tidar-theme", value);
}

/** Who answers, and what it is best asked for. */
async function connect() {
  const card = (await (await ask("v1/models")).json()).data[0];
  const { decoding, draft_length } = card.tidar;
  const ways = { ar: "one token at a time", tidar: `up to ${draft_length} tokens per forward` };
  byId("model").textContent = `${card.id} · ${ways[decoding] ?? `${decoding}, k = ${draft_length}`}`;
  byId("mode-chat").disabled = !card.tidar.chat;
  setMode(card.tidar.preferred);
  summarise();
}

async function start() {
  try {
    await connect();
    gauges.start();
  } catch (error) {
    byId("model").textContent = error.status === 401 ? "an API key is needed" : "not reachable";
    if (error.status === 401) askForKey(error.message);
    else gauges.start();
  }
}

const gauges = new Gauges(async (error) => {
  document.body.classList.toggle("offline", Boolean(error));
  if (error instanceof ApiError && error.status === 401) gauges.stop();
  else if (error && !offline) say("The server does not answer.");
  if (!error && offline) {
    say("");
    await connect().catch(() => {});
  }
  offline = Boolean(error);
});

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
byId("prompt").addEventListener("keydown", (event) => {
  const sends = mode === "chat" ? !event.shiftKey : event.ctrlKey || event.metaKey;
  if (event.key === "Enter" && sends && !event.isComposing) {
    event.preventDefault();
    byId("composer").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
byId("prompt").addEventListener("input", grow);
byId("stop").addEventListener("click", () => running?.abort());
byId("clear").addEventListener("click", clear);
byId("composer").addEventListener("input", summarise);
for (const name of Object.keys(MODES)) byId(`mode-${name}`).addEventListener("click", () => setMode(name));
byId("open-key").addEventListener("click", () => askForKey());
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
byId("key-form").addEventListener("submit", () => {
  setApiKey(byId("key").value.trim());
  start();
});
byId("theme").addEventListener("click", () => {
  const now = THEMES.findIndex(([value]) => value === document.documentElement.dataset.theme);
  setTheme(THEMES[(now + 1) % THEMES.length][0]);
});

setTheme(localStorage.getItem("tidar-theme") ?? "");
setMode(mode);
start();
