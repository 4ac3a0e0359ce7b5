// The server's figures, read from /metrics about once a second while the page is seen.

import { ask } from "./api.js";

const EVERY = 1000;
/** Samples that ratios look back over, and that the curve shows. */
const RECENT = 10;
const CURVE = 60;

/** Tokens that decode forwards committed, and those forwards. */
const COMMITTED = "tidar:acceptance_length_sum";
const FORWARDS = "vllm:spec_decode_num_drafts_total";

const byId = (id) => document.getElementById(id);

/** Sums of every series by name, over whatever labels it has. */
export function parse(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const match = /^([^#{\s][^{\s]*)(?:\{.*\})? (\S+)$/.exec(line);
    if (match) sums.set(match[1], (sums.get(match[1]) ?? 0) + Number(match[2]));
  }
  return sums;
}

export class Gauges {
  #samples = [];
  #rates = [];
  #timer = null;

  /** @param {(error: Error|null) => void} report told of every reading, with what went wrong if it did */
  constructor(report) {
    this.report = report;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
  }

  start() {
    this.stop();
    this.#read();
    this.#timer = setInterval(() => this.#read(), EVERY);
  }

  stop() {
    clearInterval(this.#timer);
  }

  async #read() {
    try {
      const response = await ask("metrics");
      this.#show(parse(await response.text()));
      this.report(null);
    } catch (error) {
      this.report(error);
    }
  }

  #show(sums) {
    const of = (name) => sums.get(name) ?? 0;
    this.#samples.push(sums);
    if (this.#samples.length > RECENT) this.#samples.shift();
    const rate = of("tidar:tokens_per_second");
    this.#rates.push(rate);
    if (this.#rates.length > CURVE) this.#rates.shift();
    byId("g-rate").textContent = Math.round(rate).toLocaleString("en");
    this.#curve();
    const forwards = of(FORWARDS);
    const ever = of(COMMITTED) / Math.max(1, forwards);
    const lately = this.#since(FORWARDS) ? this.#since(COMMITTED) / this.#since(FORWARDS) : ever;
    byId("g-forward").textContent = forwards ? lately.toFixed(2) : "–";
    byId("g-forward-note").textContent = forwards ? `${ever.toFixed(2)} since the start` : "no forwards yet";
    const drafted = of("tidar:draft_tokens_total");
    const share = drafted ? of("tidar:accepted_tokens_total") / drafted : 0;
    byId("g-accept").textContent = drafted ? percent(share) : "–";
    meter("b-accept", share);
    byId("g-running").textContent = of("tidar:num_requests_running");
    byId("g-waiting").textContent = of("tidar:num_requests_waiting");
    const engines = Math.max(1, of("tidar:engine_healthy"));
    const used = of("tidar:kv_cache_usage_perc") / engines;
    byId("g-kv").textContent = percent(used);
    meter("b-kv", used);
  }

  /** What a counter gained over the samples that are kept. */
  #since(name) {
    return (this.#samples.at(-1).get(name) ?? 0) - (this.#samples[0].get(name) ?? 0);
  }

  #curve() {
    const top = Math.max(10, ...this.#rates);
    const first = CURVE - this.#rates.length;
    const points = this.#rates.map((rate, i) => `${((first + i) * 120) / (CURVE - 1)},${27 - (25 * rate) / top}`);
    const line = `M${points.join("L")}`;
    byId("spark").querySelector(".line").setAttribute("d", line);
    byId("spark").querySelector(".area").setAttribute("d", `${line}L120,28L${(first * 120) / (CURVE - 1)},28Z`);
  }
}

function percent(share) {
  return share > 0 && share < 0.01 ? "<1 %" : `${Math.round(100 * share)} %`;
}

function meter(id, share) {
  const bar = byId(id);
  bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
  bar.firstElementChild.style.width = `${Math.min(100, 100 * share)}%`;
}
