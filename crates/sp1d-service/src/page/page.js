// The status page. It uses the public HTTP API. All its addresses are relative, so that a proxy can add a path prefix.
"use strict";

const $ = (id) => document.getElementById(id);
const fresh = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const cell = (content, className = "") => fresh("td", { className }, content);
// Each reading has its place. A dash stands for a value that the driver does not have.
const gpuLine = (gpu) => {
  const form = (value, divisor, digits = 0) => (Number.isFinite(value) ? (value / divisor).toFixed(digits) : "–");
  const parts = [
    `${form(gpu.used_bytes, 1e9, 1)} GB used`, `${form(gpu.utilization_percent, 1)} % busy`,
    `${form(gpu.celsius, 1)} °C`, `${form(gpu.milliwatts, 1000)} W`,
  ];
  return fresh("div", { className: "why", textContent: `GPU ${gpu.index}: ${parts.join(", ")}` });
};
const state = (name) => fresh("span", { className: `state ${name}`, textContent: name });

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function seconds(value) {
  if (!Number.isFinite(value)) return "";
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}
// Returns a time of this computer's time zone, in the same form for all languages.
function clock(text) {
  if (!text) return "";
  const time = new Date(text), two = (number) => String(number).padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}
const span = (proof) => (proof.started ? (proof.ended ? Date.parse(proof.ended) : Date.now()) - Date.parse(proof.started) : NaN) / 1000;

// Number of proven tasks below which no time is estimated.
const MIN_PROVEN_TASKS = 3;

const heldBy = (workers) => workers.reduce((sum, worker) => sum + worker.holds, 0);

// Estimates the remaining seconds from the number of remaining tasks, like `sp1d top`. The number grows until the
// execution has ended, so the estimate is too low until then. NaN while too few tasks are proven: less than three, or
// less than the remaining ones that workers have now. `held` is the number of attempts of all workers.
function left(proof, held) {
  const { known, done, cached } = proof.tasks;
  const made = done - cached, open = known - done;
  const isKnown = proof.state === "running" && open > 0 && made >= MIN_PROVEN_TASKS && made >= Math.min(held, open);
  return isKnown ? (span(proof) / made) * open : NaN;
}

// Updates the rows of a table in place, by key, so that rows under the pointer do not move or flicker.
function rows(body, items, key, fill) {
  const kept = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let at = body.firstElementChild;
  for (const item of items) {
    const id = key(item);
    let row = kept.get(id);
    if (row) kept.delete(id);
    else {
      row = fresh("tr");
      row.dataset.key = id;
    }
    const text = JSON.stringify(item);
    if (row.dataset.item !== text || item.state === "running") {
      row.dataset.item = text;
      row.replaceChildren(...fill(item));
    }
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at);
  }
  kept.forEach((row) => row.remove());
}

// Returns why a worker is quarantined or disconnected.
function why({ quarantine, disconnection }) {
  if (!disconnection) return quarantine ?? "";
  const { since, reason, last_try } = disconnection;
  const now = last_try && last_try !== reason ? `; now: ${last_try}` : "";
  return `since ${clock(since)}: ${reason}${now}`;
}

// Whether the listed proofs have several tenants. Only an administrator of a service with tokens sees several.
let hasTenants = false;

