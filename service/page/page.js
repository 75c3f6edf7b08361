// The page at `/`. Whatever comes from the model reaches the document as text, never as markup:
// names of columns, categories and classes are those of somebody's table.

const SVG = "http://www.w3.org/2000/svg";
const INTERVAL = 2000; // ms between two looks at the metrics
const KEPT = 60; // of them that the charts show
const RECENT = 15; // of them that the percentiles are made of
const FEW = 12; // fields that are shown at first of more
const SPARE = 4; // more than these that are not worth a button
const MANY = 40; // fields from which on there is a search
const STEPS = 20; // whole numbers in a range through which one steps
const LISTED = 12; // bars and classes that are shown of more
const LIKELY = 6; // classes of an answer that are shown of more than LISTED
const RELIABLE = 1000; // rows below which drift is mostly chance
const DRAWN = 100; // and rows below which any bar would be full
const MARKS = [0.1, 0.25]; // of the population stability index: some change, a large one
const KEYED = document.documentElement.dataset.keyed.split(" ");
const STORED = `cairn-key ${location.pathname}`;

// Of a model by older code. Others bring a table of their metrics: name, title, larger is better.
const SCORES = [
  ["accuracy", "Accuracy", true],
  ["balanced_accuracy", "Balanced accuracy", true],
  ["f1_macro", "F1, mean of the classes", true],
  ["roc_auc", "Area under the ROC curve", true],
  ["average_precision", "Average precision", true],
  ["log_loss", "Log loss", false],
  ["brier", "Brier score", false],
  ["calibration_error", "Calibration error", false],
];
const PICTURES = {
  confusion: ["Confusion matrix", describeConfusion],
  roc: ["ROC curve", (result) => describeScores(result, ["roc_auc"])],
  precision_recall: ["Precision and recall", (result) => describeScores(result, ["average_precision"])],
  calibration: ["Calibration", (result) => describeScores(result, ["calibration_error", "brier"])],
  importance: ["Importance of the columns", describeImportance],
  learning: ["Learning curve", describeLearning],
  dependence: ["Partial dependence", () => "The mean probability if a column had one value in every row; the most important columns."],
  search: ["Search", describeSearch],
};

// Elements

const $ = (id) => document.getElementById(id);

/** An element with attributes; what is no node among the children becomes text. */
function h(name, attributes = {}, ...children) {
  return dressed(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, name), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined);

function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/** A name in a sentence: isolated, so that one written from right to left turns nothing around. */
const name = (text) => h("bdi", {}, breakable(text));

/** A text that may go on in the next line behind a sign that joins words, and where one begins. */
function breakable(text) {
  const parts = text.split(/(?<=[_./:-])(?=[^_./:-])|(?<=\p{Ll})(?=\p{Lu})/u);
  return parts.flatMap((part, index) => (index ? [h("wbr"), part] : [part]));
}

/** What people call a column or the target: the table's own header, less the unit. */
function caption({ name, header, unit }) {
  const text = header ?? name;
  return unit && text.endsWith(`(${unit})`) && text.length > unit.length + 2 ? text.slice(0, -unit.length - 2).trim() : text;
}

// Numbers and texts

const percent = (share) =>
  share > 0 && share < 0.001 ? "< 0.1%" : share < 1 && share > 0.999 ? "> 99.9%" : `${(share * 100).toFixed(1)}%`;
const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const interval = (one) => (one?.low === undefined || one.low === null ? "–" : `${score(one.low)} – ${score(one.high)}`);
const formatInteger = (number) => number.toLocaleString("en");
const short = (number) => (number === 0 ? "0" : String(Number(number.toPrecision(4))));
/** The ends of a range, with so many decimals as its width asks for: 2016.6 to 2017.5 are no 2017 to 2018. */
function range(low, high) {
  const decimals = 1 - Math.floor(Math.log10(high - low));
  const text = (value) => (decimals > 12 || Math.abs(value) >= 1e12 ? String(value) : grouped(Number(value.toFixed(Math.max(0, decimals)))));
  return `${text(low)} to ${text(high)}`;
}

/** A number with its thousands apart, but none of four digits, which may be a year. */
const grouped = (number) => (Math.abs(number) < 10000 ? String(number) : number.toLocaleString("en", { maximumFractionDigits: 12 }));
const some = (number) => (number === 0 ? "0" : number >= 100 ? formatInteger(Math.round(number)) : number >= 10 ? number.toFixed(1) : number.toFixed(2));
const label = (value) => (typeof value === "string" ? value : String(value));
const count = (number, one, many = `${one}s`) => `${formatInteger(number)} ${number === 1 ? one : many}`;

/** JSON whose whole numbers keep all their digits, where the browser can tell them. */
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context.source)
      : value,
  );
}

const json = (value, space) =>
  JSON.stringify(value, (_, part) => (typeof part === "bigint" ? JSON.rawJSON(String(part)) : part), space);

// The service

function key() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function keep(value) {
  try {
    if (value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Without a store it is asked for again; nothing else is lost.
  }
}

/** Ask the service; paths are relative, so that a prefix which a proxy adds stays in front. */
function ask(path, options = {}) {
  const stored = key();
  const headers = { ...options.headers, ...(stored ? { Authorization: `Bearer ${stored}` } : {}) };
  return fetch(path, { cache: "no-store", credentials: "same-origin", ...options, headers });
}

function state(kind, text) {
  $("state").dataset.state = kind;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

async function error(response) {
  const content = await response.json().catch(() => ({}));
  return { error: content.error ?? `the service answered ${response.status}`, detail: content.detail ?? [] };
}

// Copying

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyOld(text); // the clipboard works only in secure contexts
  }
  const before = button.textContent;
  button.textContent = "Copied";
  $("announcement").textContent = "Copied";
  setTimeout(() => {
    button.textContent = before;
    $("announcement").textContent = "";
  }, 1500);
}

function copyOld(text) {
  const area = h("textarea", { class: "sr", "aria-hidden": "true" });
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}

