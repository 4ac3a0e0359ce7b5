// One answer on the page: its tokens, coloured by where they came from, and a column for every forward.

/** Forwards per second of a replay. */
const REPLAY_RATE = 8;

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const TITLES = {
  draft: (step, place) => `accepted draft ${place + 1} of ${step.drafted}`,
  correction: () => "the model's own word, instead of a draft that was wrong",
  bonus: () => "the model's own word, after drafts that were all right",
  denoised: () => "decided on a mask row, in this forward or before",
  ar: (step) => (step.decode ? "the model's own word, nothing was drafted" : "first word after the prompt"),
};

export class Answer {
  /** @param {string} prompt what was asked @param {boolean} continues whether the answer goes on from it in one text */
  constructor(prompt, continues) {
    this.root = element("article", continues ? "answer continues" : "answer");
    this.text = "";
    this.steps = [];
    this.pieces = [];
    this.body = element("pre", "text");
    this.body.tabIndex = 0;
    this.body.setAttribute("role", "group");
    this.body.setAttribute("aria-label", "Answer");
    this.thoughts = null;
    if (continues) this.body.append(element("span", "given", prompt));
    else this.root.append(element("p", "asked", prompt));
    this.columns = element("div", "columns");
    this.columns.setAttribute("aria-hidden", "true");
    this.foot = element("div", "foot");
    this.summary = element("p", "summary");
    this.foot.append(this.summary);
    this.root.append(this.body, this.columns, this.foot);
    this.columns.addEventListener("pointerover", (event) => this.#light(event.target.closest(".column")));
    this.columns.addEventListener("pointerleave", () => this.#light(null));
  }

  /** Add what a chunk's choice holds: its steps, and what of its text no token of theirs shows. */
  add(choice) {
    const shown = choice.delta ? (choice.delta.content ?? "") : choice.text;
    const thought = choice.delta?.reasoning ?? "";
    const steps = choice.tidar?.steps ?? [];
    const tokens = steps.flatMap((step) => step.tokens);
    const said = tokens.map((token) => token.text).join("");
    const mused = tokens.map((token) => token.reasoning ?? "").join("");
    this.text += shown;
    // Where the text is not the tokens' own (a parser took some of it), it is shown without colours.
    if (shown.startsWith(said) && thought.startsWith(mused)) {
      for (const step of steps) this.#step(step);
      this.#plain(shown.slice(said.length), thought.slice(mused.length));
    } else {
      for (const step of steps) this.#step({ ...step, tokens: [] });
      this.#plain(shown, thought);
    }
  }

  /** Say how it went. `seconds` is from the first token to the last, null where that is not known. */
  finish(reason, seconds) {
    const figures = this.figures();
    const parts = [`${figures.tokens} tokens in ${figures.forwards} forwards`];
    if (figures.perForward) parts.push(`${figures.perForward.toFixed(2)} tokens per forward`);
    if (figures.drafted) parts.push(`${Math.round((100 * figures.accepted) / figures.drafted)} % of drafts accepted`);
    if (seconds > 0 && figures.tokens > 1) parts.push(`${Math.round((figures.tokens - 1) / seconds)} tokens/s`);
    parts.push(reason);
    this.summary.textContent = parts.join(" · ");
    if (this.steps.length > 1 && !this.replay) {
      this.replay = element("button", "quiet replay", "Replay slowly");
      this.replay.type = "button";
      this.replay.addEventListener("click", () => this.#replay());
      this.foot.append(this.replay);
    }
  }

  fail(message) {
    const alert = element("p", "error", message);
    alert.setAttribute("role", "alert");
    this.root.append(alert);
  }

  /** Sums over the steps so far. */
  figures() {
    const decoding = this.steps.filter((step) => step.decode);
    const sum = (steps, field) => steps.reduce((total, step) => total + step[field], 0);
    const committed = sum(decoding, "committed");
    return {
      tokens: sum(this.steps, "committed"),
      forwards: this.steps.length,
      drafted: sum(decoding, "drafted"),
      accepted: sum(decoding, "accepted"),
      perForward: decoding.length ? committed / decoding.length : 0,
    };
  }

  #step(step) {
    const number = this.steps.push(step) - 1;
    const spans = step.tokens.map((token, place) => this.#token(token, step, place, number));
    const column = element("div", "column");
    column.dataset.step = number;
    const cells = Math.max(step.committed, step.drafted + 1);
    for (let cell = 0; cell < cells; cell++) column.append(element("i", cellKind(step, cell)));
    this.columns.append(column);
    this.pieces.push({ spans, column });
  }

  #token(token, step, place, number) {
    const spans = [];
    const make = (text, where) => {
      const span = element("span", `tok ${token.source}`, text);
      span.title = `forward ${number + 1}: ${TITLES[token.source](step, place)}`;
      where.append(span);
      spans.push(span);
    };
    if (token.reasoning) make(token.reasoning, this.#thoughts());
    if (token.text) make(token.text, this.body);
    return spans;
  }

  #plain(text, thought) {
    if (thought) this.#thoughts().append(element("span", "tok ar", thought));
    if (text) this.body.append(element("span", "tok ar", text));
  }

  #thoughts() {
    if (!this.thoughts) {
      const box = element("details", "thoughts");
      box.open = true;
      box.append(element("summary", "", "Thoughts"));
      this.thoughts = element("pre", "text");
      box.append(this.thoughts);
      this.root.insertBefore(box, this.body);
    }
    return this.thoughts;
  }

  #light(column) {
    for (const piece of this.pieces) {
      for (const span of piece.spans.flat()) span.classList.toggle("lit", piece.column === column);
    }
  }

  /** Hide everything and bring it back, forward by forward, slowly enough to be seen. */
  #replay() {
    clearInterval(this.timer);
    for (const piece of this.pieces) this.#show(piece, false);
    let next = 0;
    this.timer = setInterval(() => {
      if (next === this.pieces.length) clearInterval(this.timer);
      else this.#show(this.pieces[next++], true);
    }, 1000 / REPLAY_RATE);
  }

  #show(piece, visible) {
    for (const node of [piece.column, ...piece.spans.flat()]) node.hidden = !visible;
  }
}

/** What cell number `cell` of a step's column stands for, counted from below. */
function cellKind(step, cell) {
  if (cell < step.accepted) return "draft";
  if (cell >= step.committed) return "refused";
  if (!step.drafted) return step.tokens[cell]?.source ?? "ar";
  return step.accepted < step.drafted ? "correction" : "bonus";
}