function showOverview(now) {
  const several = new Set(now.proofs.map((proof) => proof.tenant)).size > 1;
  if (several !== hasTenants) {
    hasTenants = several;
    $("tenants").hidden = !several;
    // All rows get the other columns.
    $("proofs").replaceChildren();
    refresh();
  }
  const counts = ["running", "queued", "done", "failed", "cancelled"].map((name) => `${now.counts[name] ?? 0} ${name}`);
  const connected = now.workers.filter((worker) => !worker.disconnection), ready = connected.filter((worker) => worker.state !== "starting").length;
  const disconnected = now.workers.length - connected.length;
  $("summary").textContent = `${counts.join(", ")}; ${counted(connected.length, "worker")}, ${ready} ready${disconnected ? `, ${disconnected} disconnected` : ""}`;
  $("list-error").hidden = !now.list.error;
  $("list-error").textContent = now.list.error ? `Cannot read the worker list: ${now.list.error}` : "";
  $("no-proofs").hidden = now.proofs.length > 0;
  $("no-workers").hidden = now.workers.length > 0;
  const held = heldBy(now.workers);
  rows($("proofs"), now.proofs, (proof) => proof.id, (proof) => {
    const link = fresh("a", { className: "id", href: `#/proofs/${proof.id}`, textContent: proof.id });
    const tasks = fresh("span");
    if (proof.state === "running") {
      const bar = fresh("progress", { max: Math.max(1, proof.tasks.known), value: proof.tasks.done });
      bar.setAttribute("aria-label", "tasks done");
      tasks.append(bar);
    }
    tasks.append(proof.tasks.known ? `${proof.tasks.done}/${proof.tasks.known}` : "");
    const more = left(proof, held);
    const took = seconds(span(proof)) + (Number.isFinite(more) ? `, about ${seconds(more)} left` : "");
    return [cell(link), ...(hasTenants ? [cell(proof.tenant)] : []), cell(state(proof.state)), cell(proof.mode), cell(tasks), cell(clock(proof.created)), cell(took)];
  });
  rows($("workers"), now.workers, (worker) => `${worker.name} ${worker.address}`, (worker) => [
    cell(worker.gpus?.length ? fresh("div", {}, worker.name, ...worker.gpus.map(gpuLine)) : worker.name), cell(fresh("div", {}, state(worker.state), fresh("div", { className: "why", textContent: why(worker) }))), cell(String(worker.holds), "number"), cell(String(worker.done), "number"),
    cell(String(worker.failed_attempts), worker.failed_attempts ? "number failed" : "number"), cell(String(worker.threads || ""), "number"),
    cell(worker.memory_bytes ? `${Math.round(worker.memory_bytes / 1e9)} GB` : "", "number"), cell(worker.address),
  ]);
}

// The proof on the detail page, or null.
let looked = null;

const KINDS = [
  ["core", "prove shard", /shard/], ["fold", "reduce", /reduce|deferred/], ["wrap", "wrap", /wrap/],
];
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function words(event) {
  const task = `task ${event.task ?? ""} (${event.kind ?? ""})`;
  switch (event.event) {
    case "queued": return "accepted";
    case "started": return event.start === 1 ? "started" : `started again (start ${event.start})`;
    case "submitted": return `new task: ${event.kind}`;
    case "cached_result": return `${event.kind}: result taken from the result cache`;
    case "assigned": return `${task} assigned to ${event.worker}`;
    case "proving": return `${event.worker} started to prove ${task}`;
    case "interrupted": return `${task} was interrupted on ${event.worker}: the worker disconnected`;
    case "taken_back": return `${task} was taken back from ${event.worker}`;
    case "continued": return `${task} continues on ${event.worker}`;
    case "done": return `${event.worker} finished ${task}`;
    case "attempt_failed": return `${task} failed on ${event.worker}: ${event.reason}`;
    case "dropped": return `${task} dropped on ${event.worker}: no longer needed`;
    case "executed": {
      const unread = event.unread_values ? `; it did not read ${counted(event.unread_values, "input value")}` : "";
      return `program executed: ${counted(event.cycles, "cycle")}${unread}`;
    }
    case "worker_ready": return `worker ${event.worker} is ready`;
    case "cut": {
      const [setting, cells] = event.name.split("=");
      const size = cells ? `of ${cells} trace cells (setting ${setting})` : `(${event.name})`;
      return `the run is cut into shards ${size}: ${event.reason}`;
    }
    case "worker_draining": return `worker ${event.worker} is draining: it finishes the tasks that it has started, and gets no others`;
    case "worker_lost": return `worker ${event.worker} disconnected: ${event.reason}`;
    case "restarted": return `proof started again: ${event.reason}`;
    case "verifying": return "verifying the proof";
    case "finished": return event.failure ? `${event.state}: ${event.failure.text}` : event.state;
    default: return event.event;
  }
}