function copier(text, what) {
  return h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`,
    onclick: (event) => copy(typeof text === "function" ? text() : text, event.currentTarget) }, "Copy");
}

// The key

function lock(problem) {
  $("lock").hidden = false;
  $("open").hidden = true;
  $("key-error").textContent = problem;
  $("key").setAttribute("aria-invalid", problem ? "true" : "false");
  $("key").focus();
}

$("lock-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("key").value.trim();
  if (!value) return lock("Type or paste a key.");
  // What is no Latin-1 cannot stand in a header at all.
  if (!/^[\x21-\x7e\xa1-\xff]+$/.test(value)) return lock("A key cannot contain spaces or letters like these.");
  keep(value);
  start();
});

$("forget").addEventListener("click", () => {
  keep(null);
  location.reload();
});

// The form

let fields = [];

class Field {
  constructor(column, index, example, feature) {
    this.column = column;
    this.id = `field-${index}`;
    this.input = control(column, this.id, feature);
    this.input.setAttribute("aria-describedby", `${this.id}-hint ${this.id}-error`);
    this.problem = h("p", { class: "error", id: `${this.id}-error` });
    this.example = example;
    const unit = column.unit ? h("span", { class: "unit" }, ` ${column.unit}`) : null;
    this.element = h("div", { class: column.kind === "date" ? "field broad" : "field" },
      h("label", { for: this.id }, name(caption(column)), unit), this.stepped(feature), options(column, this.id),
      this.problem, h("p", { class: "hint", id: `${this.id}-hint` }, hint(column, feature)));
    this.reset();
  }

  /** The input, between two buttons where it is one of few whole numbers; the arrow keys do the same. */
  stepped(feature) {
    const { column, input } = this;
    if (column.kind !== "integer" || input.type !== "number" || !isNarrow(column, feature)) return input;
    const step = (by, sign) => h("button", { type: "button", tabindex: -1, "aria-hidden": "true", onclick: () => {
      if (by > 0) input.stepUp();
      else input.stepDown();
      input.dispatchEvent(new Event("input", { bubbles: true }));
    } }, sign);
    return h("div", { class: "stepper" }, step(-1, "−"), input, step(1, "+"));
  }

  reset() {
    const { column, example } = this;
    if (column.kind === "category" && !column.unknown) {
      this.input.value = String(example === null ? -1 : column.categories.findIndex((one) => one === example));
    } else {
      this.input.value = example === null || example === undefined ? "" : String(example);
    }
    this.complain("");
  }

  complain(text) {
    this.problem.textContent = text;
    if (text) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }

  /** Its value in the row, as JSON; undefined where the row leaves it out. */
  toJson() {
    const { column, input } = this;
    const text = input.value;
    if (column.kind === "category" && !column.unknown) {
      const category = column.categories[Number(text)];
      return category === undefined ? "null" : json(category);
    }
    if (input.validity.badInput) return '"not a number"';
    if (text === "" && column.missing) return "null";
    if (text === "" && column.kind !== "category" && column.kind !== "name") return undefined;
    if (column.kind === "boolean") return text;
    if (column.kind === "date") return json(text);
    if (column.kind === "name") return text === "" ? undefined : json(text);
    if (column.kind === "category" && typeof column.categories[0] === "string") return json(text);
    return number(text);
  }
}

/** A number as it was typed, as JSON; what is none goes as text, for the service to refuse. */
function number(text) {
  if (/^[+-]?\d+$/.test(text)) return BigInt(text.replace("+", "")).toString();
  const value = Number(text);
  return text.trim() !== "" && Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(text);
}

const isSwitch = (feature) => String(feature?.histogram?.values ?? "") === "0,1";

/** Whether a column's whole numbers are few: by the contract, or else by what training had. */
function isNarrow({ minimum, maximum }, feature) {
  if (typeof minimum === "number" && typeof maximum === "number") return maximum - minimum <= STEPS;
  return (feature?.histogram?.values ?? []).length > 0;
}

function control(column, id, feature) {
  const usual = { id, name: id, autocomplete: "off" };
  const choice = (value, text) => h("option", { value }, text);
  const none = (value) => (column.missing ? [choice(value, "— no value —")] : []);
  if (column.kind === "boolean") {
    return h("select", usual, none(""), choice("true", "true"), choice("false", "false"));
  }
  if (column.kind === "category" && !column.unknown) {
    return h("select", usual, none("-1"), column.categories.map((one, index) => choice(index, label(one) || "(empty text)")));
  }
  if (column.kind === "integer" && isSwitch(feature)) return h("select", usual, none(""), choice("0", "0"), choice("1", "1"));
  if (column.kind === "category") return h("input", { ...usual, type: "text", list: `${id}-list` });
  if (column.kind === "date") return h("input", { ...usual, type: timed(column) ? "datetime-local" : "date" });
  if (column.kind === "name") return h("input", { ...usual, type: "text" });
  return h("input", { ...usual, type: "number", step: column.kind === "integer" ? 1 : "any",
    min: column.minimum, max: column.maximum });
}

const timed = (column) => column.parts.includes("hour") || column.parts.includes("minute");

function options(column, id) {
  if (column.kind !== "category" || !column.unknown) return null;
  return h("datalist", { id: `${id}-list` }, column.categories.map((one) => h("option", { value: label(one) })));
}

function hint(column, feature) {
  const { edges = [], values = [] } = feature?.histogram ?? {};
  const { minimum, maximum } = column;
  const has = (bound) => bound !== null && bound !== undefined;
  const parts = [];
  if (has(minimum) && has(maximum)) parts.push(`${grouped(minimum)} to ${grouped(maximum)}`);
  else if (has(minimum)) parts.push(`at least ${grouped(minimum)}`);
  else if (has(maximum)) parts.push(`at most ${grouped(maximum)}`);
  const isInteger = column.kind === "integer";
  if (isInteger && values.length > 1 && !isSwitch(feature)) parts.push(`in training ${values[0]} to ${values.at(-1)}`);
  else if ((isInteger || column.kind === "number") && !values.length && edges.length > 1) parts.push(`mostly ${range(edges[0], edges.at(-1))}`);
  if (isInteger && !values.length) parts.push("whole number");
  if (column.kind === "category" && column.unknown) {
    parts.push(typeof column.categories[0] === "string" ? "any text" : "any whole number");
  }
  if (column.kind === "name") parts.push("names the row; the model does not see it");
  if (column.missing) parts.push("may be empty");
  return parts.join(" · ");
}

function form(model) {
  const { columns, identifier, identifier_header: header, features } = model.contract;
  const seen = new Map(features.map((one) => [one.name, one]));
  const all = identifier ? [...columns, { name: identifier, header, kind: "name" }] : columns;
  fields = all.map((column, index) => new Field(column, index, model.example[column.name], seen.get(column.name)));
  ranked = byImportance(fields);
  fill($("fields"), ranked.map((field) => field.element));
  const isRow = model.contract.example?.length > 0;
  const order = model.evaluation?.importance ? " The most important come first." : "";
  $("try-note").textContent = `${count(columns.length, "column")}, filled in with ${isRow ? "a typical row of the training data" : "the usual value of each"}.${order}`;
  $("find").hidden = fields.length <= MANY;
  narrow();
  command();
}

let ranked = [];

/** The fields, those first without whose values the model is worse; in the table's order where nobody knows. */
function byImportance(fields) {
  const weights = new Map((model.evaluation?.importance ?? []).map((one) => [one.column, one.importance]));
  const weight = (field) => weights.get(field.column.name) ?? Number.NEGATIVE_INFINITY;
  return fields.toSorted((one, two) => (weight(one) === weight(two) ? 0 : weight(two) - weight(one)));
}

/** A name without what people leave out when they search for it: case, and the signs between words. */
const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, " ").trim();

/** Show the fields that the filter names; of many the first, and those with a problem. */
function narrow() {
  const query = plain($("filter").value);
  const all = fields.length <= FEW + SPARE || $("all").getAttribute("aria-expanded") === "true";
  const named = ({ column }) => [caption(column), column.name].some((one) => plain(one).includes(query));
  let shown = 0;
  for (const field of ranked) {
    const fits = query ? named(field) : all || shown < FEW;
    field.element.hidden = !fits && !field.problem.textContent;
    shown += field.element.hidden ? 0 : 1;
  }
  const rest = fields.length - shown;
  $("more").hidden = query !== "" || fields.length <= FEW + SPARE;
  $("match-count").textContent = query ? `${formatInteger(shown)} of ${formatInteger(fields.length)}` : "";
  $("all").textContent = all ? `Show the first ${FEW}` : `Show all ${formatInteger(fields.length)}`;
  $("rest").textContent = rest ? `${count(rest, "other keeps its value", "others keep their values")} and ${rest === 1 ? "is" : "are"} sent too.` : "";
}

$("filter").addEventListener("input", narrow);
$("all").addEventListener("click", () => {
  const now = $("all").getAttribute("aria-expanded") !== "true";
  $("all").setAttribute("aria-expanded", String(now));
  narrow();
});

function body() {
  const parts = fields
    .map((field) => [field.column.name, field.toJson()])
    .filter(([, value]) => value !== undefined)
    .map(([column, value]) => `${JSON.stringify(column)}: ${value}`);
  return `{${parts.join(", ")}}`;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The line that sends the form from a shell; a key is named in it, never written. */
function line() {
  const url = new URL("predict", document.baseURI).href;
  const secret = KEYED.includes("model") ? ` -H "Authorization: Bearer $KEY"` : "";
  return `curl ${quoted(url)} -H 'Content-Type: application/json'${secret} -d ${quoted(body())}`;
}

const command = () => ($("curl").textContent = line());
$("form").addEventListener("input", command);
$("form").addEventListener("change", command);
$("curl-copy").addEventListener("click", (event) => copy(line(), event.currentTarget));
$("again").addEventListener("click", () => {
  fields.forEach((field) => field.reset());
  fill($("problems"));
  $("brief").hidden = true;
  narrow();
  command();
});

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("send").getAttribute("aria-disabled") === "true") return;
  $("send").setAttribute("aria-disabled", "true");
  try {
    await predict();
  } finally {
    $("send").removeAttribute("aria-disabled");
  }
});

async function predict() {
  fields.forEach((field) => field.complain(""));
  fill($("problems"));
  const before = performance.now();
  let response;
  try {
    response = await ask("predict", { method: "POST", headers: { "Content-Type": "application/json" }, body: body() });
  } catch {
    return refused({ error: "the service cannot be reached", detail: [] });
  }
  if (response.status === 401) return lock("The service no longer accepts this key.");
  if (!response.ok) return refused(await error(response), response.headers.get("x-request-id"));
  const answer = parse(await response.text());
  answered(answer, performance.now() - before);
}

let model = null;
let captions = new Map();

/** What people call each column, and each feature: its column, and the part of it where that is a date. */
function captionsOf({ columns, features }) {
  const result = new Map(columns.map((column) => [column.name, caption(column)]));
  for (const { name, column } of features) {
    if (result.has(column) && name !== column) result.set(name, `${result.get(column)} · ${name.slice(column.length + 1)}`);
  }
  return result;
}

const called = (one) => captions.get(one) ?? one;

function answered(answer, milliseconds) {
  const { classes, threshold } = model.contract.target;
  const probabilities = Object.entries(answer.probabilities);
  const order = classes.map((one) => (typeof one === "string" ? one : json(one)));
  const listed = probabilities.length > LISTED
    ? probabilities.toSorted((one, two) => two[1] - one[1]).slice(0, LIKELY)
    : probabilities.toSorted((one, two) => order.indexOf(one[0]) - order.indexOf(two[0]));
  const mark = threshold ? label(threshold.label) : null;
  const chosen = label(answer.prediction);
  const shown = chosen === "" ? "(empty text)" : chosen;
  brief(h("strong", {}, name(shown)), h("span", {}, percent(answer.confidence)));
  fill($("answer"),
    h("p", { class: "muted small" }, name(caption(model.contract.target))),
    h("p", { class: shown.length > 24 ? "prediction long" : "prediction" }, name(shown)),
    h("ul", { class: "bars", "aria-label": "Probability of each class" }, listed.map(([one, share]) =>
      bar(one, percent(share), share, one === chosen ? "" : "calm", one === mark ? [threshold.value] : []))),
    probabilities.length > listed.length ? h("p", { class: "muted small" }, `and ${count(probabilities.length - listed.length, "class", "classes")} less likely`) : null,
    h("dl", { class: "facts" },
      h("dt", {}, "Confidence"), h("dd", {}, percent(answer.confidence)),
      threshold ? [h("dt", {}, "Threshold"), h("dd", {}, name(mark), ` from ${short(threshold.value)} on`)] : [],
      h("dt", {}, "Time"), h("dd", {}, `${milliseconds.toFixed(1)} ms round trip`),
      h("dt", {}, "Model"), h("dd", {}, answer.model_version),
      "identifier" in answer && answer.identifier !== null ? [h("dt", {}, "Identifier"), h("dd", {}, name(label(answer.identifier)))] : [],
      h("dt", {}, "Request"), h("dd", {}, h("code", {}, answer.request_id))));
}

/** Say the answer beside the button, where the rest of it is below the form. */
function brief(...children) {
  fill($("brief"), children);
  $("brief").hidden = false;
}

/** A bar with its text; `marks` are fractions at which a line stands. */
function bar(text, value, share, kind = "", marks = [], thin = false) {
  const filled = h("span", { class: `fill ${kind}` });
  filled.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  const ticks = marks.map((mark) => {
    const tick = h("span", { class: thin ? "tick thin" : "tick" });
    tick.style.insetInlineStart = `${Math.min(1, mark) * 100}%`;
    return tick;
  });
  return h("li", {}, name(text === "" ? "(empty text)" : text), h("span", { class: "value" }, value),
    h("span", { class: "track", "aria-hidden": "true" }, filled, ticks));
}

function refused(refusal, id) {
  // A long name comes cut.
  const cut = (text) => (text.length > 100 ? `${text.slice(0, 100)}…` : text);
  const byName = new Map(fields.flatMap((field) => [field.column.header ?? field.column.name, field.column.name].map((one) => [cut(one), field])));
  const others = [];
  const wrong = [];
  for (const problem of refusal.detail) {
    const field = byName.get(problem.column);
    const text = `${problem.problem}; allowed: ${formatAllowed(problem.allowed)}`;
    if (!field) others.push(text);
    else {
      field.complain(text);
      wrong.push(field);
    }
  }
  narrow();
  fill($("answer"), h("p", { class: "muted" }, "No answer: the request was refused."));
  brief(h("strong", {}, "No answer"));
  fill($("problems"),
    h("strong", {}, sentence(refusal.error)),
    others.length || wrong.length ? h("ul", {},
      wrong.map((field) => h("li", {}, h("a", { href: `#${field.id}`, onclick: (event) => {
        event.preventDefault();
        field.input.focus();
      } }, name(caption(field.column))))), others.map((text) => h("li", {}, text))) : null,
    id ? h("p", { class: "small" }, "Request ", h("code", {}, id)) : null);
  if (wrong.length) wrong[0].input.focus();
  else $("problems").focus();
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function formatAllowed(values) {
  if (!Array.isArray(values)) return String(values);
  const listed = values.slice(0, 8).map((one) => (one === null ? "no value" : label(one)));
  return listed.join(", ") + (values.length > 8 ? `, and ${values.length - 8} more` : "");
}

