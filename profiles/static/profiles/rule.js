// The form of a smart group's rule: what can be compared how, more conditions, fewer conditions.
(() => {
  "use strict";
  const form = document.getElementById("rule-form");
  const offered = JSON.parse(document.getElementById("offered").textContent);
  const rows = document.getElementById("conditions");

  const options = (select, pairs, chosen) => {
    select.replaceChildren(...pairs.map(([value, label]) => new Option(label, value, false, value === chosen)));
  };
  const valueField = (row, field, value) => {
    const old = row.querySelector("[name=value]");
    const needsSelect = field.choices.length > 0;
    const made = document.createElement(needsSelect ? "select" : "input");
    made.name = "value";
    made.className = needsSelect ? "form-select" : "form-control";
    made.setAttribute("aria-label", "Value");
    if (needsSelect) {
      options(made, field.choices, value);
    } else {
      made.type = field.kind === "date" ? "date" : field.kind === "number" ? "number" : "text";
      made.maxLength = 200;
      made.autocomplete = "off";
      made.value = value;
    }
    old.replaceWith(made);
  };
  const fit = (row) => {
    const field = offered[row.querySelector("[name=field]").value];
    const op = row.querySelector("[name=op]");
    options(op, field.ops, op.value);
    valueField(row, field, row.querySelector("[name=value]").value);
    withoutValue(row);
  };
  const withoutValue = (row) => {
    const value = row.querySelector("[name=value]");
    value.classList.toggle("invisible", ["empty", "not_empty"].includes(row.querySelector("[name=op]").value));
  };
  const changed = () => form.dispatchEvent(new Event("rule-changed"));

  form.addEventListener("change", (event) => {
    const row = event.target.closest("[data-condition]");
    if (row && event.target.name === "field") fit(row);
    if (row) withoutValue(row);
    changed();
  });
  form.addEventListener("input", (event) => { if (event.target.name === "value") changed(); });
  form.addEventListener("click", (event) => {
    if (event.target.closest("[data-add-condition]")) {
      const row = rows.lastElementChild.cloneNode(true);
      row.querySelector("[name=value]").value = "";
      rows.append(row);
      fit(row);
      row.querySelector("[name=field]").focus();
      changed();
    }
    if (event.target.closest("[data-remove-condition]") && rows.children.length > 1) {
      event.target.closest("[data-condition]").remove();
      changed();
    }
  });
  [...rows.children].forEach(fit);
})();