// Maximum height of the timeline in pixels.
const MAX_PIXELS = 8000;

class Looked {
  constructor(id) {
    Object.assign(this, { id, attempts: new Map(), lanes: [], disconnections: [], executions: [], row: 26, started: NaN, until: NaN, over: false, pointed: -1, last: 0, bars: [] });
  }

  note(event) {
    const at = Date.parse(event.at);
    this.last = event.number;
    this.until = at;
    if (Number.isNaN(this.started)) this.started = at;
    const attempt = this.attempts.get(event.attempt);
    const execution = this.executions.at(-1);
    switch (event.event) {
      case "started":
        // Attempts from before a crash of the service have no end event.
        for (const open of this.attempts.values()) if (!open.ended) Object.assign(open, { ended: at, outcome: "lost when the service stopped" });
        this.executions.push({ from: at });
        break;
      case "executed": if (execution) execution.to = at; break;
      case "assigned":
        if (!this.lanes.includes(event.worker)) this.lanes.push(event.worker);
        this.attempts.set(event.attempt, { task: event.task, kind: event.kind, worker: event.worker, assigned: at });
        break;
      case "proving": if (attempt) attempt.proving = at; break;
      case "interrupted": if (attempt && !attempt.ended) Object.assign(attempt, { ended: at, outcome: "the worker disconnected", bad: true }); break;
      case "taken_back": if (attempt && !attempt.ended) Object.assign(attempt, { ended: at, outcome: "taken back" }); break;
      case "continued": if (attempt) Object.assign(attempt, { ended: undefined, outcome: undefined, bad: false }); break;
      // An attempt can still finish after its worker disconnected: the worker may reconnect and continue it.
      case "done": if (attempt) Object.assign(attempt, { ended: at, outcome: "done", bad: false }); break;
      case "attempt_failed": if (attempt) Object.assign(attempt, { ended: at, outcome: `failed: ${event.reason}`, bad: true }); break;
      case "dropped": if (attempt && !attempt.ended) Object.assign(attempt, { ended: at, outcome: "dropped: no longer needed" }); break;
      case "worker_lost":
        this.disconnections.push({ worker: event.worker, at });
        for (const open of this.attempts.values()) if (open.worker === event.worker && !open.ended) Object.assign(open, { ended: at, outcome: "the worker disconnected", bad: true });
        break;
      case "finished":
        this.over = true;
        for (const open of this.attempts.values()) if (!open.ended) Object.assign(open, { ended: at, outcome: "the proof ended" });
        if (execution && !execution.to) execution.to = at;
        break;
    }
  }

  all() { return [...this.attempts.values()]; }