// How good it is

function evaluation(model) {
  const result = model.evaluation;
  const plain = model.metrics?.test ?? {};
  const test = result?.test ?? Object.fromEntries(Object.entries(plain).map(([one, value]) => [one, { value }]));
  const rows = result?.rows ?? { train: model.metrics?.train?.rows, test: plain.rows };
  $("scores-note").textContent = rows.test
    ? `Measured on ${count(rows.test, "row")} that it has not seen${rows.train ? `; trained on ${formatInteger(rows.train)}` : ""}.`
    : "Measured on rows that it has not seen.";
  const gallery = h("div", { class: "pictures" });
  fill($("evaluation"), h("div", { class: "stack" },
    metrics(result).some(([key]) => test[key]) ? h("div", { class: "card" }, scores(metrics(result), test, result?.cross_validation))
      : h("p", { class: "note" }, "This model has no scores."),
    result ? h("div", { class: "flow" }, classes(result), slices(result), cut(result), search(result)) : null,
    gallery));
  pictures(model, gallery);
}

/** The metrics of all classes together that a model was scored by. */
function metrics(result) {
  const own = result?.metrics?.filter((one) => one.overall);
  return own?.map((one) => [one.name, one.title[0].toUpperCase() + one.title.slice(1), one.direction === "higher"]) ?? SCORES;
}

