// Renders openapi.json and lets one try its calls. Everything that comes from the document or from an answer is
// put in as text, never as markup.
"use strict";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
};

let api;
let token = null;

const resolve = (schema) =>
  schema && schema.$ref ? schema.$ref.slice(2).split("/").reduce((at, part) => at[part], api) : schema || {};

// An example of what a schema takes.
const example = (schema, depth = 0) => {
  schema = resolve(schema);
  if (schema.example !== undefined) return schema.example;
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  const one = (schema.oneOf || schema.anyOf || []).find((part) => resolve(part).type !== "null");
  if (one) return example(one, depth + 1);
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => example(part, depth + 1)));
  const type = Array.isArray(schema.type) ? schema.type.find((kind) => kind !== "null") : schema.type;
  if (type === "array") return depth > 6 ? [] : [example(schema.items, depth + 1)];
  if (type === "integer" || type === "number") return schema.minimum ?? 0;
  if (type === "boolean") return true;
  if (type === "string") return "text";
  const fields = Object.entries(schema.properties || {});
  return depth > 6 ? {} : Object.fromEntries(fields.map(([name, field]) => [name, example(field, depth + 1)]));
};

const json = (value) => make("pre", {}, JSON.stringify(value, null, 2));

const fieldsOf = (schema) => {
  schema = resolve(schema);
  if (!schema.properties) return json(example(schema));
  const required = schema.required || [];
  const rows = Object.entries(schema.properties).map(([name, field]) => {
    const shown = resolve(field.oneOf ? field.oneOf.find((part) => part.type !== "null") : field);
    const type = shown.enum ? shown.enum.join(" | ") : [].concat(shown.type || "object").join(" or ");
    return make("tr", {}, make("td", {}, make("code", {}, name), required.includes(name) ? " *" : ""),
      make("td", {}, type), make("td", {}, field.description || shown.description || ""));
  });
  return make("table", {}, ...rows);
};

const body = (answer) => {
  const [kind, content] = Object.entries(answer.content || {})[0] || [];
  return kind && content.schema ? { kind, schema: content.schema } : null;
};

const attempt = (path, method, operation) => {
  const inputs = (operation.parameters || []).map((parameter) => {
    const input = make("input", { "aria-label": parameter.name });
    const row = make("tr", {}, make("td", {}, make("code", {}, parameter.name), parameter.required ? " *" : ""),
      make("td", {}, parameter.in), make("td", {}, parameter.description || ""), make("td", {}, input));
    return { parameter, input, row };
  });
  const takes = operation.requestBody && body(operation.requestBody);
  const text = takes ? make("textarea", { "aria-label": "Body" }) : null;
  if (text) text.value = JSON.stringify(example(takes.schema), null, 2);
  const answer = make("div");
  const button = make("button", { type: "button" }, "Send");
  button.addEventListener("click", async () => {
    let target = path;
    const query = new URLSearchParams();
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value && parameter.in === "query") query.set(parameter.name, input.value);
      else if (input.value) headers[parameter.name] = input.value;
    }
    if (text) headers["content-type"] = takes.kind;
    const asked = target.slice(1) + (query.size ? `?${query}` : "");
    try {
      const response = await fetch(asked, { method: method.toUpperCase(), headers, body: text ? text.value : undefined });
      const said = await response.text();
      let shown = said;
      try { shown = JSON.stringify(JSON.parse(said), null, 2); } catch { /* not JSON: as it is */ }
      answer.replaceChildren(make("p", {}, `${response.status} ${response.statusText}`), make("pre", {}, shown));
    } catch (error) {
      answer.replaceChildren(make("p", {}, String(error)));
    }
  });
  return make("div", {}, inputs.length ? make("table", {}, ...inputs.map(({ row }) => row)) : null,
    takes ? make("h4", {}, "Body") : null, takes ? fieldsOf(takes.schema) : null, text, make("p", {}, button), answer);
};

const operationOf = (path, method, operation) => {
  const details = make("details", { "data-text": `${method} ${path} ${operation.summary} ${operation.description}`.toLowerCase() },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path),
      ` ${operation.summary || ""}`));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    for (const part of (operation.description || "").split("\n\n")) details.append(make("p", {}, part));
    details.append(attempt(path, method, operation), make("h4", {}, "Answers"));
    for (const [status, answer] of Object.entries(operation.responses)) {
      const shown = body(resolve(answer));
      details.append(make("p", {}, make("code", {}, status), ` ${answer.description || ""}`));
      if (shown && status < "400") details.append(fieldsOf(shown.schema));
    }
  });
  return details;
};

const render = () => {
  document.getElementById("title").textContent = `${api.info.title} API ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description || "";
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationOf(path, method, operation));
    }
  }
  const sections = [...groups].map(([tag, all]) => make("section", {}, make("h2", {}, tag), ...all));
  document.getElementById("operations").replaceChildren(...sections);
};

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const details of document.querySelectorAll("details")) details.hidden = !details.dataset.text.includes(wanted);
});

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = document.getElementById("who");
  const form = new FormData(event.target);
  const response = await fetch("v1/session", {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ email: form.get("email"), password: form.get("password") }),
  });
  const said = await response.json();
  token = response.ok ? said.token : null;
  who.textContent = response.ok ? `Logged in as ${said.user.email} until ${said.expires_at}` : said.detail;
});

fetch("openapi.json").then((response) => response.json()).then((read) => { api = read; render(); });