  draw() {
    // Rows get lower when there are many workers, because browsers limit the height of a canvas.
    const canvas = $("timeline"), row = Math.max(4, Math.min(26, Math.floor(MAX_PIXELS / (this.lanes.length + 1)))), head = 22, margin = Math.min(160, canvas.clientWidth * 0.28);
    const pad = Math.floor(row / 5), thin = Math.max(1, Math.floor(row / 6));
    this.row = row;
    const width = canvas.clientWidth, height = head + row * (this.lanes.length + 1) + 8, scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    if (Number.isNaN(this.started)) return;
    const until = Math.max(this.over ? this.until : Date.now(), this.started + 1000);
    const x = (time) => margin + ((time - this.started) / (until - this.started)) * (width - margin - 8);
    const y = (lane) => head + row * lane;
    const ink = { faint: color("faint"), ink: color("ink"), line: color("line"), waiting: color("waiting"), failed: color("failed"), queued: color("queued"), done: color("done") };
    // The smallest step in seconds that leaves about 120 pixels or more between grid lines.
    const all = (until - this.started) / 1000;
    const step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400].find((s) => all / s <= Math.max(2, width / 120)) ?? 86400;
    for (let tick = 0; tick <= all; tick += step) {
      const at = x(this.started + tick * 1000);
      pen.fillStyle = ink.line;
      pen.fillRect(at, head, 1, height - head);
      pen.fillStyle = ink.faint;
      const name = seconds(tick);
      if (at + 2 + pen.measureText(name).width < width) pen.fillText(name, at + 2, head / 2);
    }
    const label = (text, lane, disconnected) => {
      pen.fillStyle = disconnected ? ink.failed : ink.ink;
      pen.font = `${Math.min(12, row)}px system-ui, sans-serif`;
      pen.save();
      pen.beginPath();
      pen.rect(0, y(lane), margin - 6, row);
      pen.clip();
      pen.fillText(text, 6, y(lane) + row / 2);
      pen.restore();
    };
    label("execution", 0, false);
    pen.fillStyle = ink.done;
    for (const { from, to } of this.executions) pen.fillRect(x(from), y(0) + pad + 1, Math.max(1, x(to ?? until) - x(from)), Math.max(1, row - 2 * pad - 2));
    const lanes = new Map(this.lanes.map((worker, at) => [worker, at + 1]));
    const disconnected = new Set(this.disconnections.map(({ worker }) => worker));
    this.lanes.forEach((worker, at) => label(worker, at + 1, disconnected.has(worker)));
    this.bars = this.all().map((attempt, number) => {
      const lane = lanes.get(attempt.worker), from = x(attempt.assigned), to = x(attempt.ended ?? until);
      return { number, attempt, lane, from, proving: attempt.proving ? x(attempt.proving) : to, to: Math.max(to, from + 3) };
    });
    // A worker proves one attempt while the next one waits. Waiting attempts are drawn first, below the proving ones.
    pen.fillStyle = ink.waiting;
    for (const { lane, from, proving } of this.bars) pen.fillRect(from, y(lane) + Math.floor((row - thin) / 2), Math.max(0, proving - from), thin);
    const kinds = new Map(KINDS.map(([kind]) => [kind, color(kind)]));
    for (const { attempt, lane, proving, to } of this.bars) {
      if (!attempt.proving) continue;
      const kind = KINDS.find(([, , pattern]) => pattern.test(attempt.kind))?.[0] ?? "core";
      pen.fillStyle = attempt.bad ? ink.failed : attempt.outcome && attempt.outcome !== "done" ? ink.queued : kinds.get(kind);
      // Leaves a gap of one pixel between consecutive attempts.
      pen.fillRect(proving, y(lane) + pad, Math.max(1.5, to - proving - 1), row - 2 * pad);
    }
    const pointed = this.bars[this.pointed];
    if (pointed) {
      pen.strokeStyle = ink.ink;
      pen.lineWidth = 2;
      pen.strokeRect(pointed.from, y(pointed.lane) + pad - 1, pointed.to - pointed.from, row - 2 * pad + 2);
    }
    pen.fillStyle = ink.failed;
    for (const { worker, at } of this.disconnections) if (lanes.has(worker)) pen.fillRect(x(at) - 1, y(lanes.get(worker)) + 1, 3, row - 2);
    const canvasText = `Timeline: ${counted(this.lanes.length, "worker")}, ${counted(this.attempts.size, "attempt")} in ${seconds(all)}`;
    if (canvas.getAttribute("aria-label") !== canvasText && (this.over || !canvas.hasAttribute("aria-label"))) canvas.setAttribute("aria-label", canvasText);
  }

  point(number) {
    const all = this.all();
    if (!all.length) return;
    this.pointed = Math.max(0, Math.min(all.length - 1, number));
    const attempt = all[this.pointed];
    const waited = ((attempt.proving ?? attempt.ended ?? Date.now()) - attempt.assigned) / 1000;
    const proved = attempt.proving ? ((attempt.ended ?? Date.now()) - attempt.proving) / 1000 : 0;
    $("pointed").textContent = `task ${attempt.task} (${attempt.kind}) on ${attempt.worker}: waited ${seconds(waited)}, proving ${seconds(proved)}, ${attempt.outcome ?? "in progress"}`;
    this.draw();
  }
}