function scores(known, test, crossed) {
  const listed = known.filter(([key]) => test[key]);
  const folds = crossed && `cross-validation: ${crossed.folds} folds${crossed.repeats > 1 ? ` × ${crossed.repeats}` : ""}${crossed.nested ? ", nested" : ""}`;
  const head = ["Score", "Test", ...(crossed ? ["Cross-validation"] : [])];
  const drawn = listed.some(([key]) => interval(test[key]) !== "–");
  return table("Scores", h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)),
    drawn ? h("th", { scope: "col", class: "chart" }, h("span", { class: "scale", "aria-hidden": "true" }, ["0", "0.5", "1"].map((end) => h("span", {}, end))), h("span", { class: "sr" }, "Drawn")) : null),
  listed.map(([key, text, more]) => {
    const across = crossed?.scores[key];
    return h("tr", {}, h("th", { scope: "row" }, text, more ? null : h("small", { class: "muted" }, "lower is better")),
      scored(test[key]), crossed ? scored(across ?? null) : null,
      drawn ? h("td", { class: "chart" }, more ? whiskers([[test[key], ""], [across, "other"]]) : null) : null);
  }), crossed ? h("p", { class: "legend" }, h("span", {}, h("span", { class: "swatch" }), "test"), h("span", {}, h("span", { class: "swatch other" }), folds)) : null);
}

