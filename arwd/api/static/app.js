// The plain page: the list of jobs as /models/jobs tells it, kept up to date by one EventSource.
"use strict";

const find = (name) => document.getElementById(name);
const rows = new Map(); // job_id -> { item, job }
const FINAL = new Set(["complete", "error", "canceled"]);
// What holds only for as long as the latest event says it.
const UNSAID = { bytes_per_second: undefined, eta_seconds: undefined, code: undefined, waiting_for: undefined };

let source = null;

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds < 100) return `${seconds} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function detail(job) {
  if (job.status === "error" || job.status === "retrying") return job.error ?? "";
  if (job.status === "complete") {
    const files = job.files_total && `${job.files_total} files`;
    return [job.file, files, job.sha256 && `sha256 ${job.sha256}`].filter(Boolean).join("\n");
  }
  if (job.status === "canceled") return "";
  const parts = [];
  if (job.downloaded !== undefined) parts.push(size(job.downloaded) + (job.total === undefined ? "" : ` of ${size(job.total)}`));
  if (job.files_total) parts.push(`${job.files_done} of ${job.files_total} files`);
  if (job.status === "downloading") {
    if (job.bytes_per_second) parts.push(`${size(job.bytes_per_second)}/s`);
    if (job.eta_seconds !== undefined) parts.push(`${time(job.eta_seconds)} left`);
  }
  if (job.status === "paused" && job.code === "disk_full") parts.push("waits for room on the disk, then goes on by itself");
  if (job.status === "queued" && job.waiting_for) parts.push("another job fetches the same bytes; this one gets them too");
  return parts.join(" · ");
}

function row(jobId) {
  let entry = rows.get(jobId);
  if (!entry) {
    const item = find("job").content.firstElementChild.cloneNode(true);
    entry = { item, job: {} };
    item.querySelector(".cancel").addEventListener("click", () => cancel(entry.job));
    rows.set(jobId, entry);
    find("jobs").prepend(item);
    find("empty").hidden = true;
  }
  return entry;
}

function show(change) {
  const entry = row(change.job_id);
  const job = Object.assign(entry.job, UNSAID, change);
  const { item } = entry;
  // Text is set as text, never as markup: names come from strangers.
  item.dataset.status = job.status;
  item.querySelector(".name").textContent = job.id;
  item.querySelector(".status").textContent = job.status;
  item.querySelector(".detail").textContent = detail(job);
  const bar = item.querySelector("progress");
  bar.hidden = FINAL.has(job.status);
  if (job.total > 0) bar.value = (100 * (job.downloaded ?? 0)) / job.total;
  else if (job.status === "downloading") bar.removeAttribute("value");
  else bar.value = 0;
  bar.setAttribute("aria-label", `${job.id}: ${job.status}`);
  item.querySelector(".cancel").hidden = FINAL.has(job.status);
}

// What an event says of a job: its words are the list's, but for a few that are about moments.
const AS_STATUS = { started: "downloading", resumed: "downloading", restarted: "downloading" };

function follow(payload) {
  if (!payload.job_id || ["already-in-progress", "cancel-requested", "no-active-job"].includes(payload.status)) return;
  const change = { ...payload, status: AS_STATUS[payload.status] ?? payload.status };
  if (payload.status === "restarted") change.downloaded = 0;
  if (payload.status === "resumed") change.downloaded = payload.offset;
  if (payload.status === "complete") change.downloaded = change.total = payload.bytes;
  show(change);
}

const CONNECTION = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  locked: "locked",
};

function connection(state) {
  find("connection").dataset.state = state;
  find("connection").textContent = CONNECTION[state];
}

function lock(isLocked) {
  find("login").hidden = !isLocked;
  find("add").hidden = find("list").hidden = isLocked;
  if (!isLocked) return;
  source?.close();
  connection("locked");
  find("token").focus();
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) lock(true);
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

function refuse(error) {
  find("refusal").textContent = error.message;
  find("refusal").hidden = false;
}

async function cancel(job) {
  if (!window.confirm(`Cancel ${job.id}? What was downloaded of it is deleted.`)) return;
  await call("POST", "/models/download/cancel", { id: job.id }).catch(refuse);
}

async function start() {
  source?.close();
  connection("connecting");
  let list;
  try {
    list = await call("GET", "/models/jobs");
  } catch {
    if (find("connection").dataset.state === "locked") return;
    connection("lost");
    setTimeout(start, 3000);
    return;
  }
  source?.close(); // another start may have come in between
  lock(false);
  rows.clear();
  find("jobs").replaceChildren();
  find("empty").hidden = list.jobs.length > 0;
  list.jobs.forEach(show);
  // From the very position of the list: nothing is missed between the two, nothing is told twice.
  source = new EventSource(`/events?prefix=Models.,Bus.&after=${list.last_event_id}`);
  source.addEventListener("open", () => connection("live"));
  source.addEventListener("error", () => {
    connection("lost");
    // A browser gives up for good on any answer but a stream: begin anew.
    if (source.readyState === EventSource.CLOSED) setTimeout(start, 3000);
  });
  source.addEventListener("Models.DownloadProgress", (event) => follow(JSON.parse(event.data)));
  source.addEventListener("Bus.Gap", start);
}

find("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  find("refusal").hidden = true;
  const body = { ref: find("ref").value.trim() };
  if (find("id").value.trim()) body.id = find("id").value.trim();
  if (find("sha256").value) body.sha256 = find("sha256").value;
  try {
    await call("POST", "/models/download", body);
    event.target.reset();
  } catch (error) {
    refuse(error);
  }
});

find("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("POST", "/login", { token: find("token").value });
    find("refusal").hidden = true;
    start();
  } catch (error) {
    refuse(error);
  }
  event.target.reset();
});

start();