function showFacts(proof) {
  const more = left(proof, heldBy(told?.now?.workers ?? []));
  $("detail-title").replaceChildren("Proof ", fresh("span", { className: "id", textContent: proof.id }), " ", state(proof.state));
  $("detail-failure").hidden = !proof.failure;
  $("detail-failure").textContent = proof.failure?.text ?? "";
  const facts = {
    Mode: proof.mode, Tasks: `${proof.tasks.done} of ${proof.tasks.known} done${proof.tasks.cached ? `, ${proof.tasks.cached} of them from the result cache` : ""}`,
    Duration: seconds(span(proof)), Remaining: Number.isFinite(more) ? `about ${seconds(more)}` : "", Accepted: clock(proof.created), Deadline: clock(proof.deadline),
    Priority: String(proof.priority), Cycles: proof.cycles?.toLocaleString() ?? "", Gas: proof.gas?.toLocaleString() ?? "", Shards: proof.shards?.toString() ?? "", Starts: proof.starts > 1 ? String(proof.starts) : "",
    Tenant: hasTenants ? proof.tenant : "", Requester: proof.requester ?? "", Program: proof.program,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).map(([name, value]) =>
    fresh("div", {}, fresh("dt", { textContent: name }), fresh("dd", { textContent: value, className: ["Program", "Requester"].includes(name) ? "id" : "" }))));
  const over = !["queued", "running"].includes(proof.state);
  $("cancel").hidden = over || !mayChange;
  $("delete").hidden = !over || !mayChange;
  $("fetch").hidden = proof.state !== "done";
  if (over) $("cancel").textContent = "Cancel this proof";
}

// Browsers open at most six connections to a server over HTTP/1. So one tab holds the event stream of the overview, and
// passes each overview on to the other tabs. Browsers offer locks only to pages over HTTPS and of this machine. On
// other pages, each visible tab has its own stream.
const NAME = `sp1d overview ${new URL(".", location.href).pathname}`;
const channel = new BroadcastChannel(NAME);
let told = null, leads = false;

function show(message) {
  told = message;
  $("connection").textContent = message.now ? "" : "The service does not respond. Retrying.";
  if (message.now) showOverview(message.now);
}

// Opens the event stream. Returns a function that closes it.
function lead() {
  leads = true;
  let stream = null, timer = 0;
  const tell = (message) => { show(message); channel.postMessage(message); };
  const connect = () => {
    stream = new EventSource("v1/events");
    stream.addEventListener("overview", (event) => tell({ now: JSON.parse(event.data) }));
    stream.onerror = () => {
      tell({ now: null });
      // While the service restarts, the browser can close the stream permanently.
      if (stream.readyState === EventSource.CLOSED) timer = setTimeout(async () => { if (await mayRead()) connect(); }, 2000);
    };
  };
  connect();
  return () => { leads = false; clearTimeout(timer); stream.close(); };
}

// Whether the token permits to cancel and to delete proofs. A service without tokens permits it.
let mayChange = false;

// Shows the login if the service needs a token and the browser has none. Otherwise, returns true.
async function mayRead() {
  const answer = await fetch("v1/session", { cache: "no-store" }).catch(() => null);
  const refused = answer?.status === 401 || answer?.status === 403;
  if (refused) {
    looked = null;
    $("overview").hidden = true;
    $("detail").hidden = true;
    $("summary").textContent = "";
    $("connection").textContent = "";
  }
  $("login").hidden = !refused;
  const session = answer?.ok ? await answer.json() : null;
  $("logout").hidden = !session?.token;
  if (session) mayChange = session.roles.split(",").some((role) => role === "submit" || role === "admin");
  return !refused;
}