/** Scores with their intervals on a line from 0 to 1, so that nothing looks larger than it is. */
function whiskers(result) {
  const position = (value) => `${Math.max(0, Math.min(1, value)) * 98 + 1}%`;
  const parts = result.flatMap(([one, kind], row) => {
    if (!one || !Number.isFinite(one.value)) return [];
    const y = result[1][0] ? 5 + row * 7 : 8;
    const line = Number.isFinite(one.low) ? [svg("line", { class: `whisker ${kind}`, x1: position(one.low), x2: position(one.high), y1: y, y2: y })] : [];
    return [...line, svg("circle", { class: `point ${kind}`, cx: position(one.value), cy: y, r: 3.5 })];
  });
  return svg("svg", { "aria-hidden": "true" }, svg("line", { class: "axis", x1: "1%", x2: "99%", y1: 15.5, y2: 15.5 }),
    [0, 0.5, 1].map((at) => svg("line", { class: "axis", x1: position(at), x2: position(at), y1: 0, y2: 16 })), parts);
}

function table(title, head, rows, ...more) {
  return [h("h3", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    h("table", {}, h("caption", { class: "sr" }, title), h("thead", {}, head), h("tbody", {}, rows))), ...more];
}

function heads(texts) {
  return h("tr", {}, texts.map((text) => h("th", { scope: "col" }, text)));
}

/** A cell with a score and its interval; of an older model only the score. */
function scored(one) {
  if (one === null || typeof one !== "object") return h("td", {}, score(one));
  return h("td", {}, h("span", { class: "value" }, score(one.value)), Number.isFinite(one.low) ? h("small", { class: "muted" }, interval(one)) : null);
}

function classes(result) {
  if (!result.classes?.length) return null;
  const many = result.classes.length > LISTED;
  const f1 = (one) => one.f1?.value ?? one.f1 ?? 0;
  const ordered = many ? result.classes.toSorted((one, two) => f1(one) - f1(two)) : result.classes;
  const rows = ordered.map((one, index) => h("tr", { hidden: index >= LISTED }, h("th", { scope: "row" }, name(label(one.class))), h("td", {}, formatInteger(one.rows)),
    ["precision", "recall", "f1", "roc_auc", "average_precision"].map((key) => scored(one[key]))));
  const more = h("button", { type: "button", class: "link", "aria-expanded": "false", onclick: () => {
    const all = more.getAttribute("aria-expanded") !== "true";
    rows.slice(LISTED).forEach((row) => (row.hidden = !all));
    more.setAttribute("aria-expanded", String(all));
    more.textContent = all ? `Show the first ${LISTED}` : `Show all ${formatInteger(rows.length)}`;
  } }, `Show all ${formatInteger(rows.length)}`);
  return h("div", { class: "card" }, table("By class", heads(["Class", "Rows", "Precision", "Recall", "F1", "ROC", "Av. prec."]), rows),
    many ? h("p", { class: "more" }, more, " ", h("span", { class: "muted" }, "The lowest F1 comes first.")) : null);
}

function slices(result) {
  if (!result.slices?.length) return null;
  return h("div", { class: "card" }, table("By part of the data", heads(["Rows where", "Rows", "Accuracy", "Balanced", "ROC"]),
    result.slices.map((one) => h("tr", {}, h("th", { scope: "row" }, name(called(one.column)), " is ", name(one.value === null ? "missing" : label(one.value))),
      h("td", {}, formatInteger(one.rows)), scored(one.accuracy), scored(one.balanced_accuracy), scored(one.roc_auc)))));
}

function cut(result) {
  const one = result.threshold;
  if (!one) return null;
  const reached = Object.entries(one.reached ?? {});
  return h("div", { class: "card" }, h("h3", {}, "Threshold"),
    h("p", {}, name(label(one.label)), ` is predicted where its probability is at least ${short(one.value)}.`),
    h("p", { class: "muted small" }, `Chosen for: ${one.rule}. The values below are from training rows that the models had not seen; the scores by class are from the test rows.`),
    reached.length ? h("dl", { class: "facts" }, reached.map(([key, value]) => [h("dt", {}, key), h("dd", {}, typeof value === "number" ? score(value) : String(value))])) : null);
}

function search(result) {
  const one = result.search;
  if (!one) return null;
  const better = metrics(result).find(([key]) => key === one.metric)?.[2] ?? true;
  const most = Math.max(...one.tried.map((each) => each.rows));
  const tried = one.tried.filter((each) => each.rows === most).toSorted((a, b) => (better ? b.value - a.value : a.value - b.value));
  const shown = tried.slice(0, 8);
  return h("div", { class: "card" }, table(`Search: ${one.method}`, heads(["Candidate", one.metric.replaceAll("_", " "), "± deviation"]),
    shown.map((each) => h("tr", {}, h("th", { scope: "row" }, each.candidate === one.best ? h("strong", {}, each.candidate, " (chosen)") : each.candidate),
      h("td", {}, score(each.value)), h("td", {}, score(each.deviation))))),
  tried.length > shown.length || one.tried.length > tried.length ? h("p", { class: "muted small" }, `The best ${shown.length} of ${count(new Set(one.tried.map((each) => each.candidate)).size, "candidate")}.`) : null);
}

// Pictures

function pictures(model, gallery) {
  const searched = model.evaluation?.search || !model.evaluation;
  for (const stem of model.pictures) {
    if (stem === "search" && !searched) continue; // it says that there was none
    const [title, describe] = PICTURES[stem] ?? [stem, () => ""];
    const text = describe(model.evaluation ?? {}, model);
    const image = h("img", { alt: `${title}. ${text}`.trim(), width: 640, height: 480 });
    const link = h("a", { target: "_blank", rel: "noopener" }, image);
    gallery.append(h("figure", { class: "card" }, link, h("figcaption", {}, h("strong", {}, title), h("span", { class: "muted" }, text))));
    picture(`model/${stem}.png`, link, image);
  }
}

