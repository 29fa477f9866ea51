// Small parts of the view: texts, lists and tables. Everything from a manifest is set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function showList(list, texts) {
  list.replaceChildren(...texts.map((text) => element("li", text)));
}

export function showTerms(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
  list.hidden = pairs.length === 0;
}

/** The candidates in the order in which the resolver considered them, the chosen one last. */
export function showReasons(place, reasons) {
  const table = element("table");
  const head = element("tr");
  for (const title of ["Tier", "Model", "Reason"]) head.append(element("th", title, { scope: "col" }));
  const body = element("tbody");
  reasons.forEach((reason, index) => {
    const row = element("tr", "", index === reasons.length - 1 ? { class: "taken" } : {});
    row.append(
      element("th", reason.tier || "–", { scope: "row" }),
      element("td", reason.model || "all", { "data-label": "Model" }),
      element("td", `${reason.text} (${reason.code})`, { "data-label": "Reason" }),
    );
    body.append(row);
  });
  const top = element("thead");
  top.append(head);
  const caption = "In the order in which they were considered; the last line is the result.";
  table.append(element("caption", caption), top, body);
  place.replaceChildren(table);
}

export function showClasses(list, labels, odds) {
  const order = [...odds.keys()].sort((a, b) => odds[b] - odds[a]).slice(0, 3);
  list.replaceChildren(
    ...order.map((index) => {
      const row = element("li");
      const bar = element("span", "", { class: "bar", "aria-hidden": "true" });
      const filled = element("span");
      filled.style.width = `${100 * odds[index]}%`;
      bar.append(filled);
      row.append(element("span", labels[index]), bar, element("span", percent(odds[index]), { class: "share" }));
      return row;
    }),
  );
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export function seconds(value) {
  return value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`;
}

export function bytes(value) {
  if (value >= 2 ** 30) return `${(value / 2 ** 30).toFixed(1)} GiB`;
  if (value >= 2 ** 20) return `${(value / 2 ** 20).toFixed(1)} MiB`;
  return value >= 2 ** 10 ? `${(value / 2 ** 10).toFixed(0)} KiB` : `${value} bytes`;
}

/** Shows the values that a model returns, by name. */
export function showValues(list, labels, values) {
  list.replaceChildren(
    ...labels.map((label, index) => {
      const row = element("li");
      row.append(element("span", label), element("span", values[index], { class: "share" }));
      return row;
    }),
  );
}