// Sends the token once. The browser then keeps it in a cookie that this script cannot read.
async function login(token) {
  let answer = null;
  try {
    answer = await fetch("v1/login", { method: "POST", headers: { Authorization: `Bearer ${token.trim()}` } });
  } catch {
    // The service does not respond, or the text has characters that no header can have.
  }
  if (answer?.ok) return location.reload();
  const problem = await answer?.json().catch(() => null);
  $("login-refused").textContent = problem?.detail ?? (answer ? `The server responded with status ${answer.status}.` : "The token cannot be sent.");
  $("login-refused").hidden = false;
}

function watch() {
  channel.onmessage = ({ data }) => {
    if (data === "logout") location.reload();
    else if (data !== "ask") show(data);
    else if (leads && told) channel.postMessage(told);
  };
  if (navigator.locks) {
    navigator.locks.request(NAME, () => { lead(); return new Promise(() => {}); });
    channel.postMessage("ask");
    return;
  }
  let stop = null;
  const update = () => {
    if (document.hidden) { stop?.(); stop = null; } else stop ??= lead();
  };
  document.addEventListener("visibilitychange", update);
  update();
}

const pathOf = (id) => `v1/proofs/${encodeURIComponent(id)}`;

async function refresh() {
  const { id } = looked ?? {};
  if (!id) return;
  const answer = await fetch(pathOf(id)).catch(() => null);
  if (!answer || looked?.id !== id) return;
  if (answer.ok) return showFacts(await answer.json());
  $("detail-title").textContent = (await answer.json()).detail;
}

// Shows the main reason why tasks of the proof wait.
async function refreshWaiting() {
  const { id } = looked ?? {};
  if (!id) return;
  const answer = await fetch(`${pathOf(id)}/tasks?limit=1`).catch(() => null);
  const [main] = answer?.ok ? (await answer.json()).reasons : [];
  if (looked?.id !== id) return;
  const hidden = !main || looked.over;
  $("detail-waiting").hidden = hidden;
  $("detail-waiting").textContent = hidden ? "" : `${main.tasks} ${main.tasks === 1 ? "task waits" : "tasks wait"}: ${main.reason}`;
}

// Maximum number of lines in the list of events. The oldest lines are removed.
const MOST_LINES = 500;

let drawing = false;
function drawSoon() {
  if (drawing || !looked) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; looked?.draw(); });
}