/** Load a picture with the key, which an address cannot have. */
async function picture(path, link, image) {
  try {
    const response = await ask(path);
    if (!response.ok) throw new Error(String(response.status));
    image.src = link.href = URL.createObjectURL(await response.blob());
  } catch {
    link.replaceWith(h("p", { class: "muted" }, "This picture cannot be loaded."));
  }
}

function describeScores(result, keys) {
  return keys
    .filter((key) => result.test?.[key])
    .map((key) => {
      const { value, low, high } = result.test[key];
      const title = metrics(result).find((one) => one[0] === key)[1];
      return `${title} ${score(value)}${Number.isFinite(low) ? ` (95% interval ${score(low)} to ${score(high)})` : ""}.`;
    })
    .join(" ");
}

function describeConfusion(result) {
  const all = result.classes ?? [];
  const recall = (one) => one.recall?.value ?? one.recall ?? 0;
  const some = all.length > 5 ? all.toSorted((one, two) => recall(one) - recall(two)).slice(0, 3) : all;
  const listed = some.map((one) => `${label(one.class)}: ${percent(recall(one))} of ${count(one.rows, "row")} recognized`);
  return listed.length ? `${some.length < all.length ? "Least recognized: " : ""}${listed.join("; ")}.` : "";
}

function describeImportance(_, model) {
  const { columns, features } = model.contract;
  const own = features.filter((one) => one.column === null || one.column === undefined).length;
  return `How much the log loss grows as each of the ${count(columns.length, "column")}${own ? ` and ${count(own, "engineered feature")}` : ""} is shuffled.`;
}


function describeLearning(result) {
  return result.rows ? `Log loss by how many of the ${formatInteger(result.rows.train)} training rows the model was trained on.` : "";
}

function describeSearch(result) {
  if (!result.search) return "";
  const { best, metric, tried } = result.search;
  const winner = tried.findLast((one) => one.candidate === best);
  const candidates = new Set(tried.map((one) => one.candidate)).size;
  return `${count(candidates, "candidate")} by ${metric.replaceAll("_", " ")}; chosen: ${best}${winner ? `, ${score(winner.value)} ± ${score(winner.deviation)}` : ""}.`;
}

// Live

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** Prometheus' text as [name, labels, value] of the metrics that the page shows. */
function* samples(text) {
  for (const one of text.split("\n")) {
    if (!one.startsWith("cairn_") || one.startsWith("cairn_column_values")) continue;
    const result = SAMPLE.exec(one);
    if (!result) continue;
    const labels = {};
    for (const [, key, value] of (result[2] ?? "").matchAll(LABEL)) {
      labels[key] = value.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
    }
    yield [result[1], labels, Number(result[3])];
  }
}

function reading(text) {
  const now = { time: performance.now(), requests: 0, errors: 0, ends: [], counts: [], classes: new Map(), drift: [], target: 0, rows: 0, window: 0 };
  for (const [metric, labels, value] of samples(text)) {
    if (metric === "cairn_requests_total" && labels.route === "/predict") {
      now.requests += value;
      if (Number(labels.status) >= 400) now.errors += value;
    } else if (metric === "cairn_request_duration_seconds_bucket" && labels.route === "/predict") {
      now.ends.push(Number(labels.le.replace("+Inf", "Infinity")));
      now.counts.push(value);
    } else if (metric === "cairn_predictions_total") now.classes.set(labels.class, value);
    else if (metric === "cairn_column_drift_psi") now.drift.push([labels.column, value]);
    else if (metric === "cairn_target_drift_psi") now.target = value;
    else if (metric === "cairn_drift_window_rows") now.window = value;
    else if (metric === "cairn_rows_total") now.rows = value;
  }
  return now;
}

/** The seconds below which a share of the requests between two readings stayed; null of none. */
function quantile(share, first, last) {
  const below = last.counts.map((value, index) => value - first.counts[index]);
  const total = below.at(-1);
  if (!total) return null;
  const index = below.findIndex((value) => value >= share * total);
  if (last.ends[index] === Infinity) return last.ends[index - 1];
  const [start, before] = index ? [last.ends[index - 1], below[index - 1]] : [0, 0];
  return start + ((last.ends[index] - start) * (share * total - before)) / (below[index] - before);
}

const QUANTILES = [[0.5, "p50", ""], [0.95, "p95", "second"], [0.99, "p99", "third"]];
let readings = [];
let points = [];
let gauges = null;

function live() {
  const tile = (text) => {
    const value = h("dd", {}, "–", h("small", {}, "\u00a0"));
    return [h("div", { class: "card tile" }, h("dt", {}, text), value), value];
  };
  const [rate, rateText] = tile("Requests a second");
  const [errors, errorsText] = tile("Errors");
  const [latency, latencyText] = tile("Latency, 95th percentile");
  const [rows, rowsText] = tile("Rows answered");
  const rateChart = chart("Requests a second", "rate");
  const latencyChart = chart("Latency, milliseconds", "latency");
  const bars = (id) => h("ul", { class: "bars many", id });
  const fractions = bars("classes");
  const drift = bars("drift");
  const more = h("button", { type: "button", class: "link", "aria-pressed": "false", hidden: true, onclick: () => {
    more.setAttribute("aria-pressed", String(more.getAttribute("aria-pressed") !== "true"));
    drifted(readings.at(-1));
  } }, "Show all");
  const driftNote = h("p", { class: "muted small" });
  gauges = { rateText, errorsText, latencyText, rowsText, rateChart, latencyChart, fractions, drift, driftNote, more };
  fill($("gauges"), h("div", { class: "stack" },
    h("dl", { class: "tiles" }, rate, errors, latency, rows),
    h("div", { class: "pair" }, rateChart.element, latencyChart.element),
    [
      h("div", { class: "card" }, h("h3", {}, "Predictions by class"), h("p", { class: "muted small" }, "Share of all rows since the service started; the line marks the share in the training data."), fractions),
      h("div", { class: "card" }, h("h3", {}, "Drift from the training data"), driftNote, drift, more)]));
}

