"use strict";

const el = (id) => document.getElementById(id);
const clock = (w) => w.replace("T", " ").replace("Z", "");

function chart(windows) {
  const width = 900, height = 260, top = Math.max(1, ...windows.map((w) => w.pv));
  const step = width / Math.max(1, windows.length);
  const y = (n) => height - (n / top) * (height - 20);
  const bars = windows.map((w, i) => `<rect class="pv" x="${i * step + 1}" y="${y(w.pv)}" width="${Math.max(1, step - 2)}" height="${height - y(w.pv)}"><title>${clock(w.window)}: ${w.pv} views, ${w.uv} visitors</title></rect>`);
  const line = windows.map((w, i) => `${(i + 0.5) * step},${y(w.uv)}`).join(" ");
  el("chart").innerHTML = bars.join("") + `<polyline class="uv" points="${line}"/>`;
}

function pages(top) {
  const most = Math.max(1, ...top.map((p) => p.pv));
  el("top").replaceChildren(...top.map((p) => {
    const row = document.createElement("tr");
    const cells = [p.page, "", p.pv, p.uv].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    });
    const bar = document.createElement("i");
    bar.style.width = `${(100 * p.pv) / most}%`;
    cells[1].className = "bar";
    cells[1].append(bar);
    row.append(...cells);
    return row;
  }));
}

function show(data) {
  if (data.windows.length === 0) return;
  const newest = data.windows[data.windows.length - 1];
  el("pv").textContent = newest.pv.toLocaleString("en");
  el("uv").textContent = newest.uv.toLocaleString("en");
  el("window").textContent = clock(newest.window);
  el("from").textContent = clock(data.windows[0].window);
  el("to").textContent = clock(newest.window);
  el("state").textContent = "live";
  chart(data.windows);
  pages(data.top);
}

const events = new EventSource("events");
events.onmessage = (e) => show(JSON.parse(e.data));
events.onerror = () => { el("state").textContent = "the program has stopped; start it again and this page goes on"; };