// Returns the events in the body of a response: server-sent events, each in one block of lines.
async function* eventsIn(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

// Waits for a second, and longer while the tab is hidden.
async function pause() {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

function showEvent(proof, event) {
  if (event.number <= proof.last) return;
  proof.note(event);
  const line = fresh("li", {}, fresh("time", { textContent: clock(event.at), dateTime: event.at }), words(event));
  if (event.event === "attempt_failed" || event.event === "worker_lost") line.className = "failed";
  $("events").prepend(line);
  if ($("events").childElementCount > MOST_LINES) $("events").lastElementChild.remove();
  drawSoon();
}

// Reads the events of a proof again and again until it has ended. An event stream would hold one of the browser's
// connections to the service for each tab.
async function followProof(proof) {
  while (looked === proof && !proof.over) {
    const answer = await fetch(`${pathOf(proof.id)}/events?follow=false`, { headers: { "Last-Event-ID": proof.last }, cache: "no-store" }).catch(() => null);
    // There is no such proof, see `refresh`.
    if (answer?.status === 404) return;
    try {
      if (answer?.ok) for await (const event of eventsIn(answer)) {
        if (looked !== proof) return;
        showEvent(proof, event);
      }
    } catch {
      // The connection broke off. The next read continues after the last event.
    }
    if (!proof.over) await pause();
  }
  refresh();
  refreshWaiting();
}

function openProof(id) {
  $("overview").hidden = true;
  $("detail").hidden = false;
  $("events").replaceChildren();
  $("facts").replaceChildren();
  for (const name of ["cancel", "delete", "fetch", "detail-waiting", "refused"]) $(name).hidden = true;
  $("timeline").removeAttribute("aria-label");
  looked = new Looked(id);
  $("fetch").href = `${pathOf(id)}/proof`;
  $("fetch").download = `${id}.bin`;
  $("trace").href = `${pathOf(id)}/trace`;
  $("trace").download = `${id}.json`;
  refresh();
  refreshWaiting();
  followProof(looked);
  $("detail-title").focus();
}

function open() {
  if (!$("login").hidden) return;
  const match = /^#\/proofs\/([^/]+)$/.exec(location.hash);
  looked = null;
  if (match) return openProof(decodeURIComponent(match[1]));
  $("detail").hidden = true;
  $("overview").hidden = false;
}

// Shows why the service refused an action. The response of a proxy has no problem document.
async function showRefusal(answer) {
  const problem = await answer?.json().catch(() => null);
  const hint = problem?.hint ? `\nNext step: ${problem.hint}` : "";
  $("refused").textContent = problem?.detail ? problem.detail + hint : answer ? `The server responded with status ${answer.status}.` : "The service does not respond.";
  $("refused").hidden = false;
}

$("legend").replaceChildren(...[["core", "prove shard"], ["fold", "reduce"], ["wrap", "wrap"], ["waiting", "waiting on the worker"], ["queued", "dropped"],
  ["failed", "failed, or worker disconnected"], ["done", "execution"]].map(([name, text]) => {
  const sign = fresh("i");
  sign.style.background = `var(--${name})`;
  return fresh("span", {}, sign, text);
}));
$("cancel").addEventListener("click", async () => {
  const { id } = looked;
  if (!confirm(`Cancel proof ${id}?`)) return;
  $("cancel").textContent = "Cancel requested";
  $("refused").hidden = true;
  const answer = await fetch(pathOf(id), { method: "DELETE" }).catch(() => null);
  if (looked?.id !== id) return;
  if (!answer?.ok) {
    $("cancel").textContent = "Cancel this proof";
    await showRefusal(answer);
  }
  refresh();
});
$("delete").addEventListener("click", async () => {
  const { id } = looked;
  if (!confirm(`Delete proof ${id} with its data? This cannot be undone.`)) return;
  $("delete").disabled = true;
  $("refused").hidden = true;
  const answer = await fetch(`${pathOf(id)}/data`, { method: "DELETE" }).catch(() => null);
  $("delete").disabled = false;
  if (looked?.id !== id) return;
  if (answer?.ok) location.hash = "#/";
  else await showRefusal(answer);
});
$("timeline").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (step === undefined || !looked) return;
  event.preventDefault();
  looked.point(looked.pointed + step);
});
$("timeline").addEventListener("pointermove", (event) => {
  if (!looked) return;
  const lane = Math.floor((event.offsetY - 22) / looked.row);
  const bar = looked.bars.findLast((found) => found.lane === lane && event.offsetX >= found.from && event.offsetX <= found.to);
  if (bar) looked.point(bar.number);
});
addEventListener("hashchange", open);
addEventListener("resize", drawSoon);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
const isWatched = () => looked && !looked.over && !document.hidden;
setInterval(() => { if (isWatched()) { refresh(); drawSoon(); } }, 2000);
setInterval(() => { if (isWatched()) refreshWaiting(); }, 4000);
$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  login($("token").value);
});
$("logout").addEventListener("click", async () => {
  await fetch("v1/logout", { method: "POST" }).catch(() => null);
  channel.postMessage("logout");
  location.reload();
});
mayRead().then((may) => {
  if (!may) return;
  watch();
  open();
});
