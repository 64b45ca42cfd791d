// What the dashboard adds to plain pages and htmx: keys, times, selections, the drawer, charts.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- Times: relative words stay true while the page is open. The exact one is the server's, but on
  // a page that it drew before it knew the viewer's zone.
  const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const elsewhere = document.documentElement.dataset.zone !== exact.resolvedOptions().timeZone;
  const inWords = (moment) => {
    const seconds = Math.trunc((Date.now() - moment) / 1000);
    const distance = Math.abs(seconds);
    if (distance < 10) return "just now";
    if (distance >= 365 * 86400) return new Intl.DateTimeFormat("sv-SE").format(moment);
    const [size, unit] = UNITS.find(([least]) => distance >= least);
    const number = seconds > 0 ? Math.floor(distance / size) : Math.ceil(distance / size);
    const words = `${number} ${unit}${number === 1 ? "" : "s"}`;
    return seconds > 0 ? `${words} ago` : `in ${words}`;
  };
  const times = (root) => all("time[datetime]", root).forEach((time) => {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) return;
    if (elsewhere) time.title = exact.format(moment);
    const words = inWords(moment);
    if (!time.hasAttribute("data-fixed") && time.textContent !== words) time.textContent = words;
  });
  setInterval(() => times(document), 20000);

  // --- Keys: "/" goes to the search; arrows walk through the rows of a table.
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("search")?.select();
    }
    const row = event.target.closest(".data-table tbody tr");
    if (row && !typing && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const next = event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
      const own = [...row.querySelectorAll("a, input, button")].indexOf(event.target);
      const goal = next?.querySelectorAll("a, input, button")[own] ?? next?.querySelector("a, input");
      if (goal) { event.preventDefault(); goal.focus(); }
    }
    if (row && event.key === "Enter" && event.target.matches("[type=checkbox]")) {
      event.preventDefault();
      row.querySelector("a[href]")?.click();
    }
  });

  // --- Copying
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom) : null;
    const text = source ? source.value ?? source.textContent : button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
    } catch {
      announce("Copying was not allowed by the browser");
    }
  });
  const announce = (words) => {
    const place = document.getElementById("announce");
    if (place) place.textContent = words;
  };

  // --- Files: a large table takes the server a while, so that its button says so, and why not.
  document.addEventListener("click", async (event) => {
    const link = event.target.closest(".table-footer a[download]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.ariaBusy === "true") return;
    link.ariaBusy = "true";
    announce("The file is being prepared");
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error(answer.statusText);
      const file = document.createElement("a");
      file.href = URL.createObjectURL(await answer.blob());
      file.download = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "table.csv";
      file.click();
      setTimeout(() => URL.revokeObjectURL(file.href), 60000);
      announce("The file is there");
      trouble("");
    } catch {
      trouble("The file could not be made. Narrow the table down and try again.");
    } finally {
      link.removeAttribute("aria-busy");
    }
  });

  // --- Selections: kept per table and filter in this tab, so that they survive paging.
  const CAP = 100000;
  const kept = (slug) => {
    try { return JSON.parse(sessionStorage.getItem(`selection:${slug}`)) ?? {}; } catch { return {}; }
  };
  const keep = (slug, selection) => sessionStorage.setItem(`selection:${slug}`, JSON.stringify(selection));
  const selections = (root) => all(".data-table", root.closest?.(".data-table")?.parentElement ?? document).forEach((table) => {
    const region = table.querySelector(".table-region");
    const bar = table.querySelector("[data-bulk]");
    if (!bar) return;
    const slug = table.dataset.table;
    // Counted after the page was there.
    const exact = region.querySelector("[data-exact]");
    if (exact) {
      region.dataset.count = exact.dataset.exact;
      all("[data-bulk-total]", bar).forEach((place) => { place.textContent = exact.textContent; });
    }
    let selection = kept(slug);
    if (selection.query !== region.dataset.query) selection = { query: region.dataset.query, ids: [] };
    const boxes = all("tbody input[name=id]", region);
    const page = region.querySelector("[data-select-page]");
    const draw = () => {
      const ids = new Set(selection.ids);
      boxes.forEach((box) => {
        box.checked = selection.all || ids.has(box.value);
        box.closest("tr").classList.toggle("table-active", box.checked);
      });
      const checked = boxes.filter((box) => box.checked).length;
      if (page) {
        page.checked = boxes.length > 0 && checked === boxes.length;
        page.indeterminate = checked > 0 && checked < boxes.length;
      }
      const total = Number(region.dataset.count);
      const count = selection.all ? total : selection.ids.length;
      bar.hidden = count === 0;
      const number = bar.querySelector("[data-bulk-count]");
      // Of all that fit it is known in words alone until they are counted.
      number.textContent = selection.all ? bar.querySelector("[data-bulk-total]").textContent : count.toLocaleString("en-US");
      bar.querySelector("[data-select-all]").hidden = selection.all || !page?.checked || count >= total || total > CAP;
      const form = document.getElementById(`bulk-${slug}`);
      form.elements.ids.value = selection.all ? "" : selection.ids.join(",");
      form.elements.all.value = selection.all ? `?${selection.query}` : "";
      keep(slug, selection);
    };
    const mark = (changed) => {
      if (selection.all) selection = { query: selection.query, ids: boxes.map((box) => box.value) };
      const ids = new Set(selection.ids);
      changed.forEach((box) => (box.checked ? ids.add(box.value) : ids.delete(box.value)));
      selection.ids = [...ids];
      draw();
    };
    boxes.forEach((box) => { box.onchange = () => mark([box]); });
    if (page) page.onchange = () => { boxes.forEach((box) => { box.checked = page.checked; }); mark(boxes); };
    bar.querySelector("[data-select-all]").onclick = () => { selection = { query: selection.query, ids: [], all: true }; draw(); };
    bar.querySelector("[data-select-none]").onclick = () => { selection = { query: selection.query, ids: [] }; draw(); };
    draw();
  });

  // --- The drawer: whatever is loaded into it is shown, Escape and a click beside it close it.
  const drawer = () => document.getElementById("drawer");
  document.addEventListener("click", (event) => {
    if (event.target === drawer() || event.target.closest("[data-close-drawer]")) drawer()?.close();
  });

  const confirmed = (field) => field.value.trim().toLowerCase() === field.dataset.confirmWord.toLowerCase();

  // --- Typed confirmation: the button wakes up when the words are the same.
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-confirm-word]");
    if (!field) return;
    field.form.querySelector("[data-confirm-button]").disabled = !confirmed(field);
  });

  // --- A form that reloads its page when a choice in it changes
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });

  // --- A list of choices that can be searched, and checked or cleared as a whole
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-search-in]");
    if (!field) return;
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    all("[data-words]", document.getElementById(field.dataset.searchIn)).forEach((choice) => {
      choice.hidden = !words.every((word) => choice.dataset.words.includes(word));
    });
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-check-in]");
    if (!button) return;
    const wanted = { all: () => true, none: () => false, recommended: (box) => box.hasAttribute("data-recommended") }[button.dataset.check];
    all("[type=checkbox]", document.getElementById(button.dataset.checkIn)).forEach((box) => { box.checked = wanted(box); });
  });

  // --- A button that was pressed once does not send twice; a download leaves its page as it is.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented || event.submitter?.hasAttribute("data-download")) return;
    setTimeout(() => all("button:not([type=button])", form).forEach((button) => { button.disabled = true; }));
    window.addEventListener("pageshow", (shown) => { if (shown.persisted) window.location.reload(); }, { once: true });
  });

  // --- Charts
  const charts = () => all("canvas[data-chart]").forEach((canvas) => {
    if (!window.Chart || canvas.dataset.drawn) return;
    canvas.dataset.drawn = "yes";
    const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
    const color = (name) => {
      const probe = document.createElement("i");
      probe.style.color = `var(${name})`;
      canvas.after(probe);
      const found = getComputedStyle(probe).color;
      probe.remove();
      return found;
    };
    window.Chart.defaults.color = color("--tblr-secondary");
    window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    new window.Chart(canvas, {
      type: "bar",
      data: { labels: data.labels, datasets: [{ data: data.values, backgroundColor: color("--tblr-primary"), borderRadius: 3, maxBarThickness: 18 }] },
      options: {
        animation: false,
        maintainAspectRatio: false,
        plugins: { legend: { display: false } },
        scales: {
          x: { grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 16 } },
          y: { beginAtZero: true, ticks: { precision: 0, maxTicksLimit: 5 }, grid: { color: color("--tblr-border-color") }, border: { display: false } },
        },
      },
    });
  });

  // --- htmx: new content gets the same care; trouble is said where it can be heard.
  const confirmations = (root) => all("[data-confirm-word]", root).forEach((field) => {
    field.form.querySelector("[data-confirm-button]").disabled = !confirmed(field);
  });
  const care = (root) => { confirmations(root); times(root); selections(root); charts(); };
  const trouble = (words) => {
    const place = document.getElementById("trouble");
    if (!place) return;
    place.hidden = !words;
    place.textContent = words;
  };
  document.addEventListener("DOMContentLoaded", () => {
    care(document);
    // On a phone the tabs are wider than the page.
    document.querySelector(".panel-tabs .active")?.scrollIntoView({ block: "nearest", inline: "center" });
    document.querySelector("[aria-invalid=true]")?.focus();
  });
  // Without a delay (htmx-config), so that what was swapped in is cared for before anyone clicks it.
  document.addEventListener("htmx:afterSettle", (event) => {
    care(event.target);
    if (event.target.id === "drawer-body" && !drawer().open) drawer().showModal();
  });
  document.addEventListener("htmx:configRequest", (event) => {
    // An address names the filters that are set, not those that are not.
    if (!event.target.matches(".table-bar")) return;
    const given = event.detail.formData;
    [...given.keys()].filter((key) => given.getAll(key).every((value) => value === "")).forEach((key) => given.delete(key));
  });
  // The server says which tables show less than there is now: they are fetched again as they are.
  document.addEventListener("table-outdated", (event) => {
    event.detail.value.split(" ").filter((slug) => document.getElementById(`region-${slug}`)).forEach((slug) => {
      window.htmx.ajax("GET", window.location.pathname + window.location.search, { target: `#region-${slug}`, swap: "outerHTML" });
    });
  });
  document.addEventListener("htmx:sendError", () => trouble("The server cannot be reached. This page shows what was known last."));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status >= 500) trouble("The server could not answer. This page shows what was known last.");
  });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) trouble(""); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) times(document); });
})();