function chart(title, id) {
  const drawing = svg("svg", { id, role: "img", viewBox: "0 0 600 144", preserveAspectRatio: "none" });
  const most = h("span", { class: "most", "aria-hidden": "true" });
  const legend = h("p", { class: "legend" });
  const idle = h("p", { class: "idle muted" });
  const element = h("div", { class: "card" }, h("h3", {}, title), h("div", { class: "plot" }, drawing, most, idle,
    h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, `${(KEPT * INTERVAL) / 60000} min ago`), h("span", {}, "now"))), legend);
  return { element, drawing, most, legend, idle };
}

/** Draw lines, each of values or null, the newest last; the first may stand on an area. */
function draw({ drawing, most, idle }, lines, unit, text) {
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  idle.hidden = values.some((value) => value > 0);
  idle.textContent = `No requests ${lines[0].values.length < KEPT ? "since this page was opened" : "in the last two minutes"}.`;
  const top = nice(Math.max(...values, 0));
  const x = (index, length) => 600 - (length - 1 - index) * (600 / (KEPT - 1));
  const y = (value) => 142 - (value / top) * 134;
  const shapes = lines.flatMap(({ values, kind, area }) => {
    const path = values.map((value, index) => (value === null ? "" :
      `${index && values[index - 1] !== null ? "L" : "M"}${x(index, values.length).toFixed(1)} ${y(value).toFixed(1)}`)).join("");
    const line = svg("path", { class: `line ${kind}`, d: path, "vector-effect": "non-scaling-stroke" });
    return area && values.length > 1 ? [svg("path", { class: "area", d: `${path}V142H${x(0, values.length).toFixed(1)}Z` }), line] : [line];
  });
  const base = [142, 75, 8].map((at) => svg("line", { class: "axis", x1: 0, x2: 600, y1: at, y2: at, "vector-effect": "non-scaling-stroke" }));
  drawing.replaceChildren(...base, ...shapes);
  drawing.setAttribute("aria-label", text);
  most.textContent = idle.hidden ? `${short(top)}${unit}` : "";
}

/** The next number of 1, 2, 5, 10, … */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

const milliseconds = (seconds) => (seconds === null ? "–" : seconds < 0.0005 ? "< 0.5 ms" : `${some(seconds * 1000)} ms`);

function show() {
  const now = readings.at(-1);
  const first = readings[Math.max(0, readings.length - 1 - RECENT)];
  const recent = now.requests - first.requests;
  const rate = points.at(-1)?.rate ?? 0;
  // Without recent requests, show all since the start.
  const from = recent ? first : { requests: 0, errors: 0, counts: now.counts.map(() => 0) };
  const requests = now.requests - from.requests;
  const when = recent ? "recently" : "since the start";
  const tile = (element, text, below) => fill(element, text, h("small", {}, below));
  tile(gauges.rateText, some(rate), `${formatInteger(now.requests)} since the start`);
  tile(gauges.errorsText, requests ? percent((now.errors - from.errors) / requests) : "–", requests ? `of ${formatInteger(requests)} ${when}` : "no request yet");
  const result = QUANTILES.map(([share, text, kind]) => [text, kind, quantile(share, from, now)]);
  tile(gauges.latencyText, milliseconds(result[1][2]), requests ? `of ${formatInteger(requests)} ${when}` : "no request yet");
  tile(gauges.rowsText, formatInteger(now.rows), "since the start");
  const most = Math.max(0, ...points.map((point) => point.rate));
  draw(gauges.rateChart, [{ values: points.map((point) => point.rate), kind: "", area: true }], "",
    `Requests a second over the last two minutes: now ${some(rate)}, at most ${some(most)}.`);
  draw(gauges.latencyChart, QUANTILES.map(([, text, kind]) => ({ kind, values: points.map((point) => point[text] && point[text] * 1000) })), " ms",
    `Latency ${recent ? "over the last half minute" : "since the start"}: ${result.map(([text, , value]) => `${text} ${milliseconds(value)}`).join(", ")}.`);
  fill(gauges.rateChart.legend, h("span", {}, "now ", h("span", { class: "value" }, some(rate))), h("span", {}, "most ", h("span", { class: "value" }, some(most))),
    h("span", {}, "since the start ", h("span", { class: "value" }, formatInteger(now.requests))));
  fill(gauges.latencyChart.legend, result.map(([text, kind, value]) =>
    h("span", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), `${text} `, h("span", { class: "value" }, milliseconds(value)))), h("span", {}, when));
  shared(now);
  drifted(now);
}

function shared(now) {
  const { classes, counts } = model.contract.target;
  const total = counts.reduce((sum, each) => sum + each, 0);
  const expected = new Map(classes.map((one, index) => [typeof one === "string" ? one : json(one), total ? counts[index] / total : null]));
  const listed = [...now.classes].toSorted((one, two) => (now.classes.size > LISTED ? two[1] - one[1] : 0)).slice(0, LISTED);
  fill(gauges.fractions, listed.map(([one, value]) => {
    const share = now.rows ? value / now.rows : 0;
    const before = expected.get(one);
    return bar(one, now.rows ? `${percent(share)} · ${formatInteger(value)}` : "–", share, "", Number.isFinite(before) ? [before] : []);
  }));
}

function drifted(now) {
  const enough = now.window >= RELIABLE;
  const listed = now.drift.toSorted((one, two) => two[1] - one[1]);
  const all = gauges.more.getAttribute("aria-pressed") === "true";
  const shown = all ? listed : listed.slice(0, LISTED);
  const scale = Math.max(0.3, Math.min(1, listed[0]?.[1] ?? 0));
  const kind = (value) => (!enough ? "calm" : value >= MARKS[1] ? "bad" : value >= MARKS[0] ? "warn" : "good");
  const verdict = (value) => (!enough ? "" : value >= MARKS[1] ? " · large" : value >= MARKS[0] ? " · some" : "");
  const marks = MARKS.map((mark) => mark / scale);
  gauges.driftNote.textContent = now.window
    ? `Population stability index over the last ${count(now.window, "row")}; the lines mark 0.1 and 0.25.${enough ? "" : ` Below ${formatInteger(RELIABLE)} rows it is mostly chance.`}`
    : "Population stability index of each column; no rows yet.";
  fill(gauges.drift, now.window ? [["predicted class", now.target], ...shown].map(([one, value], index) => {
    const item = bar(index ? called(one) : one, `${value.toFixed(3)}${verdict(value)}`, now.window >= DRAWN ? value / scale : 0, kind(value), marks, true);
    if (!index) item.firstChild.replaceWith(h("em", {}, "predicted class"));
    return item;
  }) : []);
  gauges.more.hidden = !now.window || listed.length <= LISTED;
  gauges.more.textContent = all ? "Show the largest" : "Show all";
}

/** Whether counters went back: the service was started anew. */
const behind = (one, two) => two.requests < one.requests || two.rows < one.rows || two.ends.length !== one.ends.length;

let timer = null;
let looking = null;

/** Look at the service once; one look at a time. */
function look() {
  looking ??= glance().finally(() => (looking = null));
  return looking;
}

async function glance() {
  const before = performance.now();
  try {
    const [ready, response] = await Promise.all([ask("readyz"), ask("metrics", { headers: { Accept: "text/plain" } })]);
    state(ready.ok ? "ready" : "not", ready.ok ? "ready" : (await error(ready)).error);
    if (response.status === 401) return note("The metrics need another key.");
    if (!response.ok) return note("The metrics cannot be read.");
    take(reading(await response.text()));
  } catch {
    state("not", "not reachable");
  }
  spent = performance.now() - before;
}

let spent = 0;

function note(text) {
  $("live-note").textContent = text;
}

function take(now) {
  const last = readings.at(-1);
  if (last && behind(last, now)) readings = points = [];
  else if (last) {
    const rate = ((now.requests - last.requests) * 1000) / (now.time - last.time);
    const recent = readings[Math.max(0, readings.length - RECENT)];
    points = [...points, { rate, ...Object.fromEntries(QUANTILES.map(([share, text]) => [text, quantile(share, recent, now)])) }].slice(-KEPT);
  }
  readings = [...readings, now].slice(-(RECENT + 1));
  show();
}

/** Look again and again while somebody can see it; of a service with very many columns less often. */
async function watch() {
  clearTimeout(timer);
  if (document.hidden) return;
  await look();
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(watch, Math.max(INTERVAL, 20 * spent));
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden || !model) return;
  readings = [];
  points = [];
  watch();
});

// Where it comes from

function origin(model) {
  const { git = {}, dvc = {}, params = {}, versions = {} } = model;
  const commit = git.commit ? `${git.commit}${git.dirty ? " (dvc.lock has changed since)" : ""}` : null;
  const chain = { model_version: model.model_version, sha256: model.sha256, git, dvc, params, versions };
  const stages = Object.entries(dvc).map(([stage, sides]) => part(`Stage ${stage}`,
    Object.entries(sides).filter(([, files]) => Object.keys(files).length).map(([side, files]) => [h("h4", {}, side === "deps" ? "Inputs (MD5)" : "Outputs (MD5)"), rows(files)])));
  const blocks = Object.entries(params).map(([block, values]) => part(`Parameters: ${block}`,
    values && typeof values === "object" ? rows(Object.fromEntries(Object.entries(values).map(([one, value]) => [one, json(value)]))) : h("code", {}, json(values))));
  fill($("chain"), h("div", { class: "card" },
    h("dl", { class: "chain" }, [["Model", model.model_version], ["SHA-256 of its files", model.sha256], ["Git commit", commit, git.commit]]
      .filter(([, value]) => value).map(([text, value, copied]) => entry(text, value, copied ?? value))),
    stages, blocks, Object.keys(versions).length ? part("Library versions", rows(versions)) : null,
    h("div", { class: "actions" }, h("button", { type: "button", id: "copy-all", onclick: (event) => copy(json(chain, 2), event.currentTarget) }, "Copy all as JSON"))));
}

function entry(text, value, copied) {
  return h("div", { class: "link-row" }, h("dt", {}, name(text)), h("dd", {}, h("code", {}, value)), h("dd", {}, copier(copied, text)));
}

const rows = (values) => h("dl", { class: "chain" }, Object.entries(values).map(([text, value]) => entry(text, String(value), String(value))));

function part(title, ...content) {
  return h("details", {}, h("summary", {}, h("h3", {}, title)), h("div", { class: "inner" }, content));
}

/** Download a file of the service, with the key, which an address cannot have. */
async function download(path, ending) {
  const response = await ask(path);
  if (!response.ok) return trouble(sentence((await error(response)).error));
  const url = URL.createObjectURL(await response.blob());
  h("a", { href: url, download: `${model.model_version.replace(":", "-")}.${ending}` }).click();
  URL.revokeObjectURL(url);
}

$("card").addEventListener("click", () => download("model/card", "md"));

$("document").addEventListener("click", (event) => {
  if (!model || !key()) return;
  event.preventDefault();
  download("docs.json", "json");
});

// The beginning

function head(model) {
  const { target, columns } = model.contract;
  document.title = `${model.model_version} · Cairn`;
  fill($("title"), name(model.model_version));
  fill($("tagline"), "Predicts ", name(caption(target)), `, one of ${count(target.classes.length, "class", "classes")}, from ${count(columns.length, "column")}.`);
}

async function start() {
  trouble("");
  if (KEYED.includes("model") && !key()) {
    state("wait", "locked");
    return lock("");
  }
  let response;
  try {
    response = await ask("model");
  } catch {
    state("not", "not reachable");
    return trouble("The service cannot be reached.");
  }
  if (response.status === 401) {
    keep(null);
    state("wait", "locked");
    return lock("The service does not accept this key.");
  }
  if (!response.ok) return trouble(sentence((await error(response)).error));
  model = parse(await response.text());
  captions = captionsOf(model.contract);
  $("lock").hidden = true;
  $("open").hidden = false;
  $("forget").hidden = !key();
  $("card").hidden = !model.card;
  head(model);
  form(model);
  evaluation(model);
  live();
  origin(model);
  watch();
}

start();
